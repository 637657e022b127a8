"""What a user does with a run, command by command: evaluate, report, export, import, and train on data of their own."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.harness import DEBUG, Child, call, facts, losses, rows, weights
from vltk.data.sources import shapes

RETRIEVAL = "retrieval:shapes/dev:captions=1"


@pytest.fixture
def trained(home: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert call("train", "flava-tiny", DEBUG, "name=demo") == 0
    capsys.readouterr()
    return "demo"


def scores(stage: str) -> dict[str, float]:
    """Of the last evaluation on the dev scenes."""
    return {row["metric"]: row["value"] for row in rows(stage, "results.jsonl") if row["task"] == RETRIEVAL}


def test_eval_appends_rows(trained: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = rows("demo/joint", "results.jsonl")
    probe = "linear_probe:shapes/train:shapes/test:count"
    assert call("eval", trained, "--tasks", f"{RETRIEVAL},{probe},shapes-retrieval", "--limit", "12") == 0
    assert "image_to_text R@1" in capsys.readouterr().out
    after = rows("demo/joint", "results.jsonl")
    assert after[: len(before)] == before
    added = after[len(before) :]
    assert {row["task"] for row in added} == {RETRIEVAL, probe, "shapes-retrieval"}
    assert {"task", "split", "metric", "value", "n", "seed", "run", "step", "seconds"} <= set(added[0])
    assert {row["run"] for row in added} == {"demo/joint"} and {row["step"] for row in added} == {2}
    assert all(row["n"] == (24 if row["metric"] == "mean recall" else 12) for row in added)
    assert all(0 <= row["value"] <= 100 for row in added)


def test_eval_takes_the_newest_run_and_a_checkpoint(trained: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("eval", "--tasks", RETRIEVAL) == 0
    assert "taking the newest finished one, runs/demo/joint" in capsys.readouterr().out
    assert call("eval", "demo/joint@1", "--tasks", RETRIEVAL) == 0
    assert [row["step"] for row in rows("demo/joint", "results.jsonl") if row["task"] == RETRIEVAL][-1] == 1
    assert call("eval", "demo@7", "--tasks", RETRIEVAL) == 1
    assert "has no checkpoint of step 7; have: step-00000001, step-00000002" in capsys.readouterr().err


def test_a_report_while_it_trains(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    child = Child("train", "flava-tiny", DEBUG, "name=busy", "stages.joint.steps=200", pause=0.1)
    child.wait_until(lambda: len(losses("busy/joint")) > 2)
    assert call("report", "busy") == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == Path("runs/busy/report.html")
    text = page.read_text()
    assert "running" in text and "finished" in text and "data:image/" in text
    assert child.process.is_alive()
    child.send(9)
    child.wait()


@pytest.mark.parametrize("recipe", ["flava-tiny", "clip"])
def test_weights_go_out_and_come_back(recipe: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = "joint" if recipe == "flava-tiny" else "train"
    length = "tokenizer.max_length=32"  # the model's own, which an imported run takes
    assert call("train", recipe, DEBUG, "name=demo", length) == 0
    assert call("export", "hf", "demo", "out") == 0
    assert {"config.json", "model.safetensors"} <= {path.name for path in Path("out").iterdir()}
    assert call("import", "hf", "out", "back") == 0
    ours, theirs = (load_file(home / "runs" / run / "model.safetensors") for run in (f"demo/{stage}", "back/model"))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    for run in (f"demo/{stage}", "back/model"):
        assert call("eval", run, "--tasks", RETRIEVAL) == 0
    assert scores(f"demo/{stage}") == scores("back/model") != {}
    assert call("export", "weights", "demo@1", "plain") == 0
    assert call("eval", "plain", "--tasks", RETRIEVAL) == 0
    capsys.readouterr()
    assert call("export", "hf", "demo", "out") == 1 and call("import", "hf", "out", "back") == 1
    assert "Traceback" not in capsys.readouterr().err


def test_an_imported_run_is_a_start(home: Path) -> None:
    """Its parts start other stages by path, as those of a trained run do."""
    assert call("train", "clip", DEBUG, "name=demo") == 0
    assert call("export", "hf", "demo", "out") == 0
    assert call("import", "hf", "out", "back") == 0
    options = ["name=next", "init.image=runs/back/model", "init.text=runs/demo/train"]
    assert call("train", "clip", DEBUG, *options) == 0
    assert losses("next/train") != losses("demo/train")


def photos(folder: Path) -> None:
    """Eight pictures, and captions for them in a CSV file."""
    folder.mkdir()
    lines = ["image,caption"]
    for number, record in zip(range(8), shapes.records(0, "dev", 8), strict=True):
        assert record.image is not None
        (folder / f"{number}.jpg").write_bytes(record.image)
        lines += [f'{number}.jpg,"{text}"' for text in record.texts[:2]]
    (folder.parent / "captions.csv").write_text("\n".join(lines) + "\n")


def test_training_on_data_of_ones_own(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VLTK_DATA")
    photos(home / "photos")
    assert call("data", "shard", "photos", "mine/train", "--captions", "captions.csv") == 0
    assert "8 samples, 8 images, 16 texts" in capsys.readouterr().out
    assert call("data", "vocab", "mine/train", "--size", "300", "--out", "data/mine/vocab.txt") == 0
    words = len((home / "data/mine/vocab.txt").read_text().splitlines())
    options = ["streams.pairs.data=[mine/train]", "tokenizer.vocab=mine/vocab.txt", f"model.text.vocab={words}"]
    assert call("train", "clip-tiny", DEBUG, *options, "evaluate.tasks.dev.data=mine/train") == 0
    assert facts("clip-tiny/train")["status"] == "finished" and len(losses("clip-tiny/train")) == 2
    assert call("data", "ls") == 0
    assert re.search("mine/train +8 samples", capsys.readouterr().out)


def test_input_that_cannot_be_sharded(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty caption file, captions of absent images only, no images: a message, and no data set."""
    monkeypatch.delenv("VLTK_DATA")
    photos(home / "photos")
    shard = ["data", "shard", "photos", "mine", "--captions"]
    (home / "empty.csv").write_text("")
    (home / "absent.csv").write_text("image,caption\nnot-there.jpg,a red circle\n")
    for file in ("empty.csv", "absent.csv", "no-such.csv"):
        assert call(*shard, file) == 1, file
        said = capsys.readouterr().err
        assert "Traceback" not in said and len(said) > 20
        assert not (home / "data").exists()
    (home / "some.csv").write_text("image,caption\nnot-there.jpg,a red circle\n0.jpg,a blue circle\n")
    assert call(*shard, "some.csv") == 0
    manifest = json.loads((home / "data/mine/manifest.json").read_text())
    assert manifest["samples"] == 1 and sum(manifest["statuses"].values()) > manifest["statuses"]["ok"]


def test_the_same_command_finds_everything_finished(trained: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = weights("demo/joint")
    assert call("train", "flava-tiny", DEBUG, "name=demo") == 0
    assert capsys.readouterr().out.count("finished before, nothing to do") == 4
    assert weights("demo/joint") == first


def test_a_run_can_be_moved(trained: str) -> None:
    """A stage's folder explains itself: it is evaluated where it was copied to."""
    shutil.copytree("runs/demo/joint", "elsewhere")
    assert call("eval", "elsewhere", "--tasks", RETRIEVAL) == 0
    copied = [json.loads(line) for line in Path("elsewhere/results.jsonl").read_text().splitlines()]
    assert copied[-1]["task"] == RETRIEVAL
