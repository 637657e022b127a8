"""URL lists as they are found: every layout, every encoding, every broken row costs at most itself."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vltk.data.fetch.form import Form
from vltk.data.fetch.lists import read
from vltk.data.fetch.pieces import Clean, Cleaned, Reject, read_clean, read_rejected
from vltk.data.fetch.policy import quoted
from vltk.data.fetch.recognise import recognise
from vltk.data.fetch.rows import Wanted, clean
from vltk.errors import VltkError

CC3M_FILE = Path(os.environ.get("VLTK_TEST_DATA", "")) / "cc3m" / "Train_GCC-training.tsv"
CC3M = Form("tsv", ("caption", "url"))
CC12M = Form("tsv", ("url", "caption"))
CSV = Form("csv", ("url", "caption"), quoted=True)


def url(number: int) -> str:
    return f"http://example.com/{number}.jpg"


def cleaned(path: Path, form: Form, wanted: Wanted | None = None, piece: int = 1000) -> tuple[Cleaned, list[Clean]]:
    out = path.parent / f"{path.name}.clean"
    found = clean([(path, form)], out, piece, wanted)
    return found, [row for number in range(found.pieces) for row in read_clean(out, number)]


def rejected(path: Path) -> list[Reject]:
    out = path.parent / f"{path.name}.clean"
    return [row for number in range(20) for row in read_rejected(out, number)]


def quarantine(path: Path) -> list[dict[str, object]]:
    lines = (path.parent / f"{path.name}.clean" / "quarantine" / "rows.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_headerless_tsv_of_cc3m_with_odd_rows(tmp_path: Path) -> None:
    """img2dataset alone loses all rows over any of these (data.md section 2.2)."""
    path = tmp_path / "cc3m.tsv"
    captions = [b"a dog", b"caf\xe9", b'"an open quote', b'"hi" said he', b"a\ttab", b"42", b"true", "naïve".encode()]
    lines = [caption + b"\t" + url(row).encode() for row, caption in enumerate(captions)]
    path.write_bytes(b"\n".join([*lines[:4], b"", *lines[4:], b"no address"]) + b"\n")
    found, rows = cleaned(path, CC3M)
    assert (found.rows, found.usable, dict(found.statuses)) == (10, 8, {"unreadable_row": 2})
    texts = ["a dog", "café", '"an open quote', '"hi" said he', "a tab", "42", "true", "naïve"]
    assert [row.caption for row in rows] == texts
    assert [row.row for row in rows] == [0, 1, 2, 3, 5, 6, 7, 8]
    assert [row.url for row in rows] == [url(row) for row in range(8)]
    assert {row.row: row.original for row in rows if row.original is not None} == {1: "café", 5: "a\ttab"}
    assert [(row["line"], row["row"], row["detail"], row["text"]) for row in quarantine(path)] == [
        (5, 4, "blank line", ""),
        (10, 9, "1 columns, expected 2", "no address"),
    ]


def test_the_order_of_the_columns_and_tabs(tmp_path: Path) -> None:
    path = tmp_path / "cc12m.tsv"
    path.write_text(f"{url(0)}\tone\ttwo\n{url(1)}\tthree\n")
    assert [(row.url, row.caption) for row in cleaned(path, CC12M)[1]] == [(url(0), "one two"), (url(1), "three")]


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("", "no_url"),
        ("file:///etc/passwd", "bad_scheme"),
        ("data:image/png;base64,AA", "bad_scheme"),
        ("ftp://example.com/a.jpg", "bad_scheme"),
        ("example.com/a.jpg", "bad_scheme"),
        ("http:///a.jpg", "bad_url"),
        ("http://[::1/a.jpg", "bad_url"),
    ],
)
def test_addresses_that_are_not_fetched(tmp_path: Path, address: str, status: str) -> None:
    path = tmp_path / "list.tsv"
    path.write_text(f"good\t{url(0)}\nbad\t{address}\n")
    found, rows = cleaned(path, CC3M)
    assert [row.row for row in rows] == [0] and dict(found.statuses) == {status: 1}
    (reject,) = rejected(path)
    assert (reject.row, reject.caption, reject.status) == (1, "bad", status)


def test_addresses_are_quoted_once(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_text(
        "a\thttp://example.com/a b.jpg\nb\thttp://example.com/gr\u00f6\u00dfe.jpg\nc\thttp://example.com/a%20b\n"
    )
    found = [row.url for row in cleaned(path, CC3M)[1]]
    assert found == [
        "http://example.com/a%20b.jpg",
        "http://example.com/gr%C3%B6%C3%9Fe.jpg",
        "http://example.com/a%20b",
    ]


@pytest.mark.skipif(not CC3M_FILE.is_file(), reason="the CC3M list is not here: $VLTK_TEST_DATA/cc3m")
def test_the_real_cc3m_list_comes_through_whole(tmp_path: Path) -> None:
    lines = CC3M_FILE.read_text().splitlines()
    found = clean([(CC3M_FILE, CC3M)], tmp_path, 1000)
    rows = [row for number in range(found.pieces) for row in read_clean(tmp_path, number)]
    assert found.rows == len(lines) == len(rows) and not found.statuses
    assert [row.caption for row in rows] == [" ".join(line.split("\t")[0].split()) for line in lines]
    assert recognise(CC3M_FILE) == CC3M
    assert all(row.url == quoted(line.split("\t")[1]) for row, line in zip(rows, lines, strict=True))


def test_csv_with_quotes_that_do_not_close(tmp_path: Path) -> None:
    """A row of several lines is one row; a quote that stays open takes no other row with it."""
    path = tmp_path / "list.csv"
    lines = [
        "url,caption",
        f'{url(0)},"two\nlines, and ""quotes"""',
        f'{url(1)},"never closed',
        f"{url(2)},plain",
        f'{url(3)},"hi" said he',
        f'{url(4)},"closed"',
        f'{url(5)},"open again',
    ]
    path.write_text("\n".join(lines))
    found, rows = cleaned(path, Form("csv", quoted=True))
    texts = ['two lines, and "quotes"', '"never closed', "plain", '"hi" said he', "closed", '"open again']
    assert [(row.url, row.caption) for row in rows] == [(url(row), text) for row, text in enumerate(texts)]
    assert found.rows == 6 and not found.statuses


