"""Messages and framing of the socket, shared by daemon and client (docs/socket-api.md).

Sans-I/O: bytes in, messages out. Nothing here imports `typing`, `dataclasses` or another room
at start, because `sslmctl` has to be quick.
"""
