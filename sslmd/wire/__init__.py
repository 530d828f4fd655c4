"""The socket's messages and framing, shared by daemon and client."""
