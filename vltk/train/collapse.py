"""A tokenizer whose codebook has collapsed: what a stage that is to predict its codes says before it starts."""

from __future__ import annotations

from torch import Tensor

from vltk.log import warn
from vltk.models.codebooks._usage import collapsed, counted, usage

IMAGES = 32  # that are looked at


def look(codes: Tensor, size: int, source: str, stream: str) -> None:
    """Warns, with the figures, where nearly all codes (B, N) of images of `stream` are the same few of `size`."""
    counts = counted(codes, size)
    if collapsed(counts):
        found = usage(counts)
        warn(
            f"the tokenizer {source} has collapsed: {found['codes_used']:.0f} of its {size} codes in {len(codes)} "
            f"images of the stream {stream}, perplexity {found['perplexity']:.2f}. There is little to learn from such "
            "codes: train it again, with the objective code_usage, more steps or a lower learning rate"
        )
