"""What `vltk eval` does: says what is missing, finds runs, writes rows, and leaves a model in training undisturbed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vltk.errors import Missing, RecipeError
from vltk.eval import run, task


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stage(folder: Path, model: str = "{part: flava}", status: str = "finished", seconds: float = 0) -> Path:
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(f"model: {model}\n")
    (folder / "run.json").write_text(json.dumps({"status": status}))
    os.utime(folder / "run.json", (1e9 + seconds, 1e9 + seconds))
    return folder


def load_fakes(monkeypatch: pytest.MonkeyPatch, trained: Any) -> None:
    def load(spec: str) -> Any:
        return replace(trained, name="/".join(Path(spec).parts[-2:]))

    monkeypatch.setattr(run.run, "load", load)


def test_rows_reach_the_results_of_each_run(
    here: Path,
    write_pairs: Callable[..., None],
    trained: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    load_fakes(monkeypatch, trained)
    write_pairs("pairs/dev", [[f"{index}"] for index in range(20)])
    folders = [stage(here / "runs" / name / "joint") for name in ("one", "two")]
    options = run.Options(limit=15, seed=4)
    rows = run.evaluate(["runs/one/joint", "two"], tasks=["retrieval:pairs/dev"], options=options)
    written = [json.loads(line) for folder in folders for line in (folder / "results.jsonl").read_text().splitlines()]
    assert written == rows and len(rows) == 18
    assert {(row["task"], row["split"], row["seed"]) for row in rows} == {("retrieval:pairs/dev", "dev", 4)}
    assert {row["n"] for row in rows} == {15, 30}
    assert [row["run"] for row in rows[::9]] == ["one/joint", "two"] and rows[0]["step"] == 7
    shown = capsys.readouterr().out
    assert "image_to_text R@1" in shown and "chance" in shown and "100.00" in shown


def test_without_a_run_the_newest_finished_family_is_taken_and_named(
    here: Path,
    write_pairs: Callable[..., None],
    trained: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    load_fakes(monkeypatch, trained)
    write_pairs("pairs/dev", [["0"], ["1"]])
    stage(here / "runs" / "a" / "joint", seconds=1)
    chosen = stage(here / "runs" / "b" / "joint", seconds=2)
    stage(here / "runs" / "c" / "codes", model="{part: dvae}", seconds=3)
    stage(here / "runs" / "c" / "text", model="{part: flava, image: null}", seconds=5)
    stage(here / "runs" / "d" / "joint", status="stopped", seconds=4)
    run.evaluate([], tasks=["retrieval:pairs/dev"])
    assert "newest finished one, runs/b/joint" in capsys.readouterr().out.replace("\n", "")
    assert (chosen / "results.jsonl").exists()


def test_everything_that_is_missing_is_listed_at_once(here: Path, data_root: Path) -> None:
    with pytest.raises(Missing) as caught:
        run.evaluate([], suite="35tasks", tasks=["retrieval:mine/dev"])
    whats = [what for what, _ in caught.value.steps]
    commands = dict(caught.value.steps)
    assert whats[0].startswith("official files of food101, cifar10,")
    assert caught.value.steps[0][1].startswith("vltk eval --fetch food101,cifar10,")
    assert "vltk data shard SOURCE mine/dev" in commands.values()
    assert any("image-net.org" in command for command in commands.values())
    at = next(number for number, what in enumerate(whats) if "finished run" in what)
    assert caught.value.steps[at][1] == "vltk train flava-tiny" and caught.value.exit_code == 3
    assert at == len(whats) - 1


def test_a_task_of_a_suite_that_does_not_exist_is_not_left_out(here: Path, data_root: Path) -> None:
    (here / "mine.yaml").write_text("about: mine\ntasks: {A: [mnst, dtd], B: ['cola:budget=long']}\n")
    with pytest.raises(RecipeError) as caught:
        run.evaluate([], suite="mine.yaml", options=run.Options(skip_absent=True))
    first, second = caught.value.problems
    assert first.startswith("mine.yaml: tasks: mnst: no task 'mnst'; did you mean 'mnist'?")
    assert second.startswith("mine.yaml: tasks: cola:budget=long: ")


def test_a_run_that_is_not_there_and_a_data_set_once(here: Path, data_root: Path) -> None:
    with pytest.raises(Missing) as caught:
        run.evaluate(["absent"], suite="shapes")
    whats = [what for what, _ in caught.value.steps]
    assert "absent" in whats[-1]
    assert len(whats) == len(set(whats)) and any("shapes/heldout" in what for what in whats)


def test_nothing_asked_for_says_what_there_is(here: Path) -> None:
    with pytest.raises(RecipeError, match=r"--suite NAME or --tasks NAME.*35tasks, language.*shapes-retrieval"):
        run.evaluate(["a"])


def test_what_is_missing_is_said_before_torch_is_imported(here: Path, data_root: Path) -> None:
    script = (
        "import sys\nfrom vltk.errors import Missing\nfrom vltk.eval.run import evaluate\n"
        "try:\n    evaluate([], '35tasks')\nexcept Missing as error:\n"
        "    print(error)\n    sys.exit('torch' in sys.modules)"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "VLTK_DATA": "none", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.perf_counter() - start < 5
    assert "1. " in done.stdout and "vqav2" in done.stdout


def test_an_evaluator_leaves_training_as_it_was(write_pairs: Callable[..., None], trained: Any, tmp_path: Path) -> None:
    write_pairs("pairs/dev", [[f"{index}"] for index in range(12)], [{"odd": index % 2} for index in range(12)])
    probe = "linear_probe:pairs/dev:pairs/dev:odd:random_weights=true:max_iterations=20"
    path = tmp_path / "results.jsonl"
    score = run.evaluator(task.read(["retrieval:pairs/dev", probe]), seed=2, path=path)
    trained.model.train()
    trained.model.dropout.eval()  # a frozen part stays in evaluation mode
    before = torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate()
    with torch.enable_grad():
        rows = score(trained)
        assert torch.is_grad_enabled()
    assert trained.model.training and not trained.model.dropout.training
    assert torch.equal(torch.get_rng_state(), before[0])
    assert str(np.random.get_state(legacy=False)) == str(before[1]) and random.getstate() == before[2]
    assert all(parameter.grad is None and parameter.requires_grad for parameter in trained.model.parameters())
    assert len(rows) == 13 and {row["seed"] for row in rows} == {2}
    assert score(trained)[0]["value"] == rows[0]["value"]
    assert [json.loads(line) for line in path.read_text().splitlines()[:13]] == rows


def test_undisturbed_gives_everything_back_after_an_error(trained: Any) -> None:
    trained.model.train()
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), run.undisturbed(trained.model):
        torch.rand(3), random.random(), np.random.rand()
        assert not trained.model.training
        raise ZeroDivisionError
    assert trained.model.training and torch.equal(torch.get_rng_state(), before)


def test_an_evaluator_of_absent_data_stops_before_training(data_root: Path) -> None:
    with pytest.raises(Missing, match="mine/dev"):
        run.evaluator(task.read(["retrieval:mine/dev"]))
