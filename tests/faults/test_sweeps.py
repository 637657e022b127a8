"""Sweeps as they are run: stages trained once, stops and kills, variants that fail, and the table of it all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness import DEBUG, TOY, call, facts, losses, rows, start, weights

SWEEP = """\
sweep: toy.yaml
seeds: [0, 1]
vary: [second]
baseline: plain
measure:
  R@1: dev text_to_image R@1
  probe: "retrieval:shapes/test:captions=1 text_to_image R@10"
variants:
  plain: {}
  fresh: {stages: {first: null, second: {init: null}}}
"""
ALONE = ["variants.fresh=null", "seeds=[0]", "measure.probe=null"]


@pytest.fixture
def sweep(home: Path) -> Callable[..., list[str]]:
    """The arguments of `vltk sweep` for the sweep above, two steps a stage, with `old` replaced by `new`."""

    def write(*overrides: str, old: str = "", new: str = "") -> list[str]:
        assert old in SWEEP
        Path("toy.yaml").write_text(TOY)
        Path("starts.yaml").write_text(SWEEP.replace(old, new) if old else SWEEP)
        return ["sweep", "starts.yaml", DEBUG, *overrides]

    return write


def table() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(Path("runs/starts/table.json").read_text())
    return read


def figure(run: str, task: str, metric: str) -> float:
    (row,) = [
        row for row in rows(f"starts/{run}/second", "results.jsonl") if (row["task"], row["metric"]) == (task, metric)
    ]
    return float(row["value"])


def said(run: str) -> str:
    path = Path(f"runs/starts/{run}/log.txt")
    return path.read_text() if path.exists() else ""


def test_variants_and_seeds_end_in_one_table(
    sweep: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With seed 0 the second stage from scratch is the first one over again: one training, whatever its names are."""
    command = sweep()
    assert call(*command, "--jobs", "2") == 0, said("plain-0")
    told = capsys.readouterr().out
    assert "plain-0: finished" in told and "table: runs/starts/table.md" in told

    trained = [path for path in Path("runs/starts").glob("*/*") if path.is_dir() and not path.is_symlink()]
    assert sorted(map(str, trained)) == [
        f"runs/starts/{stage}" for stage in ("fresh-1/second", "plain-0/first", "plain-0/second", "plain-1/second")
    ]
    assert table()["shared"] == {"plain-1/first": "plain-0/first", "fresh-0/second": "plain-0/first"}
    assert said("plain-0").count("starts/plain-0/first 2/2") == 1 and "first: finished before" in said("plain-1")
    assert facts("starts/plain-1/second")["identity"]["recipe"]["seed"] == 1
    assert weights("starts/plain-0/second") != weights("starts/plain-1/second")

    for heading, (task, metric) in {
        "R@1": ("dev", "text_to_image R@1"),
        "probe": ("retrieval:shapes/test:captions=1", "text_to_image R@10"),
    }.items():
        plain, fresh = ([figure(f"{name}-{seed}", task, metric) for seed in (0, 1)] for name in ("plain", "fresh"))
        found = {name: table()["variants"][name][heading] for name in ("plain", "fresh")}
        assert found["plain"]["values"] == {"0": plain[0], "1": plain[1]}
        assert found["fresh"]["mean"] == pytest.approx(statistics.fmean(fresh))
        assert found["fresh"]["sd"] == pytest.approx(statistics.stdev(fresh))
        assert found["fresh"]["difference"]["mean"] == pytest.approx(statistics.fmean(fresh) - statistics.fmean(plain))

    assert call("eval", "starts/plain-1", "--tasks", "retrieval:shapes/dev:captions=1") == 0
    assert call("export", "weights", "starts/fresh-1", "exported") == 0
    assert call("train", "runs/starts/plain-1/run.yaml") == 0
    assert "second: finished before, nothing to do (runs/starts/plain-1/second)" in capsys.readouterr().out
    assert call(*command, "--dry-run") == 0
    assert "fresh-1  second: finished" in capsys.readouterr().out
    assert call(*command, "--table") == 0
    assert "plain" in capsys.readouterr().out

    monkeypatch.setattr(subprocess, "Popen", None)  # nothing is left to start
    assert call(*command) == 0
    assert capsys.readouterr().out.count("finished before") == 4

    code = call(*command, "variants.plain.optimizer={weight_decay: 0.3}")
    refused = capsys.readouterr().err
    assert code == 2 and "runs/starts/plain-0/first:" in refused and "weight_decay: was 0.1, is 0.3" in refused
    assert "runs/starts/fresh" not in refused and "--redo" in refused


