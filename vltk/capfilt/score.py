"""`vltk capfilt score`: the filter reads every text beside its image, those that came with it and those written for it.

Texts of people are not read. Without a filter the texts are put together all the same, without scores.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vltk.capfilt import caption
from vltk.capfilt.images import Item, batches
from vltk.capfilt.job import Job, Shard
from vltk.capfilt.models import Model
from vltk.capfilt.rules._contract import GENERATED, HUMAN, WEB
from vltk.capfilt.schema import Scoring
from vltk.capfilt.tables import SCORES, Row, Tables
from vltk.capfilt.work import each
from vltk.errors import Missing, VltkError

STEP = "score"
VERSION = 2
LOOKED_AT = 32  # pixels of a side of images that are only decoded
_DROPPED, _BLANKS = re.compile(r"[.!\"()*#:;~]"), re.compile(r"\s+")


def tables(job: Job) -> Tables:
    return Tables(job.folder / "scores", SCORES)


def score(job: Job, redo: bool = False) -> None:
    """A table a shard, of all its texts. Raises Missing where captions are not written yet."""
    model = None if job.options.filter is None else Model("filter", job.options.filter, job)
    made, texts = tables(job), caption.tables(job)
    written = {shard.name for shard in caption.wanted(job)}

    def facts(shard: Shard) -> dict[str, Any]:
        captions = texts.made_of(shard.name) if shard.name in written else None
        if shard.name in written and captions is None:
            raise Missing(
                f"{texts.path(shard.name)} is not there", [("its captions", f"vltk capfilt caption {job.given}")]
            )
        return facts_of(job, None if shard.human else model) | {"shard": shard.content, "captions": captions}

    each(
        STEP,
        job.shards,
        job.folder / "claims",
        lambda shard: made.stands(shard.name, facts(shard), redo),
        lambda shard: _make(shard, job, model, made, facts(shard)),
    )


def facts_of(job: Job, model: Model | None) -> dict[str, Any]:
    """What decides the scores of a shard, besides its content and its captions."""
    scoring = job.options.score.model_dump(mode="json", exclude={"batch_size"})
    own = {"step": STEP, "version": VERSION, "filter": None if model is None else model.facts}
    return own | {"score": scoring, "precision": job.options.precision}


def normalised(text: str, max_words: int) -> str:
    """As BLIP's training reads a caption (data/utils.py): lower case, without some punctuation, cut."""
    words = _BLANKS.sub(" ", _DROPPED.sub(" ", text.lower())).strip().split(" ")
    return " ".join(words[:max_words])


def _make(shard: Shard, job: Job, model: Model | None, made: Tables, facts: dict[str, Any]) -> str:
    rows = list(_human(shard, job) if shard.human else _rows(shard, job, model))
    made.write(shard.name, rows, facts)
    why = "people wrote them" if shard.human else "no filter" if model is None else None
    count, bad = sum(row["text"] is not None for row in rows), len({row["key"] for row in rows if row.get("error")})
    told = f"{count:,} texts of {len(shard.positions):,} images" + (f", {bad:,} unreadable" if bad else "")
    return told + (f", not scored: {why}" if why else "")


def _human(shard: Shard, job: Job) -> Iterator[Row]:
    """Their images are decoded all the same: what cannot be read is left out of the new data set."""
    for items, _ in batches(shard, LOOKED_AT, job.options.score.batch_size):
        for item in items:
            yield from _noted(item, [_row(item.key, number, HUMAN, text) for number, text in enumerate(item.texts)])


def _rows(shard: Shard, job: Job, model: Model | None) -> Iterator[Row]:
    own = {} if job.options.captioner is None else dict(caption.tables(job).by_key(shard.name))
    if model is None:
        for position in shard.positions:
            sample = shard.dataset.read(position)
            written = own.get(sample.key, [])
            error = next((one["error"] for one in written if one["error"] is not None), None)
            item = Item(sample.key, sample.texts, error=error)
            yield from _noted(item, _texts(sample.key, sample.texts, written, job.options.score))
        return
    reader = _Reader(model)
    for items, images in batches(shard, reader.image_size, job.options.score.batch_size):
        rows = [_texts(item.key, item.texts, own.get(item.key, []), job.options.score) for item in items]
        good = [number for number, item in enumerate(items) if item.error is None]
        if images is not None:
            reader.read(images, [rows[number] for number in good])
        for item, texts in zip(items, rows, strict=True):
            yield from _noted(item, texts)


def _noted(item: Item, texts: Sequence[Row]) -> Iterator[Row]:
    """The texts, with why their image cannot be read; where it has none, that leaves a row all the same."""
    yield from (text | {"error": item.error} for text in texts)
    if item.error is not None and not texts:
        yield _row(item.key, 0, GENERATED, None) | {"error": item.error}


def _row(key: str, number: int, source: str, text: str | None) -> Row:
    return {"key": key, "number": number, "source": source, "text": text}


def _texts(key: str, web: Sequence[str], generated: Sequence[Row], options: Scoring) -> list[Row]:
    """All texts of an image: those that came with it, then those written for it."""
    rows = [_row(key, number, WEB, text) for number, text in enumerate(web)]
    for one in generated:
        if one["error"] is None:
            told = {name: one[name] for name in ("logprob", "length", "finished")}
            rows.append(_row(key, len(rows), GENERATED, one["text"]) | told)
    if options.normalise:
        for row in rows:
            scored = normalised(row["text"], options.max_words)
            row["scored"] = scored if scored != row["text"] else None
    return rows


@dataclass
class _Reader:
    """Scores texts of images by a filter."""

    model: Model

    def __post_init__(self) -> None:
        self.trained = self.model.trained
        self.image_size = self.trained.image.size

    def read(self, images: Any, rows: Sequence[list[Row]]) -> None:
        """images (b, 3, S, S) uint8 and the texts of each: fills in their scores."""
        import torch

        from vltk.data.batch import padded
        from vltk.models import inference
        from vltk.models.tokens import Text

        texts = [row for own in rows for row in own]
        if not texts:
            return
        tokenizer = self.trained.tokenizer
        ids = [tokenizer.encode(row["scored"] if row.get("scored") is not None else row["text"])[0] for row in texts]
        for row, own in zip(texts, ids, strict=True):
            row["unknown"] = float((own == tokenizer.unk).mean()) if tokenizer.unk is not None else None
        device = next(self.trained.model.parameters()).device
        images = images.to(device)
        owner = torch.repeat_interleave(torch.tensor([len(own) for own in rows])).to(device)
        padded_ids, lengths = (tensor.to(device) for tensor in padded(ids, tokenizer.pad))
        with self.model.computing() as model:
            every = torch.arange(len(texts), device=device)
            logits, cosines = inference.score_pairs(model, images, Text(padded_ids, lengths), owner, every)
        if logits is not None:
            _fill(texts, itm_logit=logits.double().tolist(), itm=logits.double().sigmoid().tolist())
        if cosines is not None:
            _fill(texts, itc=cosines.double().tolist())


def _fill(rows: Sequence[Row], **columns: list[float]) -> None:
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            if not math.isfinite(value):
                raise VltkError(f"sample {row['key']!r}: {name} is no number: the weights of the filter are broken")
            row[name] = value
