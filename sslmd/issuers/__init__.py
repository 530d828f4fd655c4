"""From a CSR to a certificate and its chain, one module per kind of CA."""
