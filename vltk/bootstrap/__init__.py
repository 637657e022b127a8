"""BLIP's whole cycle as one command."""
