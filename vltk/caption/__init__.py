"""Texts from a model that decodes them: beam search and nucleus sampling over a cache of keys and values."""
