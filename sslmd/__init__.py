"""sslmd: the certificate daemon. The rooms are described in docs/ARCHITECTURE.md."""

__version__ = "0.1.0"
