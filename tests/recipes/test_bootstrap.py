"""BLIP's whole cycle at debug size; and what a bootstrap says of mistakes and of what is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.harness import call, facts, weights
from vltk import bootstrap, parts
from vltk.errors import Missing, RecipeError
from vltk.run import find, load_stage

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
    (place / "boot.yaml").write_text(json.dumps(said | changes))  # which is YAML, without aliases
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
        boot = bootstrap.load(name)
        assert boot.options.rounds == 1
        assert bootstrap._from(boot, "captioner", Path("runs/x"))
    replaced = {name: [keys[3] for keys, _, _ in bootstrap._data(bootstrap.load(name), "made")] for name in names}
    both = ["contrast", "pairs"]
    assert replaced == {"blip/bootstrap": ["pairs"], "blip/bootstrap-noisy": both, "blip/bootstrap-tiny": both}
    bootstrap.require(bootstrap.load("blip/bootstrap-tiny"))
    assert call("recipe", "check", "blip/bootstrap-tiny") == 0 and call("recipe", "show", "capfilt") == 0


def test_what_is_missing_is_listed_before_anything_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLTK_DATA", str(tmp_path / "data"))
    boot = bootstrap.load(
        write(tmp_path, pretrain="clip-tiny", captioner="clip", filter="clip-tiny", capfilt="capfilt")
    )
    with pytest.raises(Missing) as told:
        bootstrap.run(boot, lambda path: None)
    commands = [command for _, command in told.value.steps]
    assert "vltk data fetch shapes" in commands and "vltk data fetch cc3m" in commands
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds: Input should be greater than 0"),
        ({"pretrain": {"name": "x"}}, "pretrain.recipe: required, and not given"),
        ({"captioner": "clip-tiny"}, "captioner: the recipe clip-tiny starts from nothing: it has no init"),
        ({"stream": "pears"}, "stream: no stage of clip-tiny has a stream 'pears'"),
    ],
    ids=str,
)
def test_mistakes(home: Path, changes: dict[str, Any], message: str) -> None:
    capfilt = {"recipe": "capfilt", "set": {"data": {"cc3m": None, "coco": None, "shapes/dev": {}}}}
    base = {"pretrain": "clip-tiny", "captioner": "clip-tiny", "filter": "clip-tiny", "capfilt": capfilt}
    with pytest.raises(RecipeError, match=message):
        bootstrap.require(bootstrap.load(write(home, **base | changes)))
