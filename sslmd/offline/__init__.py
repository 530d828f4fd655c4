"""Tools that need no daemon: `sslm-info`, `sslm-verify`, `sslm-dhparm` and `sslmctl trust`."""
