"""What a job says of mistakes in its recipe, of runs that do not fit their part, and of what is not there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from benchmarks.noise import deranged
from tests.harness import DEBUG, call
from tests.unit.capfilt import jobs
from tests.unit.capfilt.jobs import recipe, samples
from vltk import recipe as recipes
from vltk.capfilt.job import absent, load
from vltk.capfilt.models import Model
from vltk.data.shard import Record, write_dataset
from vltk.errors import RecipeError, VltkError
from vltk.recipe import plain
from vltk.run import RunFolder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"captoiner": 1}, r"try.yaml:\d+: captoiner: unknown key.*did you mean 'captioner'"),
        ({"caption": {"top_p": 2}}, r"try.yaml:\d+: caption.top_p: Input should be less than or equal to 1"),
        ({"caption": {"min_length": 40}}, r"caption: min_length 40 should be below max_length 30"),
        ({"select": {"part": "itmm"}}, r"select: no 'itmm' in vltk/capfilt/rules; did you mean 'itm'\?"),
        ({"select": {"threshold": {"web": 0.5}}}, r"select: threshold: nothing is said of generated"),
        ({"filter": None}, r"select: itm chooses by itm, which a filter gives: name one, or take `select: all`"),
        ({"filter": None, "captioner": None, "select": "all"}, r"captioner too: there is nothing to do"),
        ({"select": {"part": "topk", "by": "logprob"}}, r"select.by: logprob: only generated texts have it"),
        ({"output": "web"}, r"output: 'web' is one of the data sets that go in"),
        ({"output": "../up"}, r"output: should be a name for a folder"),
        ({"data": {}}, r"data: Dictionary should have at least 1 item"),
        ({"kind": "train"}, r"kind: Input should be 'capfilt'"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_mistakes_have_a_place(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load(recipe(tmp_path, **changes))


def test_every_mistake_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as told:
        load(recipe(tmp_path, gates={"min_words": 0}, precision="fp8"), ["seed=-1"])
    assert len(told.value.problems) == 3


@pytest.mark.parametrize("given", ["select.threshold=1.5", "select={part: percentile, keep: {web: 0.5, generated: 2}}"])
def test_a_share_that_is_wrong_is_one_mistake(tmp_path: Path, given: str) -> None:
    with pytest.raises(RecipeError, match="should be less than or equal to 1") as told:
        load(recipe(tmp_path), [given])
    assert len(told.value.problems) == 1


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    job = load(recipe(tmp_path), ["select.threshold=0.4", "data.web.human=true", "name=other"])
    assert (job.name, job.options.select.threshold, job.options.data["web"].human) == ("other", 0.4, True)  # type: ignore[attr-defined]


def test_what_is_absent_is_listed_with_its_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLTK_DATA", str(tmp_path / "data"))
    commands = [command for _, command in absent(load("capfilt"))]
    assert commands[:2] == ["vltk train blip/captioner", "vltk train blip/filter"]
    assert any("cc3m" in command for command in commands) and any("coco" in command for command in commands)


def test_select_needs_no_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(recipe(place))
    assert call("capfilt", "score", path) == 3  # captions come first
    assert call("capfilt", path) == 0
    monkeypatch.undo()
    monkeypatch.chdir(place)
    monkeypatch.setenv("VLTK_DATA", str(place / "data"))
    for step in ("select", "pack", "report"):
        assert call("capfilt", step, path, "select.threshold=0.3", "output=lower") == 0
    page = (place / "runs" / "try" / "report.html").read_text()
    assert "The filter filter is not there any more" in page and len(samples("lower")) > len(samples("clean"))
    assert call("capfilt", "caption", path) == 3


def run_folder(place: Path, objectives: list[str], init: dict[str, str]) -> None:
    """A finished run, as far as its part is told by its folder."""
    stage = plain(recipes.load("blip-tiny").stages["train"])
    stage["streams"]["pairs"]["objectives"] = {name: {"part": name} for name in objectives}
    folder = RunFolder(place / "runs" / "base" / "train")
    folder.path.mkdir(parents=True)
    folder.recipe.write_text(yaml.safe_dump(stage | {"init": init}))
    folder.vocabulary.write_text("\n".join(jobs.WORDS))
    folder.note(status="finished")


@pytest.fixture
def at_home(own_data: Path) -> Path:
    torch.set_num_threads(1)
    return own_data.parent


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (["captioner=null"], "the data set bare has no texts, and no captioner writes any: captioner=RUN"),
        (["data.bare.human=true"], "the data set bare has no texts, which people would have written"),
    ],
)
def test_data_without_texts_that_gets_none(
    place: Path, capsys: pytest.CaptureFixture[str], said: list[str], message: str
) -> None:
    write_dataset(place / "data" / "bare", [Record(f"b{n}", jobs.picture(n)) for n in range(6)], {"kind": "test"})
    assert call("capfilt", str(recipe(place, data={"bare": {}})), *said) == 1
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not (place / "runs").exists()


@pytest.mark.parametrize(
    ("role", "objectives", "init", "message"),
    [
        (
            "filter",
            ["itc"],
            {},
            "was never trained by itm or itm_hard, but by itc: fine-tune one: vltk train blip/filter",
        ),
        ("filter", ["itc", "itm"], {}, "was pretrained, not fine-tuned for its part"),
        ("captioner", ["itc"], {"image": "x"}, "was never trained by lm"),
        ("filter", ["itm"], {"image": "x"}, None),
    ],
)
def test_roles(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    role: str,
    objectives: list[str],
    init: dict[str, str],
    message: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    run_folder(tmp_path, objectives, init)
    path = recipe(tmp_path)
    if message is None:
        Model(role, "base", load(path))
        return
    with pytest.raises(VltkError, match=f"the {role} base {message}.*; --force takes it all the same"):
        Model(role, "base", load(path))
    Model(role, "base", load(path, force=True))


def test_a_filter_without_a_matching_head_ranks_by_similarity(
    at_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a CLIP that was trained here: refused for its ITM, used for BLIP-2's rule; all by the command line."""
    assert call("train", "clip-tiny", DEBUG, "name=towers") == 0
    said = ["captioner=null", "filter=towers", "output=ranked"]
    path = str(recipe(at_home, data={"shapes/dev": {}}))
    assert call("capfilt", path, *said, "--force") == 1
    assert (
        "the filter towers has no matching head (ITM): give another run, or choose by similarity"
        in capsys.readouterr().err
    )
    assert call("capfilt", path, *said, "select={part: topk, k: 2}", "name=other") == 0
    assert (at_home / "runs" / "other" / "report.html").exists()
    assert all(len(sample.texts) == 2 for sample in samples("ranked").values()) and len(samples("ranked")) == 12
    assert "trained on" not in capsys.readouterr().err


