"""What a model is made of: blocks, encoders, fusion, codebooks, and the families that answer the verbs."""
