"""A step without data and without memory: tensors that know only their shapes go through model and objectives.

A rehearsal finds what would else end a stage in its first step, after the stages before it have trained: heads that a
family does not have, texts longer than the table of positions, masks of another grid. Sizes do not matter to it.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Self, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import TorchDispatchMode

from vltk.data.dataset import Dataset, Sample
from vltk.data.stream import Stream as DataStream
from vltk.data.text import Tokenizer
from vltk.errors import VltkError
from vltk.models.encoded import Encoded
from vltk.models.passes import Plan
from vltk.objectives._contract import Views
from vltk.parts import Choice
from vltk.recipe import Stage
from vltk.train.pretraining import merged_counts, merged_views

SAMPLES = 2
_UNKNOWN = (  # what an operation without shapes of its own raises: nothing is known of it, so nothing is wrong with it
    NotImplementedError,
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)
_aten = torch.ops.aten


class _Shapes(FakeTensorMode):
    """One for a module and all its copies. A copy of torch's own would free what it knows of storages a second time,
    and the heap with it: copies of a StorageWeakRef (torch/multiprocessing/reductions.py) share one count."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class Rehearsal:
    """Models, objectives and batches of shapes alone; all of one rehearsal may meet one another."""

    def __init__(self) -> None:
        self.shapes = _Shapes(allow_non_fake_inputs=True)

    def build(self, choice: Choice, **provided: Any) -> Any:
        """The part, its parameters without memory."""
        with self.shapes:
            return choice.build(**provided)

    def stream(self, name: str, stage: Stage, views: dict[str, dict[str, Any]]) -> DataStream:
        """The stream of a stage over two stand-in samples, whose texts are as long as they may be."""
        return DataStream(
            [cast(Dataset, _Scenes())],
            views,
            batch_size=SAMPLES,
            image=stage.image,
            tokenizer=cast(Tokenizer, _Words()) if stage.tokenizer else None,
            max_length=longest(stage, name),
            name=name,
        )

    def problems(
        self,
        model: Any,
        objectives: Mapping[str, Any],
        codes: Callable[[Tensor], Tensor] | None,
        batch: Mapping[str, Tensor],
    ) -> dict[str, str]:
        """By objective, why its loss cannot be computed; under "" where they only do not go together."""
        together = self._problem(model, objectives, codes, batch)
        if together is None:
            return {}
        alone = {name: self._problem(model, {name: part}, codes, batch) for name, part in objectives.items()}
        return {name: text for name, text in alone.items() if text is not None} or {"": together}

    def _problem(
        self,
        model: Any,
        objectives: Mapping[str, Any],
        codes: Callable[[Tensor], Tensor] | None,
        batch: Mapping[str, Tensor],
    ) -> str | None:
        views = {view for part in objectives.values() for view in part.views}
        try:
            plan = Plan.of(read for part in objectives.values() for read in part.reads(views))
            with _unlogged(), self.shapes as shapes, _Values(), torch.no_grad():
                encoded = Encoded(model, {name: shapes.from_tensor(t) for name, t in batch.items()}, plan, codes)
                for part in objectives.values():
                    part(encoded, 0, *_lesson(part, encoded, views))
                merged_counts({name: part.counts(encoded.batch) for name, part in objectives.items()})
        except _UNKNOWN:
            return None
        except VltkError as error:
            return str(error)
        except Exception as error:  # whatever it is, the stage would end with it
            return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return None


def views_of(stage: Stage, helpers: Mapping[str, Any]) -> dict[str, Views]:
    """The views of each stream; the model is built without memory."""
    rehearsal = Rehearsal()
    provided = {"model": rehearsal.build(stage.model), "steps": stage.steps, **helpers}
    return {
        name: merged_views(name, {part: rehearsal.build(c, **provided) for part, c in stream.objectives.items()})
        for name, stream in stage.streams.items()
    }


def _lesson(part: Any, student: Encoded, views: set[str]) -> tuple[Any, ...]:
    """What an objective's teacher says, if it has one; here the student is its own teacher."""
    if not hasattr(part, "teach"):
        return ()
    return (part.teach(Encoded(student.model, student.batch, Plan.of(part.teacher_reads(views)))),)


def longest(stage: Stage, stream: str) -> int | None:
    """The most tokens of a text in this stream."""
    return stage.streams[stream].max_length or (stage.tokenizer.max_length if stage.tokenizer else None)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Where shapes do not fit torch logs a traceback beside what it raises."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


class _Values(TorchDispatchMode):
    """Answers what depends on values: every number is 1, and a mask picks one row."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _aten._local_scalar_dense.default:
            return 1
        if func is _aten.nonzero.default:
            return args[0].new_zeros((1, args[0].dim()), dtype=torch.long)
        if func is _aten.bincount.default:
            return args[0].new_zeros(args[2] if len(args) > 2 else 1)
        if func is _aten.index.Tensor:
            args = (args[0], _rows(args[0], args[1]))
        return func(*args, **(kwargs or {}))


def _rows(tensor: Tensor, indices: list[Tensor | None]) -> list[Tensor | None]:
    """The indices, each mask replaced by one row that it could pick."""
    found: list[Tensor | None] = []
    for index in indices:
        if index is None or index.dtype != torch.bool:
            found.append(index)
            continue
        masked = tensor.shape[len(found) : len(found) + index.dim()]
        if index.shape != masked:
            raise IndexError(f"a mask of shape {tuple(index.shape)} for {tuple(masked)} items")
        found += [index.new_zeros(1, dtype=torch.long)] * index.dim()
    return found


class _Scenes:
    """A data set of two samples with everything a view may read."""

    name = digest = "stand-in"
    has_images = has_texts = True

    def __len__(self) -> int:
        return SAMPLES

    def read(self, index: int) -> Sample:
        return Sample(str(index), _picture(), [f"text {index}"], {})


class _Words:
    """A tokenizer to which each text is as long as it may be."""

    pad = unk = cls = sep = mask = 0
    regular = np.arange(1)

    def encode(self, text: str, max_length: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(max_length, np.int64), np.array([-1, *range(max_length - 2), -1])


@cache
def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32)).save(file, "PNG")
    return file.getvalue()
