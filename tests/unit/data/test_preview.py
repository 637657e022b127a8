"""`vltk data preview`: one file, nothing from outside, hostile captions shown as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.unit.data.samples import picture
from vltk.data import skip
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.inspect.preview import SHOWN, preview
from vltk.data.shard import Record, Rejected, write_dataset
from vltk.data.skip import Skip
from vltk.errors import Missing, VltkError

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</p></main><iframe src='javascript:alert(1)'>",
    "<style>*{display:none}</style>",
    "&lt;b&gt; & \u202egnp.exe \x00\ufffe",
]


class Tags(HTMLParser):
    """All tags, their attributes, and the text outside of the style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_holds_pictures_captions_sizes_and_keys(make: Callable[..., Dataset], tmp_path: Path) -> None:
    make("pairs", count=20)
    out = tmp_path / "page.html"
    assert preview("pairs", out, count=6) == 6
    page = out.read_text()
    tags = Tags(page)
    assert tags.tags.count("img") == 6 and tags.tags.count("article") == 6 and "48 x 40" in page
    shown = re.findall(r'class="key">(k\d+)', page)
    assert len(set(shown)) == 6
    sample = next(open_dataset("pairs").read(n) for n in range(20) if open_dataset("pairs").read(n).key == shown[0])
    assert all(text in page for text in sample.texts)
    sources = [value for name, value in tags.attributes if name in ("src", "href")]
    assert all(value and value.startswith("data:image/jpeg;base64,") for value in sources)
    assert "default-src 'none'" in page and not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_the_seed_chooses(make: Callable[..., Dataset], tmp_path: Path) -> None:
    make("pairs", count=40)
    pages = []
    for number, seed in enumerate((0, 0, 1)):
        preview("pairs", tmp_path / f"{number}.html", count=5, seed=seed)
        pages.append((tmp_path / f"{number}.html").read_text())
    assert pages[0] == pages[1] != pages[2]
    assert preview("pairs", tmp_path / "all.html", count=500) == 40


def test_hostile_texts_keys_and_labels_are_text(root: Path, tmp_path: Path) -> None:
    records: list[Record | Rejected] = [
        Record(f"k{n}", picture(n), [text, *HOSTILE], {text: text}) for n, text in enumerate(HOSTILE)
    ]
    write_dataset(root / "x", records, source={"<script>": "<script>"})
    preview("x", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    tags = Tags(page)
    assert set(tags.tags) == {
        "html", "head", "meta", "title", "style", "body", "header", "h1", "p", "main", "article", "div", "img", "ol",
        "li", "details", "summary", "pre",
    }  # fmt: skip
    assert tags.tags.count("style") == 1 and tags.tags.count("img") == len(HOSTILE)
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in "".join(tags.text)


def test_odd_samples_have_a_place(root: Path, make: Callable[..., Dataset], tmp_path: Path) -> None:
    make("bad", count=4, bad=(2,))
    assert preview("bad", tmp_path / "bad.html") == 4
    assert "undecodable image" in (tmp_path / "bad.html").read_text()
    many: list[Record | Rejected] = [
        Record("t", None, [f"text {n}" for n in range(SHOWN + 3)]),
        Record("w", None, ["o"]),
    ]
    write_dataset(root / "texts", [*many, Rejected("lost", "http_404")], source={})
    assert preview("texts", tmp_path / "texts.html") == 2
    page = (tmp_path / "texts.html").read_text()
    assert "and 3 more" in page and "3 input rows: 1 http_404" in page and "<img" not in page


def test_skipped_samples_stand_beside_what_they_repeat(make: Callable[..., Dataset], tmp_path: Path) -> None:
    folder = make("pairs/train", count=9).folder
    make("pairs", count=3)
    with pytest.raises(VltkError, match="pairs/train has no skip list: vltk data dedup pairs/train"):
        preview("pairs/train", tmp_path / "page.html", skipped=True)
    lost = Skip(7, "k7", "near", "gone/k1", 3)
    skip.write(folder, [Skip(5, "k5", "exact", "pairs/train/k2", 0), Skip(6, "k6", "near", "pairs/k1", 4), lost])
    assert preview("pairs/train", tmp_path / "page.html", skipped=True) == 3
    page = (tmp_path / "page.html").read_text()
    assert page.count('class="pair"') == 3 and page.count("<img") == 5 and "gone/k1 is not on disk" in page
    assert "skipped: near, 4 bits" in page and "pairs/train/k2" in page
    assert preview("pairs/train", tmp_path / "page.html") == 9
    assert (tmp_path / "page.html").read_text().count("· skipped") == 3


def test_wrong_input_is_said(make: Callable[..., Dataset], tmp_path: Path) -> None:
    make("pairs")
    with pytest.raises(VltkError, match="cannot be written"):
        preview("pairs", tmp_path / "no/such/folder.html")
    with pytest.raises(Missing, match="vltk data fetch shapes"):
        preview("shapes/dev", tmp_path / "page.html")
