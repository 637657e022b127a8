"""A data set by its name, its folder, a card file of the user's: the same one for every command that looks at it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vltk.cli_data import data_app
from vltk.data.dataset import Dataset, dataset_names
from vltk.data.named import all_of, name_of, one_of
from vltk.errors import Missing, VltkError

CARD: dict[str, Any] = {
    "name": "mine", "about": "photos of ours", "modality": "image_text", "licence": {"id": "ours"},
    "samples": {"published": 25, "verified": True, "source": "our count"},
    "yield": {"rate": 0.9, "date": "2026-05", "source": "ours"},
    "fetchers": [{"kind": "urls", "files": [{"url": "list.tsv"}], "form": "tsv"}],
}  # fmt: skip


@pytest.fixture
def card(tmp_path: Path) -> str:
    path = tmp_path / "my.yaml"
    path.write_text(json.dumps(CARD))
    return str(path)


def typed(*arguments: str) -> str:
    done = CliRunner().invoke(data_app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_names(make: Callable[..., Dataset], root: Path, monkeypatch: pytest.MonkeyPatch, card: str) -> None:
    make("mine")
    make("other/train")
    monkeypatch.chdir(root.parent)
    for given in ("mine", "mine/", "data/mine", "./data/mine/", str(root / "mine"), card):
        assert name_of(given) == "mine" and all_of(given) == ["mine"] and one_of(given) == "mine", given
    assert one_of("other") == one_of("data/other") == "other/train" and name_of("not/there") == "not/there"
    assert all_of("./data") == ["mine", "other/train"] and name_of("s3://bucket/mine") == "s3://bucket/mine"
    make("other/dev")
    with pytest.raises(VltkError, match="other holds several data sets, say which: other/dev, other/train"):
        one_of("other")
    (root.parent / "mine").mkdir()
    assert name_of("mine") == "mine", "a name goes before a folder that happens to lie here"


def test_a_folder_elsewhere(make: Callable[..., Dataset], root: Path, tmp_path: Path) -> None:
    make("a/train")
    (root / "a").rename(tmp_path / "away")
    place = str(tmp_path / "away")
    assert one_of(place) == f"{place}/train" and dataset_names() == []
    assert typed("verify", place) == f"{place}/train: whole (3 shards, 20 samples)\n"
    assert json.loads(typed("stats", place, "--json"))["samples"] == 20
    with pytest.raises(VltkError, match="nothing outside it is removed"):
        typed("rm", place, "--yes")


def test_every_command_takes_folders_and_card_files(
    make: Callable[..., Dataset], root: Path, tmp_path: Path, card: str
) -> None:
    make("mine")
    folder, out = str(root / "mine"), tmp_path / "page.html"
    for given in (folder, card):
        assert typed("verify", given) == "mine: whole (3 shards, 20 samples)\n"
        assert typed("preview", given, "--out", str(out), "--count", "2") == f"{out}: 2 samples\n"
        assert typed("dedup", given).startswith("mine: ")
        assert typed("dedup", given, "--undo").startswith("mine: ")
    assert "photos of ours; licence: ours" in out.read_text()
    expected = json.loads(typed("stats", card, "--json"))["expected"]
    assert expected == {"card": "mine", "samples": CARD["samples"], "yield": CARD["yield"]}
    assert typed("rm", card, "--yes") == "removed: mine\n" and dataset_names() == []
    make("mine")
    assert typed("rm", folder, "--yes") == "removed: mine\n" and dataset_names() == []


def test_what_a_card_file_has_not_brought(card: str) -> None:
    with pytest.raises(Missing, match=f"vltk data fetch {card}"):
        typed("stats", card)
    with pytest.raises(Missing, match="vltk data fetch cc3m"):
        typed("verify", "cc3m")
