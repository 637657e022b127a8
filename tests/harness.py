"""Stand-in data for every shipped recipe, and ways to run `vltk`: in this process, or in one that can be killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

import vltk
from vltk.checkpoint import Saved
from vltk.data.shard import Record, write_dataset
from vltk.data.sources import shapes
from vltk.models.encoders.med import MARKS
from vltk.needs import DATA_OPTIONS
from vltk.recipe import Recipe, available, glance, sweeps
from vltk.run import RunFolder
from vltk.sweep.load import load as load_sweep
from vltk.whole import seal

ROOT = Path(vltk.__file__).parent.parent
SIZES = {"train": 24, "dev": 12, "test": 12, "heldout": 12, "images": 24, "text": 24}
RECIPES = sorted(set(available()) - {"debug"})
RICHNESS = ("images", "text", "train")  # parts of `shapes`: the last one has all that the others have
PAIRED = {"itc", "itm", "mmm", "itc_momentum", "itm_hard", "lm", "mlm_momentum"}
DISTINCT = {"dino"}  # refuse data with fewer samples than a batch
DEBUG = "include=debug.yaml"
TOY = """\
name: toy
include: [clip-tiny.yaml]
stages:
  first: {}
  second:
    init: {image: first}
"""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["vltk.pipeline", "vltk.train.engines.torch"])


def make_data(root: Path) -> None:
    """Tiny `shapes`, and a stand-in for every data set and vocabulary that a shipped recipe or sweep names."""
    shapes.generate(root, sizes=SIZES)
    words = (root / "shapes" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    recipes = [glance(name) for name in RECIPES]
    recipes += [sweep.recipe(variant, 0) for sweep in map(load_sweep, sweeps()) for variant in sweep.variants]
    wanted, least = dict[str, str](), dict[str, int]()
    for recipe in recipes:
        for name, part in kinds(recipe).items():
            wanted[name] = max(part, wanted.get(name, part), key=RICHNESS.index)
        for stage in recipe.stages.values():
            for stream in stage.streams.values():
                if DISTINCT & set(stream.objectives):
                    least |= {data: max(least.get(data, 0), stream.batch_size) for data in stream.data}
    for name, part in wanted.items():
        if not (root / name / "manifest.json").exists():
            write_dataset(root / name, scenes(part, least.get(name, 0)), {"kind": "stand-in"})
    for recipe in recipes:
        for name, stage in recipe.stages.items():
            if stage.tokenizer and not (root / stage.tokenizer.vocab).exists():
                text = recipe.trees[name].plain()["model"]["text"]
                size = text["vocab"] - (len(MARKS) if text["part"] == "med" else 0)
                write_vocabulary(root / stage.tokenizer.vocab, words, size)


def write_vocabulary(path: Path, words: list[str], size: int) -> None:
    """`words`, filled up to `size` tokens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fill = [f"[unused{number}]" for number in range(size - len(words))]
    path.write_text("".join(f"{word}\n" for word in [*words, *fill]), encoding="utf-8")


def kinds(recipe: Recipe) -> dict[str, str]:
    """Of each data set that the recipe reads, the part of `shapes` that can stand in for it."""
    found: dict[str, str] = {}
    for name, stage in recipe.stages.items():
        for stream in stage.streams.values():
            pairs, text = PAIRED & set(stream.objectives), "mlm" in stream.objectives
            part = "train" if pairs else "text" if text else "images"
            for data in stream.data:
                found[data] = part if part == "train" else found.get(data, part)
        for loc, child in recipe.trees[name].walk():
            if loc[:2] == ("evaluate", "tasks") and loc[3:] in DATA_OPTIONS and isinstance(child.value, str):
                found.setdefault(child.value, "images")
                found[child.value] = "train" if loc[-1] == "data" else found[child.value]
    return found


def scenes(part: str, least: int = 0) -> Iterator[Record]:
    """As many as a stand-in has, or `least`."""
    count = max(SIZES[part], least)
    return islice(shapes.records(0, part, count), count)


