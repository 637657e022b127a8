"""Steps on tables that their recipe would not make: refused before anything is written, with what to type."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.harness import call
from tests.unit.capfilt import jobs
from tests.unit.capfilt.jobs import ToyModel, recipe, samples
from tests.unit.capfilt.test_job import run_folder
from vltk.capfilt import caption, models, pack, provenance, score, select, steps
from vltk.capfilt.job import load
from vltk.capfilt.models import named
from vltk.capfilt.tables import differences
from vltk.data.hashes import file_sha256
from vltk.data.shard import write_dataset
from vltk.errors import VltkError
from vltk.run import RunFolder


def left(place: Path) -> dict[str, int]:
    """Every file of the job, and when it was written."""
    files = [path for path in (place / "runs").rglob("*") if path.is_file()]
    return {str(path.relative_to(place)): path.stat().st_mtime_ns for path in files}


OTHERS = [
    (["filter=nosuch"], "filter.run: was filter, is nosuch"),
    (["captioner=nope"], "captions.captioner.run: was captioner, is nope"),
    (["captioner=null"], "captions.captioner.run: was captioner, is None"),
    (["filter=null", "select=all"], "filter.run: was filter, is None"),
    (["score.normalise=true"], "score.normalise: was False, is True"),
    (["precision=bf16"], "precision: was fp32, is bf16"),
    (["seed=77"], "captions.seed: was 0, is 77"),
    (["caption.top_p=0.5"], "captions.decoding.top_p: was 0.95, is 0.5"),
]


@pytest.mark.parametrize(("said", "told"), OTHERS, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_scores_of_another_recipe(place: Path, capsys: pytest.CaptureFixture[str], said: list[str], told: str) -> None:
    path = str(recipe(place))
    assert call("capfilt", path) == 0
    before = left(place)
    for step in ("select", "pack"):
        assert call("capfilt", step, path, *said, "output=other") == 1
        message = capsys.readouterr().err
        assert "scores/web/00000.parquet was made of something else:" in message and told in message
        again = "score" if told.startswith(("filter", "score")) else "run"
        assert f"vltk capfilt {again} {shlex.join([path, *said, 'output=other'])} --redo" in message
    assert call("capfilt", "run", path, *said, "output=other") == 1
    assert "web/00000.parquet was made of something else:" in capsys.readouterr().err
    assert left(place) == before and not (place / "data" / "other").exists()


def test_decisions_of_another_threshold(place: Path) -> None:
    path = recipe(place)
    steps.run(load(path))
    with pytest.raises(VltkError, match=r"select.threshold: was 0.5, is 0.9\n.*decide again: vltk capfilt select .*t9"):
        pack.pack(load(path, ["select.threshold=0.9", "output=t9"]))
    with pytest.raises(VltkError, match=r"gates.min_words: was 2, is 3"):
        pack.pack(load(path, ["gates.min_words=3", "output=t9"]))
    assert not (place / "data" / "t9" / "manifest.json").exists()


def test_captions_that_were_made_again(place: Path) -> None:
    path = recipe(place)
    steps.run(load(path))
    steps.captions(load(path, ["seed=3"]), redo=True)
    for other in (load(path, ["output=other"]), load(path, ["output=other", "seed=3"])):
        for step in (select.select, pack.pack):
            with pytest.raises(VltkError, match=r"captions.seed: was 0, is 3\n.*vltk capfilt run .* --redo"):
                step(other)
    with pytest.raises(VltkError, match=r"captions/web/00000.parquet was made of something else:\n  seed: was 3, is 0"):
        steps.scores(load(path), redo=True)
    steps.scores(load(path, ["seed=3"]), redo=True)
    select.select(load(path, ["seed=3"]))


def test_after_a_refusal_the_command_before_does_nothing(place: Path) -> None:
    path = recipe(place)
    steps.run(load(path))
    before, computed, packed = left(place), ToyModel.batches, samples("clean")
    for said in (["select.threshold=0.3"], ["gates.min_words=3"], *(said for said, _ in OTHERS)):
        for redo in (False, True):
            with pytest.raises(VltkError):
                steps.run(load(path, said), redo=redo)
            assert left(place) == before, said
    for step in (steps.captions, steps.scores):
        with pytest.raises(VltkError, match=r"captions/web/00000.parquet was .*\n  seed: was 0, is 3"):
            step(load(path, ["seed=3"]))
    steps.run(load(path))
    select.select(load(path, ["select.threshold=0.3"]))  # allowed, and made again as it was
    steps.run(load(path))
    assert samples("clean") == packed
    before = {name: at for name, at in before.items() if "decisions" not in name}
    assert left(place).items() >= {name: at for name, at in before.items() if "capfilt.yaml" not in name}.items()
    assert ToyModel.batches == computed


def test_what_stands_is_looked_at_before_anything_is_made(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the first table is gone, and only the weights tell that the others are of another run."""
    job = load(recipe(place))
    steps.run(job)
    caption.tables(job).path("web/00000").unlink()
    before = left(place)
    monkeypatch.setattr(ToyModel, "weights", "2")
    with pytest.raises(VltkError, match=r"captions/web/00001.parquet .*\n  captioner.weights: was 1, is 2"):
        caption.caption(load(recipe(place)))
    assert left(place) == before


