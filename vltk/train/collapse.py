"""A tokenizer whose codebook has collapsed: what a stage that is to predict its codes says before it starts."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vltk.log import warn
from vltk.models.codebooks._usage import collapsed, counted, usage

IMAGES = 32  # that are looked at


def look(codes: Tensor, codebook: Any, source: str, stream: str) -> None:
    """Warns, with the figures and what helps, where nearly all codes (B, N) of images of `stream` are the same few."""
    counts = counted(codes, codebook.num_codes)
    if collapsed(counts):
        found = usage(counts)
        warn(
            f"the tokenizer {source} has collapsed: {found['codes_used']:.0f} of its {codebook.num_codes} codes in "
            f"{len(codes)} images of the stream {stream}, perplexity {found['perplexity']:.2f}. There is little to "
            f"learn from such codes: {codebook.against_collapse}"
        )
