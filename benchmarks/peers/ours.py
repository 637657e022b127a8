"""Our own run: the evaluations that it made while it trained, which its folder keeps."""

from __future__ import annotations

from pathlib import Path

from benchmarks.peers.courses import Course
from benchmarks.peers.training import Record
from vltk import run
from vltk.errors import VltkError
from vltk.recipe import Stage, plain
from vltk.report.history import Row, read_lines, without_rewound

# what the peers are asked: all photos, whole and squashed, with all five captions
ASKED: dict[str, list[object]] = {"part": ["retrieval"], "limit": [None], "framing": ["squash"], "captions": [None, 5]}
SIZES = {  # names of Sizes -> where a model says it
    "width": ("image", "width"),
    "heads": ("image", "heads"),
    "mlp": ("image", "mlp"),
    "image_depth": ("image", "depth"),
    "text_depth": ("text", "depth"),
    "fusion_depth": ("fusion", "depth"),
    "image": ("image", "image_size"),
    "patch": ("image", "patch"),
}


def read_run(spec: str, train: str, dev: str) -> Course:
    """The last stage of a run (`NAME`, `NAME/STAGE` or its path) as a course of the model `ours`.

    Raises Missing where it is not there; VltkError where it is not finished, has not learnt from `train`, or has not
    evaluated retrieval on all of `dev`.
    """
    folder = run.find(spec)
    facts, stage = folder.facts(), run.load_stage(folder)
    if facts.get("status") != "finished":
        raise VltkError(f"{folder.path} is not finished: the same vltk train goes on with it")
    read = sorted({name for stream in stage.streams.values() for name in stream.data})
    if train not in read:
        raise VltkError(f"{folder.path} has not learnt from {train} but from {', '.join(read)}")
    stages = run.stage_folders(folder.path.parent)
    stages = stages[: stages.index(folder.path) + 1]
    own: dict[str, object] = {"evaluate.every": stage.evaluate.every}
    for path in stages:
        own |= {f"{path.name}.{key}": value for key, value in _identity(run.RunFolder(path).facts()).items()}
    records = _records(stages, stage, dev)
    return Course("ours", stage.seed, str(folder.path), _sizes(facts["identity"]["recipe"]["model"]), own, records)


def _records(stages: list[Path], stage: Stage, dev: str) -> list[Record]:
    """One a step that was evaluated. Its seconds are on the clocks of training: all stages, evaluation in between."""
    *earlier, last = stages
    task = _task(last, stage, dev)
    scores: dict[int, dict[str, float]] = {}
    for row in read_lines(last / "results.jsonl").rows:
        if row["task"] == task and "key" not in row:  # with a key: by `vltk eval`, later
            scores.setdefault(row["step"], {})[row["metric"]] = row["value"]
    if stage.steps not in scores:
        raise VltkError(f"{last} has no evaluation of its last step, {stage.steps}")
    before = sum(_clock(path) for path in earlier)
    return [
        {"model": "ours", "step": step, "seconds": round(before + _clock(last, step), 1), "seed": stage.seed} | found
        for step, found in sorted(scores.items())
    ]


def _task(path: Path, stage: Stage, dev: str) -> str:
    """The name of the task that asks what the peers are asked."""
    for name, task in plain(stage)["evaluate"]["tasks"].items():
        if task.get("data") == dev and all(task.get(key) in values for key, values in ASKED.items()):
            return str(name)
    raise VltkError(
        f"{path} has not evaluated retrieval on all of {dev} while it trained: not finished, or its recipe lacks "
        f"evaluate: {{tasks: {{dev: {{part: retrieval, data: {dev}}}}}}}"
    )


def _clock(path: Path, step: int | None = None) -> float:
    """Seconds of training that the stage had behind it, at `step` or at its end."""
    rows = without_rewound(read_lines(path / "metrics.jsonl").rows)
    return float(max((row["seconds"] for row in rows if step is None or row["step"] <= step), default=0.0))


def _identity(facts: Row) -> Row:
    """What decides what a stage learns, but for the seed: `recipe.optimizer.lr`, `data.flickr8k/train`, ..."""
    identity = {part: facts["identity"][part] for part in ("recipe", "data")}
    return {key: value for key, value in _flat(identity).items() if key != "recipe.seed"}


def _flat(tree: Row) -> Row:
    flat: Row = {}
    for key, value in tree.items():
        flat |= {f"{key}.{k}": v for k, v in _flat(value).items()} if isinstance(value, dict) else {key: value}
    return flat


def _sizes(model: Row) -> dict[str, object]:
    """Those of Sizes that this kind of model has."""
    return {name: model[part][key] for name, (part, key) in SIZES.items() if model.get(part)}
