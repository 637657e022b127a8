"""Visual tokenizers: an image in, one code a patch out."""
