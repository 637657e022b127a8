"""Devices and processes behind the same verbs."""
