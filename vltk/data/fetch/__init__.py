"""Bringing data from elsewhere: URL lists, archives, the hub."""
