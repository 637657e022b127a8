"""Samples of an official split as a stream reads them: the surface of `vltk.data.dataset.Dataset`.

Nothing is written: sharding a split once would keep a second copy of 20 GB of photos for VQA alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vltk.data.dataset import Sample
from vltk.errors import VltkError
from vltk.eval.content import digest
from vltk.eval.finetuning.target import Target

if TYPE_CHECKING:
    from vltk.eval.features import Samples


class Trainable:
    """The chosen samples of a split, each with what `target` says that its label is. Safe between threads."""

    folder = Path()  # nothing lies there

    def __init__(self, samples: Samples, target: Target) -> None:
        self.samples, self.target, self.name = samples, target, samples.data
        self.digest = digest({"samples": samples.fingerprint, "target": [target.outputs, target.objective]})
        first = samples.source.read(int(samples.positions[0]))
        self.has_images, self.has_texts = first.image is not None, bool(first.texts)

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, position: int) -> Sample:
        """Raises VltkError that names the sample and its file where it cannot be read."""
        sample = self.samples.source.read(int(self.samples.positions[position]))
        if sample.image is not None and not isinstance(sample.image, bytes):
            raise VltkError(f"{self.name}: images that are stored as bare pixels are not trained on")
        return Sample(sample.key, sample.image, list(sample.texts), self.target.facts(self.samples, position))
