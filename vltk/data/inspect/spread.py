"""How numbers are spread, without keeping them: counts in bins of equal width."""

from __future__ import annotations

import numpy as np

BINS = 1 << 18  # larger numbers count in the last bin


class Spread:
    """Takes whole numbers >= 0 in any portions; quantiles are exact to `unit`, least, mean and most exact."""

    def __init__(self, unit: int = 1) -> None:
        self.unit, self.counts = unit, np.zeros(1, np.int64)
        self.number = self.total = 0
        self.least, self.most = np.inf, 0

    def add(self, values: np.ndarray) -> None:
        if not len(values):
            return
        values = values.astype(np.int64)
        bins = np.bincount(np.minimum(values // self.unit, BINS - 1), minlength=len(self.counts))
        bins[: len(self.counts)] += self.counts
        self.counts = bins
        self.number += len(values)
        self.total += int(values.sum())
        self.least, self.most = min(self.least, int(values.min())), max(self.most, int(values.max()))

    def summary(self) -> dict[str, float] | None:
        """least, p5, median, mean, p95, most; None when nothing was added."""
        if not self.number:
            return None
        at = np.searchsorted(np.cumsum(self.counts), np.array([0.05, 0.5, 0.95]) * self.number)
        low, middle, high = (int(place) * self.unit for place in at)
        mean = round(self.total / self.number, 1)
        found = {"least": self.least, "p5": low, "median": middle, "mean": mean, "p95": high, "most": self.most}
        return {name: min(max(value, self.least), self.most) for name, value in found.items()}
