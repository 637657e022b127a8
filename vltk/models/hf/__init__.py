"""Hugging Face's model classes and ours: the same sizes as another config, the same tensors under other names."""
