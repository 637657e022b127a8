"""`vltk data verify|stats|preview|dedup` as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.unit.data.samples import picture
from vltk.cli_data import data_app
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.shard import Record, write_dataset
from vltk.errors import VltkError


def vltk_data(*arguments: str, code: int = 0) -> str:
    done: Result = CliRunner().invoke(data_app, arguments, catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.stdout


def test_verify_says_whole_or_ends_with_1(make: Callable[..., Dataset]) -> None:
    make("a/train")
    tar = make("a/dev").folder / "shards/00001.tar"
    assert vltk_data("verify", "a", "--decode", "100").splitlines() == [
        "a/dev: whole (3 shards, 20 samples, 20 images decoded)",
        "a/train: whole (3 shards, 20 samples, 20 images decoded)",
    ]
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    first, *rest = vltk_data("verify", "--all", code=1).splitlines()
    assert first.startswith(f"{tar}: its sha256") and rest == [
        "a/dev: 1 problems (3 shards, 13 samples)",
        "a/train: whole (3 shards, 20 samples)",
    ]
    with pytest.raises(VltkError, match="no data set to look at"):
        vltk_data("verify")


def test_stats_as_a_table_and_as_json(make: Callable[..., Dataset], capsys: pytest.CaptureFixture[str]) -> None:
    make("a")
    assert json.loads(vltk_data("stats", "a", "--json"))["samples"] == 20
    vltk_data("stats", "a", "--sample", "5")


def test_dedup_and_preview(root: Path, tmp_path: Path) -> None:
    for name, seeds in (("a", (0, 1, 1, 2, 5)), ("b", (2, 3)), ("test", (0, 3))):
        records = [Record(f"k{n}", picture(seed), ["text"]) for n, seed in enumerate(seeds)]
        write_dataset(root / name, records, source={})
    said = vltk_data("dedup", "a", "b", "--against", "test")
    assert said.splitlines() == [
        "a: 2 of 5 samples are left out from now on (2 exact; they repeat 1 of test, 1 of a); "
        "vltk data dedup a --undo takes it back",
        "b: 2 of 2 samples are left out from now on (2 exact; they repeat 1 of a, 1 of test); "
        "vltk data dedup b --undo takes it back",
    ]
    assert len(open_dataset("a")) == 3
    out = tmp_path / "page.html"
    assert vltk_data("preview", "a", "--out", str(out), "--skipped") == f"{out}: 2 samples\n" and out.exists()
    assert vltk_data("dedup", "a", "--undo") == "a: the skip list is removed\n" and len(open_dataset("a")) == 5
    assert vltk_data("dedup", "a", "--undo") == "a: there is no skip list\n"
    assert "1 of 5 samples" in vltk_data("dedup", "a", "--exact")
    assert "none of 2 samples repeats another" in vltk_data("dedup", "test")
