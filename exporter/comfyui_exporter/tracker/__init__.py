"""The pure core: observations in, transitions out."""
