"""`vltk plan`: what training a recipe takes (parameters, FLOPs, memory, traffic, days) and the layout that takes least."""
