"""The best weights so far, by the metric that a recipe names: `best-STEP.safetensors`, a file each time it improves.

Those that a checkpoint would go back to are kept, so that a run that goes on from it ends as an unbroken one does.
"""

from __future__ import annotations

from pathlib import Path

SMALLER_IS_BETTER = ("median rank", "loss", "dead codes")  # ends of metric names; all others are better when larger


def improves(metric: str, value: float, before: float | None) -> bool:
    """Whether the value of a metric is better than the one before, if there was one."""
    if before is None:
        return True
    return value < before if metric.endswith(SMALLER_IS_BETTER) else value > before


def path_of(folder: Path, step: int) -> Path:
    """Where the weights of a step are kept in a run folder."""
    return folder / f"best-{step:08d}.safetensors"


def kept(folder: Path) -> dict[int, Path]:
    """The kept weights by step, in order."""
    return {int(path.stem.removeprefix("best-")): path for path in sorted(folder.glob("best-*.safetensors"))}


def drop(folder: Path, first: int = 0) -> None:
    """Removes those of step `first` and later, which a run going on from there makes again."""
    for step, path in kept(folder).items():
        if step >= first:
            path.unlink()


def tidy(folder: Path, oldest: int) -> None:
    """Removes those that no checkpoint from step `oldest` on would go back to."""
    files = kept(folder)
    needed = max((step for step in files if step < oldest), default=0)
    for step, path in files.items():
        if step < needed:
            path.unlink()