def test_the_name_of_a_training_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_folder(place, ["lm"], {"image": "x"})
    before = left(place)
    for command in ([], ["caption"], ["select"], ["pack"], ["report"]):
        assert call("capfilt", *command, str(recipe(place)), "name=base") == 1
        assert "runs/base holds a training run: give this job another name (name=OTHER)" in capsys.readouterr().err
    assert left(place) == before


def test_a_run_by_another_spelling(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "named", lambda spec: {"run": spec, "weights": "1"})
    path, other = recipe(place), ["captioner=runs/captioner", "filter=./runs/filter"]
    folder = steps.run(load(path))
    before = ToyModel.batches
    assert steps.run(load(path, other)) == folder
    for step in (select.select, pack.pack):
        step(load(path, other))
    assert steps.run(load(path)) == folder and ToyModel.batches == before
    shutil.rmtree(place / "runs")
    assert steps.run(load(path, other)) == folder  # its tables name the runs otherwise, the data set is the same


def test_runs_are_known_by_their_weights() -> None:
    one = {"captions": {"captioner": {"run": "a", "weights": "1", "image_size": 8}}, "filter": {"run": "b"}}
    other = {"captions": {"captioner": {"run": "runs/a", "weights": "1"}}, "filter": {"run": "b", "weights": "2"}}
    assert differences(one, other) == []
    other["captions"]["captioner"]["weights"] = "3"
    assert differences(one, other) == ["captions.captioner.weights: was 1, is 3"]
    assert differences(one, {"captions": one["captions"], "filter": None}) == ["filter.run: was b, is None"]
    assert differences({"of": {"run": "1"}}, {"of": {"run": "2"}}) == ["of.run: was 1, is 2"]  # a data set


def test_what_a_name_tells(place: Path) -> None:
    assert named("base") == {"run": "base"}
    run_folder(place, ["lm"], {"image": "x"})
    assert named("base") == {"run": "base"}  # its weights are gone
    folder = RunFolder(place / "runs" / "base" / "train")
    folder.weights.write_bytes(b"weights")
    sha256 = file_sha256(folder.weights)
    assert named("runs/base") == {"run": "runs/base", "weights": sha256} and models.weights_digest(folder) == sha256
    folder.finished(1)
    folder.weights.chmod(0)  # noted when it was finished: not read again
    assert named("base/train") == {"run": "base/train", "weights": sha256}


def test_commands_keep_what_was_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(recipe(place))
    said = ["name=other", "select={part: topk, k: 2}"]
    for step, wanted in (("score", "caption"), ("select", "score"), ("pack", "select")):
        assert call("capfilt", step, path, *said) == 3
        assert f"vltk capfilt {wanted} {path} name=other 'select={{part: topk, k: 2}}'" in capsys.readouterr().err


def damage(path: Path, where: str) -> None:
    data = bytearray(path.read_bytes())
    if where == "footer":
        data[-40:] = b"\0" * 40
    else:
        data[4:60] = b"\xff" * 56
    path.write_bytes(data)


@pytest.mark.parametrize("where", ["footer", "rows"])
@pytest.mark.parametrize("step", [caption, score, select], ids=["captions", "scores", "decisions"])
def test_a_damaged_table_is_made_anew(place: Path, step: Any, where: str) -> None:
    job = load(recipe(place))
    steps.run(job)
    before = step.tables(job).read("web/00001")
    damage(step.tables(job).path("web/00001"), where)
    with pytest.raises(VltkError, match=r"web/00001.parquet: damaged (.|\n)*so does --redo"):
        step.tables(job).read("web/00001")
    steps.run(job, redo=step is not select)  # which makes what it has not in any case
    assert step.tables(job).read("web/00001") == before


def test_a_shard_that_changed_under_a_packed_data_set(place: Path) -> None:
    job = load(recipe(place))
    steps.run(job)
    tar = place / "data" / "web" / "shards" / "00001.tar"
    data = tar.read_bytes()
    tar.write_bytes(data)  # newer, and the same
    steps.run(load(recipe(place)))
    tar.write_bytes(data[:700] + bytes([data[700] ^ 1]) + data[701:])
    with pytest.raises(VltkError, match=r"00001.tar changed since it was scored: .* vltk data verify web"):
        pack.pack(load(recipe(place)))
    write_dataset(place / "data" / "web", jobs.records(40, 1), {"kind": "test"}, 12, replace=True)
    with pytest.raises(VltkError, match="the shard web/00000 changed since it was scored: .* --redo"):
        pack.pack(load(recipe(place)))
    with pytest.raises(VltkError, match=r"clean exists already: .* it was made of something else:\n  of.web: was"):
        steps.run(load(recipe(place)))
    assert len(samples("clean")) > 5