@pytest.mark.slow
def test_a_run_that_is_gone_is_made_again_alone(
    sweep: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """As one that a full disk or a kill left half made; what another run links to comes back with its owner."""
    command = sweep("measure.probe=null", "variants.fresh=null")
    assert call(*command) == 0
    before = weights("starts/plain-1/second")
    shutil.rmtree("runs/starts/plain-0")
    assert call(*command) == 0
    told = capsys.readouterr().out
    assert Path("runs/starts/plain-1/first/model.safetensors").exists()
    assert weights("starts/plain-1/second") == before and said("plain-1").count("second 2/2") == 1
    assert told.count("plain-0: finished") == 2


def test_a_variant_that_fails_leaves_the_others_alone(
    sweep: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    new = "plain: {}\n  wild: {stages: {second: {precision: fp32, optimizer: {lr: 1e30, warmup: 0}, steps: 5}}}"
    command = sweep("variants.fresh=null", "measure.probe=null", old="plain: {}", new=new)
    command.remove(DEBUG)
    quick = [
        "stages.first.steps=2",
        "variants.plain.stages.second.steps=2",
        "streams.pairs.batch_size=4",
        "evaluate={every: null, best: null}",
    ]
    assert call(*command, *quick, "seeds=[0]") == 1
    done = capsys.readouterr()
    assert "1 of 2 runs failed" in done.err and "wild-0: starts/wild-0/second, step " in done.err
    assert "not a finite number" in done.err and "Traceback" not in done.err
    assert "plain-0: finished" in done.out and "wild-0: failed: " in done.out
    assert table()["variants"]["wild"]["R@1"]["n"] == 0 and table()["variants"]["plain"]["R@1"]["n"] == 1
    assert "not a finite number" in table()["runs"]["wild-0"]["error"]
    assert "| wild | (n 0 of 1) |" in Path("runs/starts/table.md").read_text()


def children() -> list[int]:
    """Processes that train a run of this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdecimal() else []
            here = b"runs/starts/plain-0/run.yaml" in words and (entry / "cwd").readlink() == Path.cwd()
        except OSError:  # it has ended meanwhile
            continue
        if here:
            found.append(int(entry.name))
    return found


def until(happened: Callable[[], object], process: subprocess.Popen[str] | None = None, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < limit and (process is None or process.poll() is None), said("plain-0")
        time.sleep(0.02)


def test_stopped_and_killed_it_goes_on(sweep: Callable[..., list[str]]) -> None:
    """Ctrl-C, then kill -9 of the sweep alone: its runs save and end, and the same command finishes the work."""
    command = sweep(*ALONE, "stages.second.steps=600", "stages.second.checkpoint={every: 1000, keep: 2}")

    def steps() -> int:
        return losses("starts/plain-0/second")[-1][0] if losses("starts/plain-0/second") else 0

    process = start(*command)
    until(lambda: steps() > 0, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "plain-0: stopped" in out and "the same command goes on from here" in out and "Traceback" not in err
    assert (facts("starts/plain-0/second")["status"], children()) == ("stopped", [])
    first = facts("starts/plain-0/second")["step"]
    assert 0 < first < 600

    process = start(*command)
    until(lambda: steps() > first, process)
    (child,) = children()
    process.kill()
    process.communicate(timeout=60)
    assert child in children() or facts("starts/plain-0/second")["status"] == "stopped"
    done = start(*command)  # at once: it waits for the one that still saves
    until(lambda: child not in children())
    out, err = done.communicate(timeout=120)
    assert done.returncode == 0, err + said("plain-0")
    assert said("plain-0").count("going on from step") == 2 and f"going on from step {first}" in said("plain-0")
    assert said("plain-0").count("first 2/2") == 1 and "first: finished before" in said("plain-0")
    assert [step for step, _, _ in losses("starts/plain-0/second")] == list(range(1, 601))
    assert os.path.exists("runs/starts/plain-0/second/model.safetensors")
