"""The network process: what reads bytes of others, and holds no key and no file."""
