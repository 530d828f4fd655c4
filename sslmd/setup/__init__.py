"""The first minute of a site: `sslmd init`, and `sslmctl import`, which tries ssl-mgr's tree."""