def test_data_that_the_filter_knows(at_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "clip-tiny", DEBUG, "name=towers") == 0
    said = ["captioner=null", "filter=towers", "output=known", "select={part: topk, k: 2}"]
    assert call("capfilt", str(recipe(at_home, data={"shapes/train": {}})), *said) == 0
    assert "the filter towers was trained on shapes/train" in capsys.readouterr().err
    page = (at_home / "runs" / "try" / "report.html").read_text()
    assert "The filter towers was trained on shapes/train, which this job scores" in page

    write_dataset(at_home / "data" / "web", deranged("shapes/train", 0.5, 0, images=slice(0, 9)), {"kind": "noisy"})
    path = str(recipe(at_home, data={"web": {}, "shapes/dev": {}}, name="web"))
    assert call("capfilt", path, *said, "output=other") == 0
    told = "he filter towers was trained on 9 of the 9 images of web (in shapes/train), which this job scores"
    assert told in capsys.readouterr().err.replace("\n", " ")
    assert told in (at_home / "runs" / "web" / "report.html").read_text()

    shutil.rmtree(at_home / "data" / "shapes" / "train")
    assert call("capfilt", "report", path, *said, "output=other") == 0
    assert "trained on" not in capsys.readouterr().err
    told = "What web shares with shapes/train, which the filter towers was trained on, is not known: the data set"
    assert told in (at_home / "runs" / "web" / "report.html").read_text()


def test_steps_one_by_one(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(recipe(place))
    for step in ("caption", "score", "select", "pack", "report"):
        assert call("capfilt", step, path) == 0, capsys.readouterr().err
    assert len(samples("clean")) > 5
    assert call("capfilt", "pack", path) == 0
    assert "stands already" in capsys.readouterr().out
    before = jobs.ToyModel.batches
    assert call("capfilt", path) == 0 and jobs.ToyModel.batches == before


def test_two_recipes_and_a_training_recipe(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("capfilt", "run", "one", "two") == 1
    assert "one recipe at a time; given: one, two" in capsys.readouterr().err
    assert call("capfilt", "clip-tiny") == 2
    assert "it does not say `kind: capfilt`" in capsys.readouterr().err
    assert call("train", str(recipe(place))) == 2
    assert "this trains nothing by itself: vltk capfilt run" in capsys.readouterr().err
