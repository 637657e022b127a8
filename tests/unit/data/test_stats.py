"""`vltk data stats`: every figure against rows whose figures are known."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from tests.unit.data.samples import picture
from vltk.data import skip
from vltk.data.card import load_card
from vltk.data.dataset import Dataset, open_dataset
from vltk.data.inspect import languages
from vltk.data.inspect.spread import Spread
from vltk.data.inspect.stats import card_of, drawn, stats
from vltk.data.inspect.stats_table import tables
from vltk.data.shard import Record, Rejected, write_dataset
from vltk.data.skip import Skip


@pytest.fixture
def fetched(root: Path) -> str:
    """Eight stored rows of two hosts, two of them the same picture, and four that failed."""
    records: list[Record | Rejected] = []
    for index in range(8):
        host = "https://user:pw@A.example:8443" if index < 5 else "http://b.example"
        facts = {"url": f"{host}/p{index}.jpg?x=1", "width": 100 + index, "height": 80, "bytes": 1000 * (index + 1)}
        facts |= {"sha256": f"{max(index, 1)}".ljust(64, "f"), "dhash": -(2**62) + max(index, 1)}
        records.append(Record(f"k{index}", picture(index), ["one two three four five six"[: 3 + 4 * index]], row=facts))
    for index, status in enumerate(["http_404", "http_404", "timeout", "no_url"]):
        row = {"url": f"http://b.example/{index}"} if status != "no_url" else {}
        records.append(Rejected(f"lost{index}", status, row=row))
    write_dataset(root / "cc3m/part", records, source={}, samples_per_shard=3)
    return "cc3m/part"


def shown(name: str) -> str:
    console = Console(width=160, record=True, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    for part in tables(stats(name)):
        console.print(part, markup=False) if isinstance(part, str) else console.print(part)
    return console.export_text()


def test_figures_are_those_of_the_rows(fetched: str) -> None:
    found = stats(fetched)
    assert (found["rows"], found["samples"], found["yield"]) == (12, 8, round(8 / 12, 4))
    assert found["statuses"] == {"http_404": 2, "no_url": 1, "ok": 8, "timeout": 1}
    assert found["hosts"]["number"] == 2
    b, a = found["hosts"]["most"]
    assert b == {"host": "b.example", "rows": 6, "ok": 3, "yield": 0.5, "failures": {"http_404": 2, "timeout": 1}}
    assert a == {"host": "a.example", "rows": 5, "ok": 5, "yield": 1.0, "failures": {}}
    assert found["sizes"]["width"] == {"least": 100, "p5": 100, "median": 103, "mean": 103.5, "p95": 107, "most": 107}
    assert found["sizes"]["bytes"]["mean"] == 4500 and found["sizes"]["original_width"] is None
    assert found["sizes"]["stored_bytes"]["most"] == max(len(picture(index)) for index in range(8))
    assert found["captions"]["words"] == {"least": 1, "p5": 1, "median": 4, "mean": 3.9, "p95": 6, "most": 6}
    assert found["captions"]["per_sample"]["mean"] == 1 and found["captions"]["samples_looked_at"] == 8
    assert found["repeats"] == {"exact": 1, "same_hash": 1, "skip_list": None}
    assert found["expected"]["card"] == "cc3m" and json.loads(json.dumps(found)) == found


def test_the_table_says_them(fetched: str) -> None:
    text = shown(fetched)
    assert "http_404" in text and "16.67%" in text and "b.example" in text and "50.0%" in text
    assert "1 samples with the original bytes of an earlier one" in text and "no skip list" in text
    assert "card cc3m: " in text


def test_a_set_without_urls_or_hashes(make: Callable[..., Dataset]) -> None:
    make("plain", count=9, texts=2)
    found = stats("plain", sample=4)
    assert found["hosts"] == {"number": 0, "most": []} and found["expected"] is None
    assert found["repeats"] == {"exact": None, "same_hash": None, "skip_list": None}
    assert found["captions"]["samples_looked_at"] == 4 and found["captions"]["per_sample"]["least"] == 2
    assert "repeats are not known" in shown("plain")


def test_the_card_is_that_of_the_fetch_or_of_the_name(make: Callable[..., Dataset]) -> None:
    assert card_of("mine", {"source": {"card": "cc12m"}}) == load_card("cc12m")
    assert card_of("cc3m/x", {"source": {}}) == load_card("cc3m")
    assert card_of("mine", {"source": {"card": "their own"}}) is None


def test_texts_alone(root: Path) -> None:
    write_dataset(root / "text", [Record(f"t{n}", None, ["a b c d"]) for n in range(3)], source={})
    found = stats("text")
    assert found["sizes"]["stored_bytes"] is None and found["captions"]["words"]["mean"] == 4
    assert "3 texts" in shown("text")


def test_skipped_samples_are_counted_and_still_looked_at(fetched: str) -> None:
    folder = open_dataset(fetched).folder
    skip.write(folder, [Skip(1, "k1", "exact", "cc3m/part/k0", 0), Skip(2, "k2", "near", "cc3m/part/k0", 3)])
    found = stats(fetched)
    assert found["repeats"]["skip_list"] == {"exact": 1, "near": 1} and found["samples"] == 8
    assert found["captions"]["samples_looked_at"] == 8 and "2 are left out by the skip list" in shown(fetched)


def test_languages_are_counted_or_their_absence_said(fetched: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages, "find_spec", lambda name: None)
    assert stats(fetched)["languages"] is None and "pip install 'vltk[languages]'" in shown(fetched)
    monkeypatch.setattr(languages, "find_spec", lambda name: True)
    told = SimpleNamespace(classify=lambda text: ("de" if "der" in text else "en", -1.0))
    monkeypatch.setitem(sys.modules, "py3langid", told)
    counts = languages.languages(["der Hund und die Katze", "a dog and a cat", "the dog and a cat", "dog"])
    assert counts == {"en": 2, "de": 1, "short": 1} and list(counts) == ["en", "de", "short"]


def test_the_real_library_tells_languages() -> None:
    pytest.importorskip("py3langid")
    assert languages.languages(["a dog runs over the green grass", "ein Hund läuft über die grüne Wiese"]) == {
        "de": 1,
        "en": 1,
    }


def test_a_spread_in_portions_is_the_spread_at_once() -> None:
    values = np.random.default_rng(0).integers(0, 5000, 2001)
    spread = Spread(10)
    for part in np.array_split(values, 7):
        spread.add(part)
    found = spread.summary()
    assert found is not None and found["mean"] == round(float(values.mean()), 1)
    assert found["least"] == values.min() and found["most"] == values.max()
    for name, share in (("p5", 0.05), ("median", 0.5), ("p95", 0.95)):
        exact = float(np.quantile(values, share, method="inverted_cdf"))
        assert abs(found[name] - exact) <= 10, name
    assert Spread().summary() is None


def test_samples_are_drawn_once_each_by_the_seed(make: Callable[..., Dataset]) -> None:
    dataset = make(count=30)
    assert drawn(dataset, 50, 0) == list(range(30))
    assert drawn(dataset, 10, 3) == drawn(dataset, 10, 3) != drawn(dataset, 10, 4)
    assert len(set(drawn(dataset, 29, 0))) == 29
