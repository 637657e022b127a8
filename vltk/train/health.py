"""Says when the figures of an objective have been those of a failed training for long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vltk.log import warn
from vltk.train.pretraining import Pretraining

PATIENCE = 4  # rows of the log, one after the other; then it is said again whenever their number has doubled


class Health:
    """Looks at the rows of metrics.jsonl as they are written. since: the first step from which on a loss that is still
    that of chance is a bad sign; every training begins there."""

    def __init__(self, name: str, pretraining: Pretraining, since: int = 0) -> None:
        self.name, self.pretraining, self.since = name, pretraining, since
        self._bad: dict[tuple[str, str], int] = {}

    def look(self, row: Mapping[str, Any]) -> None:
        """Warns where it is time to."""
        stream = row["stream"]
        for objective, part in self.pretraining.of(stream).items():
            complaint = self._complaint(part, row)
            rows = self._bad[stream, objective] = self._bad.get((stream, objective), 0) + 1 if complaint else 0
            if rows >= PATIENCE and rows & (rows - 1) == 0:
                warn(f"{self.name}, step {row['step']}: {stream}.{objective} {complaint}, in {rows} rows of the log")

    def _complaint(self, part: Any, row: Mapping[str, Any]) -> str | None:
        if hasattr(part, "complaint"):
            return part.complaint(row["metrics"])
        if hasattr(part, "at_chance") and row["step"] > self.since:
            return part.at_chance(row["losses"], row["metrics"])
        return None
