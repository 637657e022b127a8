"""Encoders of image and text together."""
