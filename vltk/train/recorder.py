"""Books what a run measures, and writes it as rows of metrics.jsonl."""

from __future__ import annotations

import math
import resource
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vltk import dist
from vltk.models.codebooks._usage import usage
from vltk.train.accumulate import Record
from vltk.train.utilisation import Utilisation


@dataclass
class _Sums:
    """One stream since its last row."""

    steps: list[int] = field(default_factory=list)
    samples: int = 0
    losses: dict[str, Tensor] = field(default_factory=dict)
    metrics: dict[str, list[Tensor]] = field(default_factory=dict)
    codes: Tensor | None = None
    norm: float = 0.0
    skipped: int = 0  # steps that changed nothing, as a gradient overflowed


class Recorder:
    """Means since the last row, stream by stream; a row a stream that was trained in between, with its steps: from
    the rows the order of the streams can be read back."""

    def __init__(self, seconds: float = 0.0, utilisation: Utilisation | None = None) -> None:
        self.before, self.started, self.waited = seconds, time.monotonic(), 0.0
        self._utilisation = utilisation
        self._open()

    @property
    def seconds(self) -> float:
        """Training time, with that of earlier starts of this run."""
        return self.before + time.monotonic() - self.started

    def add(self, step: int, stream: str, record: Record, samples: int, norm: float, skipped: bool = False) -> None:
        """Books the `step`-th step, counted from 1, of `samples` samples over all ranks."""
        sums = self.streams.setdefault(stream, _Sums())
        sums.steps.append(step)
        sums.samples += samples
        sums.norm = sums.norm if skipped else norm
        sums.skipped += skipped
        for name, loss in record.losses.items():
            sums.losses[name] = sums.losses.get(name, torch.zeros_like(loss)) + loss
        for name, values in record.metrics.items():
            sums.metrics.setdefault(name, []).extend(values)
        if record.codes is not None:
            sums.codes = record.codes if sums.codes is None else sums.codes + record.codes

    def rows(self, step: int, lr: float, waited: float) -> list[dict[str, Any]]:
        """Closes the window at `step`; `waited` are the seconds spent waiting for data since the start."""
        window = max(1e-9, time.monotonic() - self.window_start)
        self.waited, waited = waited, waited - self.waited
        samples = sum(sums.samples for sums in self.streams.values())
        shared = {
            "lr": lr,
            "samples_per_s": round(samples / window, 2),
            "data_wait": round(waited / window, 4),
            "memory_gb": round(memory_gb(), 3),
            "seconds": round(self.seconds, 2),
        } | self._mfu(window)
        rows = [_row(step, name, sums) | shared for name, sums in self.streams.items()]
        self._open()
        return rows

    def _mfu(self, window: float) -> dict[str, float]:
        if self._utilisation is None:
            return {}
        steps = {name: len(sums.steps) for name, sums in self.streams.items()}
        found = self._utilisation.of(steps, window, time.monotonic() - self.started)
        return {} if found is None else {"mfu": round(found, 4)}

    def _open(self) -> None:
        self.streams: dict[str, _Sums] = {}
        self.window_start = time.monotonic()


def _row(step: int, stream: str, sums: _Sums) -> dict[str, Any]:
    names = list(sums.losses)
    losses = dist.sum_over_ranks(torch.stack([sums.losses[name] for name in names])) / len(sums.steps)
    means = dict(zip(names, losses.tolist(), strict=True))
    metrics = _means(sums.metrics)
    if sums.codes is not None:
        metrics |= usage(dist.sum_over_ranks(sums.codes))
    return {
        "step": step,
        "stream": stream,
        "steps": sums.steps,
        "losses": means,
        "total": sum(means.values()),
        "metrics": {name: value for name, value in metrics.items() if math.isfinite(value)},
        "grad_norm": sums.norm,
    } | ({"skipped": sums.skipped} if sums.skipped else {})


def _means(metrics: dict[str, list[Tensor]]) -> dict[str, float]:
    """Means over the micro-batches of all ranks in which there was something to measure."""
    if not metrics:
        return {}
    values = [torch.stack(values).float() for values in metrics.values()]
    sums = torch.stack([torch.stack([some.nansum(), (~some.isnan()).sum()]) for some in values])  # (metrics, 2)
    whole = dist.sum_over_ranks(sums)
    return dict(zip(metrics, (whole[:, 0] / whole[:, 1]).tolist(), strict=True))


def memory_gb() -> float:
    """Peak memory: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
