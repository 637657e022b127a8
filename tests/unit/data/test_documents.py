"""Documents and sentences: every layout, odd bytes, damage; nothing lost without a row."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vltk.data.card_schema import Hub
from vltk.data.record import Record, Rejected
from vltk.data.sentences import HELD, sentences, split
from vltk.data.shard import write_dataset
from vltk.data.sources._parquet import parquet_rows
from vltk.data.sources.documents import Document, Documents, documents
from vltk.errors import Missing, VltkError

LINES = ["One dog. Two dogs", "run home.", "", "A heading", "", "Then it ended."]
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "zst": lambda data: bytes(pa.compress(data, "zstd")),
}
SENTENCES = ["One dog.", "Two dogs run home.", "A heading", "Then it ended."]


def read(source: Path, **options: Any) -> tuple[dict[str, list[str]], list[Rejected]]:
    """Sentences by the key of their document, and the rejected rows."""
    found: dict[str, list[str]] = {}
    lost = []
    for row in documents(str(source), **options).read():
        if isinstance(row, Document):
            found[row.key] = list(row.sentences)
        else:
            lost.append(row)
    return found, lost


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("He came. She left! Who? Nobody… Then.", 5),
        ("Mr. Pierre met Dr. H. Smith at St. Anne's, No. 5, etc. and left.", 1),
        ("“What is it?” said he. “Go!” “No.” She went.", 4),
        ("Homarus H. americanus ( see Fig. 3 ) is 3.5 m long . It swims .", 2),
        ("它很大。它在跑！“真的？”是。", 4),
        ("He said no. Then he left, no. 5 in hand. See vol. 2.", 3),
        ("no end at all", 1),
        ("", 0),
    ],
)
def test_sentence_ends(text: str, count: int) -> None:
    found = split(text)
    assert len(found) == count
    assert "".join("".join(found).split()) == "".join(text.split())  # nothing is lost


def test_lines_become_sentences() -> None:
    assert list(sentences(LINES)) == SENTENCES
    assert list(sentences(["  ", ""])) == []


def test_a_paragraph_without_end_is_not_held() -> None:
    """Sentences go out before the paragraph ends, and none is torn where that happens."""
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield f"Sentence {taken} begins here\nand ends there."

    found = sentences(endless())
    assert [next(found) for _ in range(5)][4] == "Sentence 5 begins here and ends there."
    assert taken < HELD / 30
    some = [next(found) for _ in range(12_000)]
    assert all(one.startswith("Sentence ") and one.endswith("there.") for one in some)


@pytest.mark.parametrize("pack", ["", "gz", "bz2", "zst"])
def test_text_files(tmp_path: Path, pack: str) -> None:
    body = "\ufeff" + "\r\n".join(LINES)
    path = tmp_path / f"book.txt.{pack}".rstrip(".")
    path.write_bytes(PACKED[pack](body.encode()))
    source = Documents(path)
    (document,) = source.read()
    assert isinstance(document, Document) and document.key == path.name
    assert list(document.sentences) == SENTENCES
    assert source.done <= source.total == path.stat().st_size


def test_several_documents_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(LINES))
    lines, _ = read(path, per="line")
    assert list(lines.items())[0] == ("a.txt:1", ["One dog.", "Two dogs"]) and len(lines) == 4
    paragraphs, _ = read(path, per="blank")
    assert list(paragraphs) == ["a.txt:1", "a.txt:4", "a.txt:6"] and paragraphs["a.txt:1"] == SENTENCES[:2]
    path.write_text(" \n = One = \n\n It is.\n = = Part = = \n More.\n = Two = \n Other.\n")
    articles, _ = read(path, starts="^ = [^=]")
    assert articles == {"a.txt:2": ["= One =", "It is.", "= = Part = = More."], "a.txt:7": ["= Two = Other."]}
    with pytest.raises(VltkError, match="no regular expression"):
        read(path, starts="(")


def test_folders_are_read_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "sub/a.md", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"This is {name}.")
    (tmp_path / "picture.jpg").write_bytes(b"no text")
    found, _ = read(tmp_path)
    assert list(found) == ["a.txt", "b.txt", "sub/a.md"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(VltkError, match="no documents in it"):
        read(tmp_path / "empty")


def test_an_odd_byte_spoils_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Naïve “quotes”. ".encode() + b"Caf\xe9 and \x93this\x94.\x00 End\x85")
    assert read(path)[0] == {"a.txt": ["Naïve “quotes”.", "Café and “this”.", "End…"]}


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    good = {"text": "One.\nTwo \ud83d\ude00 \ud83d.", "url": "http://x", "id": 3}
    lines = [
        json.dumps(good).encode(),
        b"",
        b'{"text": 5}',
        b"{cut",
        b'["list"]',
        b'{"text": "Caf\xe9."}',
        b'{"text": ""}',
    ]
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    found, lost = read(path)
    assert found == {f"{path.name}:1": ["One.", "Two 😀 \ufffd."], f"{path.name}:6": ["Café."], f"{path.name}:7": []}
    assert [(row.key, row.status, row.detail) for row in lost] == [
        (f"{path.name}:3", "unreadable_row", "no text in 'text'"),
        (f"{path.name}:4", "unreadable_row", "no JSON object"),
        (f"{path.name}:5", "unreadable_row", "no JSON object"),
    ]
    assert lost[1].row == {"caption": "{cut\n"}
    with pytest.raises(VltkError, match=r"no column 'body'; have: text, url, id\n.*--column"):
        read(path, column="body")


def test_a_json_list(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"body": "One."}, {"body": None}], indent=1))
    found, lost = read(path, column="body")
    assert found == {"a.json:1": ["One."]} and [row.key for row in lost] == ["a.json:2"]
    path.write_text("[1, 2")
    with pytest.raises(VltkError, match="neither a JSON list nor JSON lines"):
        read(path)


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"This is {number}. It ends." for number in range(600)] + [None]
    pq.write_table(pa.table({"article": texts, "url": [f"u{number}" for number in range(601)]}), path)
    source = Documents(path, column="article")
    rows = list(source.read())
    assert len(rows) == 601 and isinstance(rows[600], Rejected) and source.done == source.total
    assert (
        isinstance(rows[5], Document) and rows[5].url == "u5" and list(rows[5].sentences) == ["This is 5.", "It ends."]
    )
    with pytest.raises(VltkError, match="no column 'text'; have: article, url"):
        read(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(VltkError, match="damaged, or no parquet"):
        read(path, column="article")


@pytest.mark.parametrize("pack", ["gz", "bz2", "zst"])
def test_a_cut_archive_is_named(tmp_path: Path, pack: str) -> None:
    path = tmp_path / f"a.txt.{pack}"
    body = b" ".join(b"Sentence %d is here." % number for number in range(9000))
    path.write_bytes(PACKED[pack](body)[:-20])
    with pytest.raises(VltkError, match=f"a.txt.{pack} is damaged"):
        read(path)
    path.write_bytes(b"not packed at all")
    with pytest.raises(VltkError, match=f"a.txt.{pack} is damaged"):
        read(path)


def test_texts_of_a_data_set(root: Path) -> None:
    write_dataset(root / "t", [Record("k0", None, ["A dog. A cat."]), Record("k1", None, ["One.", "Two."])], source={})
    assert read(Path("t"))[0] == {"k0": ["A dog.", "A cat."], "k1": ["One."], "k1#1": ["Two."]}
    with pytest.raises(Missing, match="'absent' is not on disk"):
        read(Path("absent"))


def test_pieces_of_a_text_of_the_hub_are_one_document(root: Path, tmp_path: Path) -> None:
    """Packed as samples of at most 60 words, an article is one document again, over the ends of shards."""
    articles = [
        " ".join(f"Sentence {number} of {article} has seven words." for number in range(40)) for article in "ab"
    ]
    articles.insert(1, "Short one here.")
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": articles}), table)
    rows = list(parquet_rows(table, "00000_", Hub(kind="hub", files=[], text="text")))
    assert len(rows) > 10
    records = [Record(row.key, None, list(row.texts)) for row in rows]
    write_dataset(root / "news", records, source={"kind": "hub"}, samples_per_shard=4)
    assert [" ".join(found) for found in read(Path("news"))[0].values()] == articles
    keys = [row.key for row in documents("news").read() if isinstance(row, Document)]  # their sentences not taken
    assert keys == [f"00000_000000{number}" for number in range(3)]
    write_dataset(root / "own", records, source={"kind": "texts"}, samples_per_shard=4)
    assert len(read(Path("own"))[0]) == len(rows), "of other data sets every text is one"
