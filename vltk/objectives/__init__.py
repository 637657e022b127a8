"""Pretraining losses, one file each; the file name is the recipe name."""
