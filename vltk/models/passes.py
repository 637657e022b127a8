"""The passes of a step, planned from what the objectives read before anything runs (design section 4.6).

A read is (pass, rows): `("image", "cls")`, `("image_masked", "masked")`, `("fused_masked", "text_masked")`.
Clean and masked inputs of one encoder share one batch; crops, several images a sample and of another size, have their
own; a last block runs only at rows that are read; an encoder that
nobody reads does not run. The plan depends on the stream alone, never on the content of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

IMAGE_PASSES = ("image", "image_masked")
CROP_PASSES = ("crops", "local_crops")
TEXT_PASSES = ("text", "text_masked")
FUSED_PASSES = {
    "fused": ("image", "text"),
    "fused_words": ("image", "text_masked"),
    "fused_masked": ("image_masked", "text_masked"),
}
DECODED_PASSES = {"decoded": "image"}
ROWS = {
    **{name: {"cls", "masked", "all"} for name in (*IMAGE_PASSES, *TEXT_PASSES)},
    **{name: {"cls", "image_masked", "text_masked", "all"} for name in FUSED_PASSES},
    **{name: {"all"} for name in DECODED_PASSES},
    **{name: {"cls", "all"} for name in CROP_PASSES},
}
Read = tuple[str, str]


@dataclass(frozen=True)
class Plan:
    """For each pass that runs, in order, the set of rows that is read from it."""

    rows: dict[str, frozenset[str]]

    @classmethod
    def of(cls, reads: Iterable[Read]) -> Plan:
        """The fewest passes that serve `reads`; a fused pass reads all rows of the two encoders under it, a decoded one
        those of the image."""
        wanted: dict[str, set[str]] = {}
        for name, rows in reads:
            if rows not in ROWS.get(name, set()):
                raise ValueError(f"no rows '{rows}' in a pass '{name}'; have: {ROWS}")
            wanted.setdefault(name, set()).add(rows)
            for below in FUSED_PASSES.get(name, [DECODED_PASSES[name]] if name in DECODED_PASSES else ()):
                wanted.setdefault(below, set()).add("all")
        return cls({name: frozenset(wanted[name]) for name in ROWS if name in wanted})

    def among(self, names: Iterable[str]) -> list[str]:
        """The planned passes among `names`."""
        return [name for name in names if name in self.rows]
