"""The command line as a user meets it: help in no time, exit codes, messages without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import vltk

ROOT = Path(vltk.__file__).parent.parent


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`vltk ARGUMENTS` in a process of its own, in `folder`."""
    hidden = {"VLTK_DATA", "RANK", "WORLD_SIZE", "PYTHONPATH"}
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {"PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "dumb", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "vltk", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=60)


COMMANDS = [
    ["train"],
    ["eval"],
    ["report"],
    ["parts"],
    ["export"],
    ["capfilt"],
    ["recipe", "ls"],
    ["recipe", "show"],
    ["recipe", "check"],
    ["data", "ls"],
    ["data", "fetch"],
    ["data", "shard"],
    ["data", "vocab"],
    ["data", "tokenizer"],
    ["data", "tokens"],
    ["data", "verify"],
    ["data", "stats"],
    ["data", "preview"],
    ["data", "dedup"],
    ["data", "rm"],
    ["import", "hf"],
    ["sweep"],
    ["plan"],
    ["bench"],
]


def test_help_is_quick(tmp_path: Path) -> None:
    """0.5 s; the best of three, as the machine may be busy."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert run(tmp_path, "--help").returncode == 0
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(tmp_path: Path, command: list[str]) -> None:
    done = run(tmp_path, *command, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout and "--help" in done.stdout


def test_the_help_of_capfilt_says_what_it_takes_without_a_command(tmp_path: Path) -> None:
    told = run(tmp_path, "capfilt", "--help").stdout
    wanted = ("[RECIPE] [KEY=VALUE]", "--jobs", "--redo", "--force", "--replace", "COMMAND [ARGS]", "bootstrap")
    assert [word for word in wanted if word not in told] == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "capfilt captoin job.yaml",
            "captoin: neither a command of vltk capfilt nor a recipe; did you mean 'caption'?",
        ),
        (
            "capfilt capfit",
            "did you mean 'capfilt'? have: bootstrap, capfilt, caption, pack, report, run, score, select",
        ),
        ("capfilt run blip/bootstrap-tiny", "this is a bootstrap recipe: vltk capfilt bootstrap blip/bootstrap-tiny"),
        ("capfilt blip/bootstrap-tiny", "this is a bootstrap recipe: vltk capfilt bootstrap blip/bootstrap-tiny"),
        ("capfilt bootstrap capfilt", "this is a capfilt recipe: vltk capfilt run capfilt"),
        (
            "capfilt bootstrap blip/bootsrap",
            "did you mean 'blip/bootstrap'? have: blip/bootstrap, blip/bootstrap-noisy, ",
        ),
        ("capfilt run capfit", "capfit: no such recipe, by path or by name; did you mean 'capfilt'? have: capfilt"),
    ],
)
def test_capfilt_says_in_one_line_what_was_meant(tmp_path: Path, command: str, message: str) -> None:
    done = run(tmp_path, *command.split())
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [["data", "fetch", "cc3m"], ["train", "recipes/flava.yaml"], ["eval", "--suite", "35tasks"], ["capfilt"]],
    ids=" ".join,
)
def test_in_an_empty_folder_each_line_says_what_is_missing(tmp_path: Path, command: list[str]) -> None:
    start = time.perf_counter()
    done = run(tmp_path, *command)
    assert time.perf_counter() - start < 5
    assert done.returncode == 3
    assert done.stdout == "" or command[1] == "fetch"  # which says the terms before it asks the hub
    title, first, remedy, *_ = done.stderr.splitlines()
    assert title and first.startswith("  1. ") and remedy.startswith("     ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["train", "flva"], 2, "flva: no such recipe, by path or by name; did you mean 'flava'? have: "),
        (["train", "flava", "optimzer.lr=1"], 2, "command line 'optimzer.lr=1': optimzer: unknown key"),
        (
            ["recipe", "check", "flava", "stages.joint.steps=-1"],
            2,
            "stages.joint.steps: Input should be greater than 0",
        ),
        (["parts", "objective"], 1, "no folder of parts 'objective'; did you mean 'objectives'? have: "),
        (["parts", "objectives", "itcc"], 2, "no 'itcc' in vltk/objectives; did you mean 'itc'? have: "),
        (["data", "fetch", "shaps"], 1, "shaps"),
        (["report", "nothing"], 3, "nothing"),
        (["train"], 2, "Missing argument 'RECIPE'"),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_a_message(tmp_path: Path, command: list[str], code: int, message: str) -> None:
    done = run(tmp_path, *command)
    assert message in done.stderr
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_recipes_are_listed_shown_and_checked(tmp_path: Path) -> None:
    names = [line.split()[0] for line in run(tmp_path, "recipe", "ls").stdout.splitlines()]
    assert {"flava", "flava-tiny", "clip"} <= set(names)
    shown = run(tmp_path, "recipe", "show", "flava-tiny", "optimizer.lr=1e-5").stdout
    assert "# command line 'optimizer.lr=1e-5'" in shown and "# default" in shown
    (tmp_path / "mine.yaml").write_text(shown)
    done = run(tmp_path, "recipe", "check", "mine.yaml")
    assert (done.returncode, done.stdout.split(":")[:2]) == (0, ["mine.yaml", " no mistakes; stages"])


def test_parts_are_listed_and_explained(tmp_path: Path) -> None:
    assert "  itc " in run(tmp_path, "parts", "objectives").stdout
    explained = run(tmp_path, "parts", "models/encoders", "vit").stdout
    assert "from the program:" in explained and "default" in explained


def test_the_version(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout == f"vltk {vltk.__version__}\n"


def test_several_processes_keep_the_exit_code(tmp_path: Path) -> None:
    code = (
        "import sys; from vltk.launch import places; from vltk.launch.spread import spread; "
        "sys.exit(spread(places(2), sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "recipe", "check", "flva"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)
    assert done.returncode == 2
    assert "did you mean 'flava'?" in done.stderr and "Traceback" not in done.stderr
