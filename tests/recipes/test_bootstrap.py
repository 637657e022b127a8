"""BLIP's whole cycle at debug size; and what a bootstrap says of mistakes and of what is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.harness import call, facts, weights
from vltk import parts
from vltk.bootstrap import cycle, recipe
from vltk.capfilt.job import ROLES
from vltk.data.shard import Record, write_dataset
from vltk.errors import Missing, RecipeError, VltkError
from vltk.identity import identity
from vltk.run import RunFolder, find, load_stage
from vltk.train.folder import opened

needs_blip = pytest.mark.skipif("blip" not in parts.names("models/families"), reason="this tree has no BLIP")
SMALL = {"include": "debug.yaml", "evaluate": {"tasks": {"dev": None}}}
ON_DEV = SMALL | {"streams": {"pairs": {"data": ["shapes/dev"]}}}


def write(place: Path, **changes: Any) -> str:
    said: dict[str, Any] = {
        "kind": "bootstrap",
        "name": "boot",
        "pretrain": {"recipe": "blip-tiny", "set": SMALL},
        "captioner": {"recipe": "blip/captioner-tiny", "set": ON_DEV},
        "filter": {"recipe": "blip/filter-tiny", "set": ON_DEV},
        "capfilt": {
            "recipe": "capfilt",
            "set": {
                "data": {"cc3m": None, "coco": None, "shapes/train": {}, "shapes/dev": {"human": True}},
                "output": "made",
                "caption": {"min_length": 5, "max_length": 12},
                "select": {"part": "topk", "by": "itm", "k": 3},
                "gates": {"unfinished": False, "min_words": 1, "max_run": None, "max_repeat": None},
            },
        },
    }
    (place / "boot.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(said | changes))))  # without aliases
    return "boot.yaml"


@needs_blip
@pytest.mark.slow
def test_the_cycle(own_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(1)
    path = write(own_data.parent)
    assert call("capfilt", "bootstrap", path) == 0, capsys.readouterr().err
    captioner = load_stage(find("boot/captioner-1"))
    assert set(captioner.init.values()) == {"runs/boot/pretrain-0"} and captioner.streams["pairs"].data == [
        "shapes/dev"
    ]
    assert {name: one.data for name, one in load_stage(find("boot/pretrain-1")).streams.items()} == {
        "contrast": ["made-1"],
        "pairs": ["made-1"],
    }
    assert not load_stage(find("boot/pretrain-1")).init
    assert weights("boot/pretrain-1/train") != weights("boot/pretrain-0/train")
    assert (Path("runs") / "boot" / "capfilt-1" / "report.html").exists()
    before = {stage: facts(f"boot/{stage}/train") for stage in ("pretrain-0", "captioner-1", "filter-1", "pretrain-1")}
    capsys.readouterr()
    assert call("capfilt", "bootstrap", path) == 0
    assert capsys.readouterr().out.count("finished before, nothing to do") == 4
    assert before == {stage: facts(f"boot/{stage}/train") for stage in before}


@needs_blip
def test_the_shipped_bootstraps_fit(home: Path) -> None:
    names = ("blip/bootstrap", "blip/bootstrap-noisy", "blip/bootstrap-tiny")
    for name in names:
        boot = recipe.load(name)
        assert boot.options.rounds == 1
        assert cycle._from(boot, "captioner", Path("runs/x"))
    replaced = {name: [keys[3] for keys, _, _ in cycle._data(recipe.load(name), "made")] for name in names}
    both = ["contrast", "pairs"]
    assert replaced == {"blip/bootstrap": ["pairs"], "blip/bootstrap-noisy": both, "blip/bootstrap-tiny": both}
    cycle.require(recipe.load("blip/bootstrap-tiny"))
    assert call("recipe", "check", "blip/bootstrap-tiny") == 0 and call("recipe", "show", "capfilt") == 0


@needs_blip
def test_what_is_missing_is_listed_before_anything_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLTK_DATA", str(tmp_path / "data"))
    boot = recipe.load(write(tmp_path, captioner="blip/captioner", capfilt="capfilt"))
    with pytest.raises(Missing) as told:
        cycle.run(boot, lambda path: None)
    commands = [command for _, command in told.value.steps]
    assert "vltk data fetch shapes" in commands and "vltk data fetch cc3m" in commands
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds: Input should be greater than 0"),
        ({"pretrain": {"name": "x"}}, "pretrain.recipe: required, and not given"),
        ({"captioner": "clip-tiny"}, "captioner: the recipe clip-tiny starts from nothing: it has no init"),
        ({"filter": "capfilt"}, r"boot.yaml:\d+: filter.recipe: capfilt trains nothing by itself"),
        ({"pretrain": "blip-capfilt-tiny"}, "pretrain.recipe: blip-capfilt-tiny trains nothing by itself"),
        ({"capfilt": "blip/bootstrap"}, "capfilt.recipe: .*this is a bootstrap recipe: vltk capfilt bootstrap"),
        ({"capfilt": "clip-tiny"}, "no recipe of vltk capfilt: it does not say `kind: capfilt`"),
        ({"stream": "pears"}, "stream: no stage of clip-tiny has a stream 'pears'"),
    ],
    ids=str,
)
def test_mistakes(home: Path, changes: dict[str, Any], message: str) -> None:
    capfilt = {"recipe": "capfilt", "set": {"data": {"cc3m": None, "coco": None, "shapes/dev": {}}}}
    base = {"pretrain": "clip-tiny", "captioner": "clip-tiny", "filter": "clip-tiny", "capfilt": capfilt}
    with pytest.raises(RecipeError, match=message):
        recipe.load(write(home, **base | changes))


@needs_blip
def test_every_mistake_has_its_place_and_all_are_said_at_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = """\
kind: bootstrap
pretrain:
  recipe: blip-tiny
  set: {stepps: 6}
