"""Loaders of the official data sets of the 35 tasks, each reading the files as they are distributed."""