def call(*arguments: str) -> int:
    """`vltk ARGUMENTS` in this process and folder; the exit code."""
    from vltk.cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["vltk", *arguments])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def vltk_process(*arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """`python -m vltk ARGUMENTS` in this folder, as a user would start it, to its end."""
    process = start(*arguments)
    try:
        said, complained = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, said, complained)


def start(*arguments: str) -> subprocess.Popen[str]:
    """`python -m vltk ARGUMENTS` in this folder, begun."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160", "TERM": "dumb", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vltk", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=_obey_ctrl_c
    )


def _obey_ctrl_c() -> None:
    """A shell's background jobs inherit SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Child:
    """`vltk ARGUMENTS` in a process of its own, started quickly, with a pause behind each logged step."""

    def __init__(self, *arguments: str, pause: float = 0.0) -> None:
        self.output = Path(f"{'-'.join(arguments[:2])}.out")
        where = (os.getcwd(), os.environ["VLTK_DATA"], str(self.output), pause)
        self.process: ForkServerProcess = _context.Process(target=_run, args=(*where, arguments))
        self.process.start()

    def wait(self, seconds: float = 60) -> int:
        """Its exit code; minus the number of the signal that ended it."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"still running: {self.output.read_text()}"
        return self.process.exitcode

    def wait_until(self, happened: Callable[[], bool], seconds: float = 60) -> None:
        """Returns once it has happened, or the process has ended."""
        limit = time.monotonic() + seconds
        while self.process.is_alive() and not happened():
            assert time.monotonic() < limit, f"nothing happened: {self.output.read_text()}"
            time.sleep(0.002)

    def send(self, number: int) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)


def _run(folder: str, data: str, output: str, pause: float, arguments: tuple[str, ...]) -> None:
    import torch

    from vltk.log import Monitor

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it ignored
    os.chdir(folder)
    os.environ["VLTK_DATA"] = data
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    torch.set_num_threads(1)
    show = Monitor.show
    Monitor.show = lambda *given: (show(*given), time.sleep(pause))  # type: ignore[assignment, func-returns-value]
    sys.exit(call(*arguments))


def rows(stage: str | Path, file: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """The JSON lines of `runs/NAME/STAGE`."""
    path = Path("runs") / stage / file
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def losses(stage: str | Path) -> list[tuple[int, str, dict[str, float]]]:
    """What was logged of a stage, without times."""
    return [(row["step"], row["stream"], row["losses"]) for row in rows(stage)]


def facts(stage: str | Path) -> dict[str, Any]:
    """run.json of a stage."""
    found: dict[str, Any] = json.loads((Path("runs") / stage / "run.json").read_text())
    return found


def weights(stage: str | Path) -> bytes:
    """The finished weights of a stage, bit for bit."""
    return (Path("runs") / stage / "model.safetensors").read_bytes()


def saved(path: Path) -> dict[str, dict[str, Tensor]]:
    """The tensors of a checkpoint: kind -> name -> tensor."""
    held = Saved(path)
    kinds = ("weights", "exp_avg", "exp_avg_sq", "steps", "teacher", "average")
    return {kind: held.tensors(kind) for kind in kinds if held.shapes(kind)}


def exchanged(stage: str | Path) -> None:
    """Makes a finished run take the weights that a test has put in the place of its own."""
    folder = RunFolder(Path("runs") / stage)
    folder.note(weights=seal(folder.weights))


def differing(left: str | Path, right: str | Path) -> list[str]:
    """Names of the finished tensors that are not the same in both stages: what to show when `weights` differ."""
    first, second = (load_file(Path("runs") / stage / "model.safetensors") for stage in (left, right))
    return [name for name in first if not first[name].equal(second[name])]


def stages_of(run: str) -> list[str]:
    """`NAME/STAGE` of each stage of a run, in order."""
    folders = [path.parent for path in (Path("runs") / run).glob("*/run.json")]
    ordered = sorted(folders, key=lambda path: facts(path.relative_to("runs"))["order"])
    return [str(path.relative_to("runs")) for path in ordered]
