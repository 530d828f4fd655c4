"""The directory tree: paths, atomic private files, state.toml. Keeps I2, I3 and I5 on disk."""
