"""`vltk plan`: what training a recipe takes (parameters, FLOPs, memory, traffic, days), and in which layout."""
