"""`vltk sweep`: named variants of a recipe, each with several seeds, trained side by side and compared in one table."""
