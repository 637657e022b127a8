"""The run folder: what a stage leaves behind, and all that evaluation, captioning, export and reports read.

runs/NAME/STAGE/: recipe.yaml (resolved), run.json (provenance and status), metrics.jsonl, results.jsonl,
bad_samples.jsonl, checkpoints/, model.safetensors, vocab.txt, report.html. `NAME` alone means its last stage.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vltk.errors import Missing, VltkError
from vltk.hf import CONFIG_FILE, HfFolder
from vltk.log import warn
from vltk.whole import differs, seal, whole

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vltk.recipe import Stage

RUNS = Path("runs")
STAGE_FILE, FACTS_FILE, WEIGHTS_FILE = "recipe.yaml", "run.json", "model.safetensors"


@dataclass(frozen=True)
class RunFolder:
    """Paths of one stage's folder, and what run.json says."""

    path: Path
    step: int | None = None  # of `RUN@STEP`

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def recipe(self) -> Path:
        return self.path / STAGE_FILE

    @property
    def weights(self) -> Path:
        return self.path / WEIGHTS_FILE

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def vocabulary(self) -> Path:
        whole = self.path / "tokenizer.json"
        return whole if whole.is_file() else self.path / "vocab.txt"

    def facts(self) -> dict[str, Any]:
        """What run.json says; empty before the first start."""
        path = self.path / FACTS_FILE
        try:
            facts: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        except json.JSONDecodeError as error:
            raise VltkError(f"{path} is damaged ({error}); restore it, or remove the folder and train again") from error
        return facts

    def note(self, **facts: Any) -> None:
        """Adds to run.json, atomically; None takes a fact out."""
        kept = {name: fact for name, fact in (self.facts() | facts).items() if fact is not None}
        text = json.dumps(kept, indent=1, allow_nan=False)
        with whole(self.path / FACTS_FILE) as part:
            part.write_text(text + "\n")

    def finished(self, weights_step: int, **facts: Any) -> None:
        """Notes that the weights there are final, and the seal by which they are known again."""
        self.note(status="finished", weights_step=weights_step, weights=seal(self.weights), **facts)

    def in_use(self) -> bool:
        """Whether a process holds the folder."""
        try:
            with (self.path / "lock").open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process; another one that wants to write to it is refused."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise VltkError(
                    f"{self.path} is in use by process {file.read().strip() or 'unknown'}; wait for it, stop it, or "
                    "give this run another name: name=OTHER"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


Source = RunFolder | HfFolder  # what a stage can start from


@dataclass
class Trained:
    """A model with all that is needed to use it."""

    model: nn.Module
    tokenizer: Any
    image: Any
    stage: Stage
    name: str
    step: int
    helpers: dict[str, Any] = field(default_factory=dict)
    source: Source | None = None  # where it was read from; None while it is trained
    fresh: bool = False  # freshly initialised, in the place of the weights there
    untrained: frozenset[str] = frozenset()  # parameters that no objective has trained, as far as is known


def find(spec: str | Path) -> RunFolder:
    """A folder from `PATH`, `NAME` (its last stage) or `NAME/STAGE`, each with an optional `@STEP`."""
    text, step = split_step(spec)
    for path in (Path(text), RUNS / text):
        stages = stage_folders(path)
        if stages:
            return RunFolder(stages[-1], step)
    word = Path(text).name.rpartition("@")
    if word[1]:
        raise VltkError(f"{spec}: what follows @ is a step, a number; given: {word[2]}")
    raise Missing(
        f"no run '{text}' here; have: {', '.join(existing()) or 'none'}", [(f"the run {text}", "vltk train RECIPE")]
    )


def find_source(spec: str | Path) -> Source:
    """What `init` and `frozen` name by a path: a run, as `find` finds it, or a folder with a config.json.

    Raises Missing, and VltkError for a step of a Hugging Face folder.
    """
    text, step = split_step(spec)
    if stage_folders(Path(text)) or not _is_source(text):
        return find(spec)
    if step is not None:
        raise VltkError(f"{spec}: a Hugging Face folder has no steps")
    return HfFolder(Path(text))


def _is_source(spec: str) -> bool:
    path = Path(split_step(spec)[0])
    return bool(stage_folders(path)) or (path / CONFIG_FILE).is_file()


def split_step(spec: str | Path) -> tuple[str, int | None]:
    """`runs/me@lab/NAME@100` -> `runs/me@lab/NAME`, 100; no step where no number stands behind the last @."""
    text, _, step = str(spec).rpartition("@")
    return (text, int(step)) if text and step.isdecimal() else (str(spec), None)


def stage_folders(path: Path) -> list[Path]:
    """`path` itself if it is a stage's folder, else the stages below it in the order they were begun."""
    if (path / STAGE_FILE).exists():
        return [path]
    found = [file.parent for file in path.glob(f"*/{STAGE_FILE}")]
    return sorted(found, key=lambda folder: RunFolder(folder).facts().get("order", 0))


def existing() -> list[str]:
    """Names of the runs under ./runs, newest last."""
    below = [folder for folder in [*RUNS.glob("*"), *RUNS.glob("*/*")] if not (folder / STAGE_FILE).exists()]
    folders = [folder for folder in below if stage_folders(folder)]  # the runs of a sweep lie one folder deeper
    return [str(folder.relative_to(RUNS)) for folder in sorted(folders, key=lambda folder: folder.stat().st_mtime)]


