"""The configuration: models of the file, reading it with all its problems, merging it with flags and environment."""
