"""The runs that are scored, and the folders that their results go into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vltk import parts, run
from vltk.errors import Missing
from vltk.log import say

RANDOM = "random-weights"
Steps = list[tuple[str, str]]


@dataclass(frozen=True)
class Place:
    """A run to score, or the same model at fresh weights, and the folder that the results go into."""

    spec: str
    home: Path
    fresh: bool = False


def newest() -> tuple[list[str], Steps]:
    """The newest finished run of a model family below ./runs, said aloud; or what to type for one."""
    finished = [path.parent for path in run.RUNS.glob(f"*/*/{run.FACTS_FILE}") if _is_finished_family(path.parent)]
    if not finished:
        return [], [("a finished run: none given, and none below ./runs", "vltk train flava-tiny")]
    latest = max(finished, key=lambda folder: ((folder / run.FACTS_FILE).stat().st_mtime, str(folder)))
    say(f"no run given: taking the newest finished one, {latest}")
    return [str(latest)], []


def _is_finished_family(folder: Path) -> bool:
    """Whether a model family with both encoders, and not a codebook, has been trained here to its end."""
    if run.RunFolder(folder).facts().get("status") != "finished":
        return False
    stage: dict[str, Any] = yaml.safe_load((folder / run.STAGE_FILE).read_text(encoding="utf-8"))
    model = stage["model"]
    both = all(model.get(encoder, True) is not None for encoder in ("image", "text"))
    return both and model["part"] in parts.names("models/families")


def absent_runs(specs: Sequence[str]) -> Steps:
    """What to type for those that are not there, and which there are."""
    steps: Steps = []
    for spec in specs:
        try:
            run.find_source(spec)
        except Missing as error:
            steps += [(str(error).splitlines()[0], do) for _, do in error.steps]
    return steps


def places(specs: Sequence[str], random_weights: bool) -> list[Place]:
    """The runs, then each of them once more at random weights, where that is asked for."""
    found = [Place(spec, _home(spec)) for spec in specs]
    by_home = {place.home: place for place in found} if random_weights else {}
    return [*found, *(Place(place.spec, place.home / RANDOM, True) for place in by_home.values())]


def _home(spec: str) -> Path:
    """Where results are written: the run's folder; of a Hugging Face folder, one of its name below ./runs.

    Those of random weights have a folder in it, so that no one takes them for the run's.
    """
    source = run.find_source(spec)
    return source.path if isinstance(source, run.RunFolder) else run.RUNS / source.name / "hf"
