"""Keys, CSRs, certificates and chains, as bytes in and bytes out; no files, no network."""
