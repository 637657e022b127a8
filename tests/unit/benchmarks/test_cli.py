"""The command lines of the benchmarks: wrong input is refused before any work, in a line that says what to type."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from benchmarks import _cli, engines, joint, start, train_step, zero, zero_table
from vltk.errors import RecipeError, VltkError


def started(monkeypatch: pytest.MonkeyPatch, module: Any, *given: str) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *given])
    _cli.run(module.main)


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "x", ""])
def test_counts(count: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="1 or more"):
        _cli.positive(count)
    assert (_cli.positive("3"), _cli.whole("0"), _cli.positives("1,2")) == (3, 0, [1, 2])
    with pytest.raises(argparse.ArgumentTypeError, match="1 or more"):
        _cli.positives("1,0")


def test_some_of_the_choices() -> None:
    listed = _cli.some_of("torch", "0", "1")
    assert listed("1,torch") == ["1", "torch"]
    with pytest.raises(argparse.ArgumentTypeError, match="no such choice: foo, 2; choose among torch,0,1"):
        listed("foo,1,2")


@pytest.mark.parametrize("error", [VltkError("this and that"), RecipeError("this and that")])
def test_a_mistake_is_one_line(error: VltkError, capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        _cli.run(fails)
    assert ended.value.code == 1 and capsys.readouterr().err == "this and that\n"


@pytest.mark.parametrize(
    ("module", "given", "code", "told"),
    [
        (train_step, "--rounds 0", 2, "--rounds: '0': a whole number is needed, 1 or more"),
        (train_step, "--batch 0", 2, "--batch: '0'"),
        (train_step, "--threads 0", 2, "--threads: '0'"),
        (train_step, "--stream pairs --batch 1", 1, "type --batch 2 or more"),
        (train_step, "--profile --json", 2, "--profile goes with none of"),
        (train_step, "--profile --shipped", 2, "--profile goes with none of"),
        (train_step, "--profile --checkpoint-activations", 2, "--profile goes with none of"),
        (engines, "--stream pairs --batch 1", 1, "type --batch 2 or more"),
        (engines, "--stages 4", 2, "no such choice: 4; choose among 0,1,2,3"),
        (zero, "--stages foo", 2, "no such choice: foo; choose among torch,0,1,2,3"),
        (zero, "--processes 0", 2, "--processes: '0'"),
        (zero, "--processes 2,3 --batch 8", 1, "type --batch 12"),
        (zero, "--width 100", 2, "choose a multiple of 64"),
        (zero_table, "--processes 3", 1, "choose among 1,2,4,8"),
        (start, "nonesuch", 1, "nonesuch: no such recipe"),
    ],
)
def test_wrong_input(
    module: Any, given: str, code: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        started(monkeypatch, module, *given.split())
    shown = capsys.readouterr()
    assert ended.value.code == code and told in shown.err and shown.out == ""


def test_json_is_the_last_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"engine": "torch", "processes": 1, "samples": 2.0}
    row |= dict.fromkeys(("constant", "turns", "ratio", "resident", "tensors", "predicted"), 1.0)
    monkeypatch.setattr(zero, "in_processes", lambda *_: [])
    monkeypatch.setattr(zero, "summed", lambda stage, world, *_: row | {"samples": 2.0 * world})
    started(monkeypatch, zero, "--stages", "torch,1", "--json")
    *table, last = capsys.readouterr().out.splitlines()
    found = json.loads(last)
    assert len(table) == 2 + 4 and [one["speedup"] for one in found["rows"]] == [1, 2, 1, 2]
    assert found["processes"] == [1, 2] and "json" not in found


def test_widths() -> None:
    assert [joint.width_of(width) for width in ("32", "64", "128")] == [32, 64, 128]


@pytest.mark.parametrize("name", ["growth", "saving", "plan"])
def test_what_training_sets_is_set_before_torch_is_imported(name: str) -> None:
    """In the benchmarks that step in their own process."""
    look = "import sys, vltk.launch as l; l.before_torch = lambda: sys.exit(3 if 'torch' in sys.modules else 7);"
    done = subprocess.run([sys.executable, "-c", f"{look} import benchmarks.{name}"], check=False)
    assert done.returncode == 7


def test_what_training_sets_is_set_for_joined_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def spawned(join: Callable[..., None], args: tuple[Any, ...], nprocs: int) -> None:
        seen.append("spawned")
        for rank in range(nprocs):
            (Path(args[2]) / f"{rank}.json").write_text("null")

    monkeypatch.setattr(joint, "before_torch", lambda: seen.append("set"))
    monkeypatch.setattr(joint.multiprocessing, "spawn", spawned)
    assert joint.in_processes(2, import_module) == [None, None] and seen == ["set", "spawned"]