@pytest.mark.parametrize("columns", [("url", "caption"), ("caption", "url")])
def test_two_stray_quotes_do_not_hold_rows_together(tmp_path: Path, columns: tuple[str, str]) -> None:
    path = tmp_path / "list.csv"
    rows = [(url(0), '"a dog'), (url(1), "b"), (url(2), 'c"'), (url(3), '"d\ne, f"'), (url(4), "g")]
    path.write_text("\n".join(",".join(row if columns[0] == "url" else row[::-1]) for row in rows))
    found, clean_rows = cleaned(path, Form("csv", columns, quoted=True))
    assert [(row.url, row.caption) for row in clean_rows] == [*rows[:3], (url(3), "d e, f"), rows[4]]
    assert found.rows == 5 and not found.statuses


def test_surplus_cells_of_a_csv_keep_their_commas(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f'{url(0)},a dog, asleep\n{url(1)},"a cat, awake",also\n')
    rows = cleaned(path, CSV)[1]
    assert [(row.caption, row.original) for row in rows] == [("a dog, asleep", None), ("a cat, awake,also", None)]


def test_a_quoted_tsv_with_a_header_and_a_filter(tmp_path: Path) -> None:
    """As WIT: captions of several columns, the first filled one counts."""
    path = tmp_path / "wit.tsv.gz"
    lines = [
        "language\timage_url\treference\talt",
        f'en\t{url(0)}\t"a\nb"\tno',
        f"en\t{url(1)}\t\tthe alt text",
        f"de\t{url(2)}\tnein\t",
        f"en\t{url(3)}\t\t",
    ]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    form = Form("tsv", url="image_url", caption=("reference", "alt"), quoted=True, where={"language": "en"})
    found, rows = cleaned(path, form)
    assert [(row.row, row.caption) for row in rows] == [(0, "a b"), (1, "the alt text")]
    assert dict(found.statuses) == {"filtered": 1, "no_caption": 1}


def test_json_lines_json_and_parquet_are_typed(tmp_path: Path) -> None:
    entries = [{"url": url(0), "caption": 7}, {"url": None, "caption": "no address"}, {"url": url(2), "caption": "x"}]
    lines = tmp_path / "list.jsonl"
    lines.write_text("\n".join([json.dumps(entries[0]), "{broken", json.dumps(entries[1]), json.dumps(entries[2]), ""]))
    found, rows = cleaned(lines, Form("jsonl"))
    assert [(row.row, row.caption) for row in rows] == [(0, "7"), (3, "x")]
    assert dict(found.statuses) == {"unreadable_row": 1, "no_url": 1}
    objects = tmp_path / "list.json"
    objects.write_text(json.dumps(entries))
    assert [row.row for row in cleaned(objects, Form("json"))[1]] == [0, 2]
    lists = tmp_path / "sbu.json"
    lists.write_text(json.dumps({"image_urls": [url(0), url(1)], "captions": ["a", "b"]}))
    assert [row.caption for row in cleaned(lists, Form("json", url="image_urls", caption=("captions",)))[1]] == [
        "a",
        "b",
    ]
    table = tmp_path / "laion.parquet"
    columns = {"URL": [url(0), None, url(2)], "TEXT": pa.array([b"caf\xe9", b"b", b"c"])}
    pq.write_table(pa.table(columns), table)
    form = Form("parquet", url="URL", caption=("TEXT",))
    assert [(row.row, row.caption) for row in cleaned(table, form)[1]] == [(0, "café"), (2, "c")]


