"""The figures of `vltk.data.inspect.stats` for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.markup import escape
from rich.table import Table

from vltk.data.inspect.languages import ABSENT
from vltk.data.statuses import Status

COLUMNS = ("least", "p5", "median", "mean", "p95", "most")
MEANINGS = {status.value: status.meaning for status in Status}


def tables(found: dict[str, Any]) -> Iterator[Table | str]:
    """One table or line after the other."""
    yield f"{found['name']}: {found['samples']:,} samples, {found['images']:,} images, {found['texts']:,} texts"
    yield from _expected(found)
    yield _statuses(found)
    if found["hosts"]["number"]:
        yield _hosts(found["hosts"])
    yield _spreads(found)
    looked = found["captions"]
    if looked["unusable"]:
        yield f"{looked['unusable']:,} of {looked['unusable'] + looked['samples_looked_at']:,} samples cannot be used"
    yield _languages(found["languages"])
    yield _repeats(found["repeats"])


def _expected(found: dict[str, Any]) -> Iterator[str]:
    expected = found["expected"]
    if expected is None:
        return
    if count := expected["samples"]:
        share, doubt = found["samples"] / count["published"], "" if count["verified"] else ", unverified"
        yield f"card {expected['card']}: {count['published']:,} samples published{doubt}; here {share:.1%} of them"
    if rate := expected["yield"]:
        said = f"card {expected['card']}: a yield of {rate['rate']:.1%} ({rate['date']}, {rate['source']})"
        yield f"{said}; here {found['yield']:.1%}{', far less' if found['yield'] < rate['rate'] / 3 else ''}"


def _statuses(found: dict[str, Any]) -> Table:
    table = Table("status", *_right("rows", "share"), "meaning", title="input rows", title_justify="left")
    for status, count in sorted(found["statuses"].items(), key=lambda item: (item[0] != "ok", -item[1], item[0])):
        table.add_row(status, f"{count:,}", f"{count / found['rows']:.2%}", MEANINGS.get(status, ""))
    return table


def _hosts(hosts: dict[str, Any]) -> Table:
    title = f"hosts: {hosts['number']:,}; those of most rows"
    table = Table("host", *_right("rows", "yield"), "failures", title=title, title_justify="left")
    for one in hosts["most"]:
        failures = ", ".join(f"{count:,} {status}" for status, count in list(one["failures"].items())[:4])
        table.add_row(escape(one["host"]), f"{one['rows']:,}", f"{one['yield']:.1%}", failures)
    return table


def _spreads(found: dict[str, Any]) -> Table:
    names = {
        "width": "width", "height": "height", "original_width": "width before", "original_height": "height before",
        "stored_bytes": "bytes of an image", "bytes": "bytes before", "words": "words of a text",
        "characters": "characters of a text", "per_sample": "texts of a sample",
    }  # fmt: skip
    spreads = found["sizes"] | found["captions"]
    looked = found["captions"]["samples_looked_at"]
    table = Table("", *_right(*COLUMNS), title=f"sizes; texts by {looked:,} samples", title_justify="left")
    for name, label in names.items():
        if spread := spreads[name]:
            table.add_row(label, *(f"{spread[column]:,}" for column in COLUMNS))
    return table


def _right(*names: str) -> list[Any]:
    from rich.table import Column

    return [Column(name, justify="right") for name in names]


def _languages(counts: dict[str, int] | None) -> str:
    if counts is None:
        return ABSENT
    total = sum(counts.values()) or 1
    listed = ", ".join(f"{language} {count / total:.1%}" for language, count in list(counts.items())[:8])
    rest = f", {len(counts) - 8} more" if len(counts) > 8 else ""
    return f"languages of the texts: {listed or 'no texts'}{rest}"


def _repeats(repeats: dict[str, Any]) -> str:
    names = {"exact": "with the original bytes of an earlier one", "same_hash": "that look like an earlier one"}
    told = [f"{repeats[key]:,} samples {what}" for key, what in names.items() if repeats[key] is not None]
    listed = repeats["skip_list"]
    skipped = f"{sum(listed.values()):,} are left out by the skip list" if listed else "no skip list (vltk data dedup)"
    return "; ".join([*(told or ["repeats are not known: the rows hold no hashes"]), skipped])
