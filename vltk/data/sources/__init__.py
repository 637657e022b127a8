"""Readers of raw input: the folder is the registry; each turns one layout into records."""
