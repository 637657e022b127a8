"""A contact sheet of a data set: one HTML file with everything in it, to be looked at without a network.

Captions come from strangers: every text is escaped, pictures are decoded here and encoded anew, and the page's own
policy forbids scripts and addresses outside of it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from vltk.data import skip
from vltk.data.card import Card
from vltk.data.dataset import Dataset, dataset_names, open_dataset
from vltk.data.image import BadSample, decode, resize
from vltk.data.inspect.prints import places
from vltk.data.inspect.stats import card_of, drawn
from vltk.data.members import Sample
from vltk.errors import VltkError

SIDE = 320  # pixels of the longer side of a picture on the page
SHOWN = 12  # texts of a sample that are shown
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def preview(
    name: str, out: Path, count: int = 60, seed: int = 0, skipped: bool = False, card: Card | None = None
) -> int:
    """Write the page of `count` samples drawn by `seed`; how many it shows. `card`: as for `stats`.

    With `skipped`, samples of the skip list stand beside those they repeat. Raises Missing when the data set is not on
    disk, VltkError when it is damaged, stored as tokens, has no skip list (with `skipped`), or `out` cannot be written.
    """
    dataset = open_dataset(name, skips=False)
    if dataset.manifest.get("kind") == "tokens":
        raise VltkError(f"{name}: stored as tokens: there is nothing to look at")
    tiles = list(_pairs(dataset, count, seed) if skipped else _samples(dataset, count, seed))
    _write(out, _page(dataset, tiles, seed, skipped, card))
    return len(tiles)


def _samples(dataset: Dataset, count: int, seed: int) -> Iterator[str]:
    left_out = set(skip.read(dataset.folder).tolist())
    for position in drawn(dataset, count, seed):
        yield f"<article>{_tile(dataset, position, 'skipped' if position in left_out else '')}</article>"


def _pairs(dataset: Dataset, count: int, seed: int) -> Iterator[str]:
    """Skipped samples, each beside the one it repeats."""
    if not (dataset.folder / skip.FILE).exists():
        raise VltkError(f"{dataset.name} has no skip list: vltk data dedup {dataset.name}")
    table = skip.read_table(dataset.folder)
    rows = np.sort(np.random.default_rng(seed).permutation(len(table))[:count])
    chosen = table.take(rows).to_pylist()
    repeated = _found({row["of"] for row in chosen})
    for row in chosen:
        note, of = f"skipped: {row['reason']}, {row['distance']} bits", row["of"]
        other = _tile(*repeated[of], of) if of in repeated else f'<p class="bad">{escape(of)} is not on disk</p>'
        yield f'<article class="pair"><div>{_tile(dataset, row["index"], note)}</div><div>{other}</div></article>'


def _found(names: set[str]) -> dict[str, tuple[Dataset, int]]:
    """Where the samples named DATASET/KEY lie; the data set is the longest one on disk that the name begins with."""
    by_set: dict[str, set[str]] = {}
    for name in names:
        sets = [one for one in dataset_names() if name.startswith(f"{one}/")]
        if sets:
            by_set.setdefault(max(sets, key=len), set()).add(name)
    found: dict[str, tuple[Dataset, int]] = {}
    for one, members in by_set.items():
        dataset = open_dataset(one, skips=False)
        at = places(dataset, {name.removeprefix(f"{one}/") for name in members})
        found |= {f"{one}/{key}": (dataset, position) for key, position in at.items()}
    return found


def _tile(dataset: Dataset, position: int, note: str) -> str:
    try:
        sample = dataset.read(position)
    except BadSample as error:
        return f'<div class="picture bad">{escape(str(error))}</div><div class="text key">sample {position}</div>'
    picture, size = _picture(sample.image)
    facts = " · ".join(part for part in (sample.key, size, note) if part)
    return f'{picture}<div class="text">{_texts(sample.texts)}<p class="key">{escape(facts)}</p>{_meta(sample)}</div>'


def _picture(data: bytes | None) -> tuple[str, str]:
    """The picture as HTML, and its size in words."""
    if data is None:
        return "", ""
    try:
        pixels = decode(data)
    except BadSample as error:
        return f'<div class="picture bad">{escape(str(error))}</div>', f"{len(data):,} bytes"
    height, width = pixels.shape[:2]
    shrink = min(1.0, SIDE / max(height, width))
    small = resize(pixels, max(round(height * shrink), 1), max(round(width * shrink), 1))
    encoded = base64.b64encode(simplejpeg.encode_jpeg(np.ascontiguousarray(small), quality=80)).decode()
    html = f'<div class="picture"><img alt="" loading="lazy" src="data:image/jpeg;base64,{encoded}"></div>'
    return html, f"{width} x {height}, {len(data):,} bytes"


def _texts(texts: list[str]) -> str:
    if len(texts) < 2:
        return "".join(f'<p dir="auto">{escape(text)}</p>' for text in texts)
    shown = "".join(f'<li dir="auto">{escape(text)}</li>' for text in texts[:SHOWN])
    more = f'<p class="faint">and {len(texts) - SHOWN} more</p>' if len(texts) > SHOWN else ""
    return f"<ol>{shown}</ol>{more}"


def _meta(sample: Sample) -> str:
    if not sample.meta:
        return ""
    told = json.dumps(sample.meta, ensure_ascii=False, indent=1)
    return f"<details><summary>labels</summary><pre>{escape(told[:4000])}</pre></details>"


def _page(dataset: Dataset, tiles: list[str], seed: int, skipped: bool, card: Card | None) -> str:
    manifest, name = dataset.manifest, escape(dataset.name)
    counts = f"{manifest['samples']:,} samples, {manifest['images']:,} images, {manifest['texts']:,} texts"
    chosen = "left out by the skip list, each beside the one it repeats" if skipped else "in the order of the data set"
    shown = f"{len(tiles)} shown, drawn by seed {seed}, {chosen}"
    lines = [counts, _rows(manifest["statuses"]), _card(card or card_of(dataset.name, manifest)), shown]
    style = (files("vltk.data.inspect") / "preview.css").read_text(encoding="utf-8")
    head = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width"><style>{style}</style></head><body>'
        f"<header><h1>{name}</h1>{head}</header>"
        f"<main{' class=pairs' if skipped else ''}>{''.join(tiles)}</main></body></html>\n"
    )


def _rows(statuses: dict[str, Any]) -> str:
    lost = ", ".join(f"{count:,} {status}" for status, count in statuses.items() if status != "ok")
    return f"{sum(statuses.values()):,} input rows: {lost}" if lost else ""


def _card(card: Card | None) -> str:
    return "" if card is None else f"{card.about}; licence: {card.licence.id}"


def _write(out: Path, page: str) -> None:
    part = out.with_name(f"{out.name}.part")
    try:
        part.write_text(page, encoding="utf-8", errors="replace")
        os.replace(part, out)
    except OSError as error:
        raise VltkError(f"{out} cannot be written: {error}") from error
