"""Comparisons with other programs, each measured beside them in one run."""