captioner:
  recipe: blip/captioner-tiny
  set:
    streams: {pairs: {objectives: {lm: {smoothing: 0.1}}}}
filter: blip/filter-tny
capfilt:
  recipe: capfilt
  set:
    caption: {min_lengt: 5}
    select.threshold: 2
roundds: 2
"""
    (home / "bad.yaml").write_text(lines)
    assert call("recipe", "check", "bad.yaml", "pretrain.set.seeed=1") == 2
    told = capsys.readouterr().err.splitlines()
    wanted = [
        "bad.yaml:15: roundds: unknown key",
        "command line 'pretrain.set.seeed=1': pretrain.set.seeed: unknown key",
        "bad.yaml:4: pretrain.set.stepps: unknown key, given 6; did you mean 'steps'?",
        "bad.yaml:8: captioner.set.streams.pairs.objectives.lm.smoothing: unknown key",
        "bad.yaml:9: filter.recipe: blip/filter-tny: no such recipe",
        "bad.yaml:13: capfilt.set.caption.min_lengt: unknown key, given 5; did you mean 'min_length'?",
        "bad.yaml:14: capfilt.set.select.threshold: Input should be less than or equal to 1, given 2",
    ]
    assert [any(line.startswith(one) for line in told) for one in wanted] == [True] * len(wanted), told
    assert len(told) == len(wanted)


@needs_blip
def test_a_check_builds_the_models(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(home, filter={"recipe": "blip/filter-tiny", "set": {"model": {"image": {"heads": 3}}}})
    assert call("recipe", "check", path) == 2
    assert "boot.yaml" in (told := capsys.readouterr().err) and "filter.set.model.image" in told


@needs_blip
def test_the_command_line_says_more_over_a_recipe_given_by_its_name_alone(home: Path) -> None:
    boot = recipe.load("blip/bootstrap-tiny", ["pretrain.set.steps=7", "captioner=blip/captioner"])
    trained = dict(cycle._trainings(boot))
    assert trained["pretrain-0"].stages["train"].steps == 7 and trained["captioner-1"].stages["train"].steps == 11555


class Trained(Exception):
    """Training would have begun."""


def trains(path: Path) -> None:
    raise Trained


@needs_blip
def test_an_output_of_another_is_refused_before_anything_trains(own_data: Path) -> None:
    boot = recipe.load(write(own_data.parent, rounds=2))
    write_dataset(own_data / "made-2", [Record("a", None, ["a text"])], {"kind": "test"})
    for redo in (False, True):
        with pytest.raises(
            VltkError, match=r"boot.yaml:\d+: capfilt.set.output: .* already: made-2; .*vltk data rm made-2"
        ):
            cycle.run(boot, trains, redo)
    assert not Path("runs").exists()


@needs_blip
def test_an_output_of_the_same_bootstrap_is_accepted(own_data: Path) -> None:
    boot = recipe.load(write(own_data.parent))
    job = cycle.job_of(boot, 1)
    models = {role: {"run": getattr(job.options, role)} for role in ROLES}
    source = {"kind": "capfilt", "filter": models["filter"], "captions": {"captioner": models["captioner"]}}
    write_dataset(own_data / "made-1", [Record("a", None, ["a text"])], source)
    with pytest.raises(VltkError, match="already: made-1"):  # as another folder's bootstrap of that name would leave it
        cycle.run(boot, trains)
    job.write()
    with pytest.raises(Trained):
        cycle.run(boot, trains)


@needs_blip
def test_changed_settings_are_refused_at_the_start_with_all_keys(
    own_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cycle, "check", lambda boot: None)  # which takes seconds
    boot = recipe.load(path := write(own_data.parent))
    stage = dict(cycle._trainings(boot))["captioner-1"].stages["train"]
    folder = RunFolder(Path("runs/boot/captioner-1/train"))
    folder.path.mkdir(parents=True)
    opened(folder, stage, None, identity(stage, {}, {}))
    cycle.job_of(boot, 1).write()
    harmless = ["capfilt.set.caption.batch_size=2", "captioner.set.log_every=9"]
    with pytest.raises(Trained):
        cycle.run(recipe.load(path, harmless), trains)
    before = {file: file.read_bytes() for file in Path("runs").rglob("*.yaml")}
    changed = recipe.load(path, ["captioner.set.steps=3", "capfilt.set.select.k=1"])
    with pytest.raises(RecipeError) as told:
        cycle.run(changed, trains)
    assert str(told.value).splitlines()[:4] == [
        "runs/boot/captioner-1/train was made by another recipe:",
        "  steps: was 2, is 3",
        "runs/boot/capfilt-1 was made by another recipe:",
        "  select.k: was 3, is 1",
    ]
    assert before == {file: file.read_bytes() for file in Path("runs").rglob("*.yaml")}
    with pytest.raises(Trained):
        cycle.run(changed, trains, redo=True)