def test_encodings(tmp_path: Path) -> None:
    text = f"größe “x”\t{url(0)}\r\n日本\t{url(1)}\r\n"
    for name, data, form in [
        ("utf8bom.tsv", text.encode("utf-8-sig"), CC3M),
        ("utf16.tsv", text.encode("utf-16"), CC3M),
        ("gb.tsv", text.encode("gb18030"), Form("tsv", ("caption", "url"), encoding="gb18030")),
        ("packed.tsv.bz2", bz2.compress(text.encode()), CC3M),
    ]:
        (tmp_path / name).write_bytes(data)
        found = [(row.caption, row.url) for row in cleaned(tmp_path / name, form)[1]]
        assert found == [("größe “x”", url(0)), ("日本", url(1))], name


def test_what_a_list_is_told_by_its_first_line(tmp_path: Path) -> None:
    def form(name: str, text: str) -> Form:
        (tmp_path / name).write_text(text)
        return recognise(tmp_path / name)

    assert form("a.tsv", f"a caption\t{url(0)}\n").columns == ("caption", "url")
    assert form("b.tsv", f"{url(0)}\ta caption\n").columns == ("url", "caption")
    assert form("c.csv", f"TEXT,URL\nx,{url(0)}\n") == Form("csv", (), "URL", ("TEXT",), True)
    assert form("d.jsonl", json.dumps({"image_url": url(0), "alt": "x"})).url == "image_url"
    assert form("e.txt", url(0)).caption == ()
    with pytest.raises(VltkError, match="no column of addresses; have: name, text"):
        form("f.csv", "name,text\nx,y\n")
    with pytest.raises(VltkError, match="no known kind of URL list"):
        form("g.xlsx", "")


def test_swapped_columns_are_seen_before_anything_is_fetched(tmp_path: Path) -> None:
    path = tmp_path / "cc12m.tsv"
    path.write_text("".join(f"{url(row)}\tcaption {row}\n" for row in range(20)))
    with pytest.raises(VltkError, match=r"cc12m.tsv: the columns are swapped.*\n.*caption, url"):
        clean([(path, CC3M)], tmp_path / "out", 10)


def test_pieces_hold_so_many_usable_rows_and_no_row_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    lines = [f"{row}\t{url(row) if row % 3 else 'nothing'}" for row in range(100)]
    path.write_text("\n".join(lines) + "\n")
    found, rows = cleaned(path, CC3M, piece=11)
    assert (found.rows, found.usable, found.pieces) == (100, 66, 6)
    assert sorted([row.row for row in rows] + [row.row for row in rejected(path)]) == list(range(100))
    out = path.parent / "list.tsv.clean"
    assert [pq.read_metadata(piece).num_rows for piece in sorted((out / "urls").iterdir())] == [11] * 6
    assert [row.row for row in read_rejected(out, 6)] == [99]  # behind the last piece


def test_filters_and_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_text("".join(f"{'word ' * row}\t{url(row)}\n" for row in range(6)))
    found, rows = cleaned(path, CC3M, Wanted(min_words=3, limit=5))
    assert [row.row for row in rows] == [3, 4] and found.rows == 5
    assert dict(found.statuses) == {"no_caption": 1, "filtered": 2}


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    cut = tmp_path / "cut.tsv.gz"
    cut.write_bytes(gzip.compress(b"a\thttp://example.com/1.jpg\n" * 1000)[:60])
    with pytest.raises(VltkError, match="cut.tsv.gz: the compressed file is cut or damaged"):
        list(read(cut, CC3M))
    packed = tmp_path / "odd.tsv.bz2"
    packed.write_bytes(b"BZh9" + bytes(60))
    with pytest.raises(VltkError, match="odd.tsv.bz2: the compressed file is cut or damaged"):
        list(read(packed, CC3M))
    other = tmp_path / "other.parquet"
    other.write_bytes(b"not parquet")
    with pytest.raises(VltkError, match="other.parquet: no parquet file"):
        list(read(other, Form("parquet")))
    empty = tmp_path / "empty.tsv"
    empty.write_bytes(b"")
    with pytest.raises(VltkError, match="no row with an address to fetch: it is empty"):
        clean([(empty, CC3M)], tmp_path / "out", 10)
    named = tmp_path / "named.csv"
    named.write_text(f"link,text\n{url(0)},x\n")
    with pytest.raises(VltkError, match="no column 'url'"):
        list(read(named, Form("csv", quoted=True)))


def test_memory_does_not_grow_with_the_list(tmp_path: Path) -> None:
    """Also with one line of 8 MB, of which 1 MB is looked at."""

    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.tsv"
        with path.open("w") as file:
            file.write("x" * 8_000_000 + "\n")
            file.writelines(f"a caption of row {row}\t{url(row)}\n" for row in range(rows))
        clean([(path, CC3M)], tmp_path / f"out{rows}", 500)
        tracemalloc.start()
        clean([(path, CC3M)], tmp_path / f"again{rows}", 500)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(6000) < 1.3 * peak(2000)