def load_stage(folder: Source) -> Stage:
    """The resolved recipe of the run."""
    from vltk.recipe import load_resolved

    return folder.stage() if isinstance(folder, HfFolder) else load_resolved(folder.recipe)


def load(spec: str | Path | Source, helpers: bool = True) -> Trained:
    """The model of a run in evaluation mode: its final (or best) weights, or those of its newest good checkpoint; or
    the model of a Hugging Face folder."""
    from vltk.data.text import load_tokenizer

    folder = find_source(spec) if isinstance(spec, str | Path) else spec
    stage = load_stage(folder)
    weights, step = read_weights(folder)
    model = stage.model.build()
    take_weights(model, weights, f"the weights of {folder.path}")
    own = folder.tokenizer() if isinstance(folder, HfFolder) else None
    tokenizer = load_tokenizer(stage.tokenizer, folder.path) if stage.tokenizer else own
    frozen = helper_folders(folder) if helpers and isinstance(folder, RunFolder) else {}
    beside = {name: load(helper, helpers=False).model for name, helper in frozen.items()}
    made = Trained(model.eval(), tokenizer, stage.image, stage, folder.name, step, beside, folder)
    made.untrained = frozenset(untrained(folder))
    return made


def untrained(folder: Source) -> list[str]:
    """Parameters of a run's model that no objective has trained, here or where they come from: heads, mostly."""
    if isinstance(folder, HfFolder):
        return folder.model.lacking
    found: list[str] = folder.facts().get("untrained", [])
    return found


def helper_folders(folder: RunFolder) -> dict[str, Source]:
    """The frozen helpers that a run was trained with, by name; Missing where one is not there any more.

    They are looked for beside the run as it lies now, then beside the place where it was trained.
    """
    facts = folder.facts()
    homes = [folder.path, Path(facts.get("home", folder.path))]
    found = dict[str, Source]()
    for name, spec in facts.get("frozen", {}).items():
        places = [os.path.normpath(home / spec) for home in homes]
        found[name] = find_source(next((place for place in places if _is_source(place)), places[0]))
    return found


def helper_spec(folder: RunFolder, helper: Source) -> str:
    """How run.json names a helper: from the run's own folder where both lie in one, so that they move together."""
    own, other = (Path(os.path.abspath(path)) for path in (folder.path, helper.path))  # links of a sweep are followed
    near = other.is_relative_to(own.parent)
    return (os.path.relpath(other, own) if near else str(other)) + ("" if helper.step is None else f"@{helper.step}")


def read_weights(folder: Source) -> tuple[dict[str, Tensor], int]:
    """Weights by name and their step: of `@STEP`, else the finished weights, else the newest good checkpoint.

    Of a checkpoint those that would end the run: the averaged ones, where it averages.
    """
    from vltk import checkpoint

    if isinstance(folder, HfFolder):
        return folder.model.weights(), 0
    if folder.step is None and folder.weights.exists():
        return _final_weights(folder), int(folder.facts().get("weights_step", 0))
    if folder.step is not None:
        path = checkpoint_at(folder, folder.step)
        if wrong := checkpoint.damage(path):
            raise VltkError(f"{path}: {wrong}")
    else:
        found = checkpoint.newest_good(folder.checkpoints)
        if found is None:
            raise Missing(
                f"{folder.name} has no weights yet", [("a checkpoint", f"vltk train {folder.path.parent.name}")]
            )
        for text in found.warnings:
            warn(text)
        path = found.path
    saved = checkpoint.Saved(path)
    weights = saved.tensors(saved.facts.get("result", "weights"))
    model = {name.removeprefix("model."): t for name, t in weights.items() if name.startswith("model.")}
    return model, int(saved.facts["step"])


def _final_weights(folder: RunFolder) -> dict[str, Tensor]:
    """Raises VltkError where the file is not as it was written; of an older run, which has no seal, where it cannot be
    read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    sealed = folder.facts().get("weights")
    wrong = differs(folder.weights, sealed) if sealed else None
    try:
        if wrong is None:
            return load_file(folder.weights)
    except SafetensorError as error:
        wrong = f"{folder.weights.name} is damaged or cut short ({error})"
    raise VltkError(
        f"{folder.path}: {wrong}; restore the file, take a checkpoint ({folder.name}@STEP), or train again with --redo"
    )


def checkpoint_at(folder: RunFolder, step: int) -> Path:
    """The checkpoint of that step; VltkError says which there are."""
    from vltk import checkpoint

    path = checkpoint.path_of(folder.checkpoints, step)
    if not path.exists():
        have = ", ".join(path.name for path in reversed(checkpoint.paths(folder.checkpoints))) or "none"
        raise VltkError(f"{folder.name} has no checkpoint of step {step}; have: {have}")
    return path


def take_weights(model: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Loads `weights`, which must fit `model` exactly; says which keys and shapes do not."""
    from vltk.models.weights import mismatches

    problems = mismatches(model.state_dict(), weights)
    if problems:
        shown = "\n  ".join(problems[:12] + ([f"... and {len(problems) - 12} more"] if len(problems) > 12 else []))
        raise VltkError(f"{source} are of another architecture:\n  {shown}")
    model.load_state_dict(weights)


def part_of(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below `prefix`, by their names inside it."""
    head = re.compile(re.escape(prefix) + r"\.")
    return {head.sub("", name, count=1): t for name, t in weights.items() if head.match(name)}
