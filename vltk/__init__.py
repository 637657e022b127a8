"""vltk: vision-language pretraining from a list of URLs to an evaluated foundation model, in YAML recipes."""

from vltk.errors import VltkError

__version__ = "0.1.0"
__all__ = ["VltkError", "__version__"]
