"""From a CSR to a certificate of an ACME CA, and its chain, through certbot."""
