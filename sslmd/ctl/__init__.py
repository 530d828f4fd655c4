"""sslmctl, one file per command, and the sslm-* tools."""
