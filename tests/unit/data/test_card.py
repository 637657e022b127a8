"""Cards: what ships is whole and says what is from memory; a card of the user's works by its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from vltk import parts
from vltk.data.card import (
    Archives,
    Hub,
    Local,
    Mirror,
    RemoteFile,
    UrlList,
    card_digest,
    card_names,
    fetch_command,
    load_card,
    steps_for,
)
from vltk.errors import VltkError

NEEDED = """coco sbu localized_narratives cc3m cc12m visual_genome wit redcaps yfcc100m laion flickr30k flickr8k
imagenet ccnews books wikipedia shapes"""
OWN = """
name: mine
about: photos of mine
modality: image_text
licence: {id: mine}
yield: {rate: 0.5, date: "2026-01", source: counted}
fetchers:
  - kind: urls
    files: [{url: lists/a.tsv}, {url: "https://example.org/b.tsv?x=1"}]
    form: tsv
    header: false
    columns: [caption, url]
"""


def test_all_that_is_needed_is_there() -> None:
    assert set(NEEDED.split()) == set(card_names())


@pytest.mark.parametrize("name", NEEDED.split())
def test_card_is_whole(name: str) -> None:
    card = load_card(name)
    assert card.name == name and card.licence.id and card.about
    kinds = [fetcher.kind for fetcher in card.fetchers]
    assert kinds == sorted(kinds, key=["generated", "mirror", "hub", "archives", "urls", "local"].index)  # frozen first
    assert (
        name == "shapes"
        or kinds[-1] == "local"
        and all(step.command.startswith("vltk data shard") for step in card.bring)
    )
    if card.samples and not card.samples.verified:
        assert "samples.published" in card.unverified or "memory" not in card.samples.source, "said in one place"
    known = {field for field in type(card).model_fields}
    for fact in card.unverified:
        assert fact.partition(".")[0] in known or " " in fact, "a key of the card, or a sentence"


@pytest.mark.parametrize("name", NEEDED.split())
def test_readers_of_cards_exist_and_take_their_options(name: str) -> None:
    for fetcher in load_card(name).fetchers:
        if isinstance(fetcher, Archives):
            for options in fetcher.parts.values():
                parts.choose("data/sources", fetcher.reader, **options)
        elif isinstance(fetcher, UrlList) and fetcher.reader:
            parts.choose("data/sources", fetcher.reader)


def test_columns_of_cc3m_and_cc12m_are_the_other_way_round() -> None:
    lists = {name: next(f for f in load_card(name).fetchers if isinstance(f, UrlList)) for name in ("cc3m", "cc12m")}
    assert lists["cc3m"].columns == ["caption", "url"] and lists["cc12m"].columns == ["url", "caption"]
    assert not lists["cc3m"].header and lists["cc3m"].form == "tsv"


def test_own_card_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(OWN)
    card = load_card(str(path))
    fetcher = card.fetchers[0]
    assert isinstance(fetcher, UrlList) and card.kind == "download" and card.bring == []
    assert fetcher.files[0].url == str(tmp_path / "lists" / "a.tsv"), "from the folder of the card"
    assert [file.filename for file in fetcher.files] == ["a.tsv", "b.tsv"]
    assert card.expected is not None and card.expected.rate == 0.5
    path.write_text(OWN.replace("0.5", "0.6"))
    assert card_digest(load_card(str(path))) != card_digest(card)


def test_every_mistake_of_a_card_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(OWN.replace("form: tsv", "form: xls").replace("licence: {id: mine}", "licence: {}") + "colour: 1\n")
    with pytest.raises(VltkError) as caught:
        load_card(str(path))
    told = str(caught.value).splitlines()
    assert len(told) == 3 and all(line.startswith(f"{path}: ") for line in told)
    assert any("licence.id" in line for line in told) and any("form" in line for line in told)
    assert any("colour" in line for line in told)


@pytest.mark.parametrize(
    "change, said",
    [
        (("columns: [caption, url]", "columns: [caption, link]"), "url"),
        (("    columns: [caption, url]\n", ""), "needs `columns`"),
        (("lists/a.tsv", "a.tsv, name: ../../x"), "without folders"),
        (("rate: 0.5", "rate: 70"), "less than or equal to 1"),
        (("name: mine", "name: ../mine"), "name"),
        (("kind: urls", "kind: magic"), "kind"),
        (("a.tsv}", "a.tsv, sha256: abc}"), "sha256"),
    ],
)
def test_wrong_facts_are_refused(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "mine.yaml"
    assert change[0] in OWN
    path.write_text(OWN.replace(*change))
    with pytest.raises(VltkError, match=said):
        load_card(str(path))


def test_what_is_no_card_is_told(tmp_path: Path) -> None:
    with pytest.raises(VltkError, match="no card 'cc4m'; did you mean 'cc3m'.*(\n|.)*PATH.yaml"):
        load_card("cc4m")
    with pytest.raises(VltkError, match="the file is not there; cards of vltk: books"):
        load_card(str(tmp_path / "absent.yaml"))
    for text in ("- a\n- b\n", "a: [", "\x00"):
        (tmp_path / "odd.yaml").write_text(text)
        with pytest.raises(VltkError, match="odd.yaml"):
            load_card(str(tmp_path / "odd.yaml"))


def test_names_of_files_never_lead_out() -> None:
    for url in ("https://a.org/x/..", "https://a.org/"):
        with pytest.raises(VltkError, match="no file name"):
            _ = RemoteFile(url=url).filename
    assert RemoteFile(url="https://a.org/b.tsv?x=/c").filename == "b.tsv"


def test_steps() -> None:
    assert steps_for("cc3m")[0][1] == "vltk data fetch cc3m"
    assert (
        steps_for("imagenet")[0][1]
        == "vltk data fetch imagenet --accept-licence"
        == fetch_command(load_card("imagenet"))
    )
    assert steps_for("shapes/train")[0][1] == "vltk data fetch shapes"
    assert [command for _, command in steps_for("flickr8k/dev")][0].endswith("Flickr_8k.devImages.txt")
    assert steps_for("mine")[0][1] == "vltk data shard SOURCE mine"


def test_kinds_in_the_order_that_is_tried() -> None:
    kinds = [type(fetcher) for fetcher in load_card("cc3m").fetchers]
    assert kinds == [Mirror, UrlList, Local]
    assert isinstance(load_card("wikipedia").fetchers[0], Hub)
