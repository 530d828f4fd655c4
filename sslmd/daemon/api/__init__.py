"""The socket: who may ask what, the methods, and the documents that answer."""
