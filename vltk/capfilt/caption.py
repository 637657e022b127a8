"""`vltk capfilt caption`: the captioner writes texts for the images of every shard that people have not described."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vltk.capfilt.images import batches
from vltk.capfilt.job import Job, Shard
from vltk.capfilt.models import Model
from vltk.capfilt.tables import CAPTIONS, Row, Tables
from vltk.capfilt.work import each
from vltk.log import say

STEP = "caption"
VERSION = 1  # of how texts are drawn: another one gives other texts


def tables(job: Job) -> Tables:
    return Tables(job.folder / "captions", CAPTIONS)


def wanted(job: Job) -> list[Shard]:
    """The shards whose images get texts."""
    return [] if job.options.captioner is None else [shard for shard in job.shards if not shard.human]


def caption(job: Job, redo: bool = False) -> None:
    """A table a shard. What stands is left; what was made of something else is refused, or made again with `redo`."""
    shards = wanted(job)
    if not shards:
        say("caption: no captioner, or people wrote all texts: nothing to do")
        return
    assert job.options.captioner is not None
    model = Model("captioner", job.options.captioner, job)
    facts = facts_of(job, model)
    made = tables(job)
    each(
        STEP,
        shards,
        job.folder / "claims",
        lambda shard: made.stands(shard.name, facts | {"shard": shard.content}, redo),
        lambda shard: _make(shard, job, model, made, facts | {"shard": shard.content}),
    )


def facts_of(job: Job, model: Model) -> dict[str, Any]:
    """What decides the texts of a shard, besides its content."""
    return said(job) | {"captioner": model.facts, "prompt": str(getattr(model.stage.model, "prompt", ""))}


def said(job: Job) -> dict[str, Any]:
    """As much of it as the recipe says without its captioner."""
    decoding = job.options.caption.model_dump(mode="json", exclude={"batch_size"})
    own = {"step": STEP, "version": VERSION, "seed": job.options.seed}
    return own | {"decoding": decoding, "precision": job.options.precision}


def _make(shard: Shard, job: Job, model: Model, made: Tables, facts: dict[str, Any]) -> str:
    rows = list(_rows(shard, job, model))
    made.write(shard.name, rows, facts)
    bad = sum(row["error"] is not None for row in rows)
    return f"{len(rows) - bad:,} texts for {len(shard.positions):,} images" + (f", {bad:,} unreadable" if bad else "")


def _rows(shard: Shard, job: Job, model: Model) -> Iterator[Row]:
    from vltk.caption.generate import Writer

    trained = model.trained
    writer = Writer(trained.model, trained.tokenizer, job.options.caption, job.options.seed, model.spec)
    device = next(trained.model.parameters()).device
    for items, images in batches(shard, trained.image.size, job.options.caption.batch_size):
        yield from ({"key": item.key, "number": 0, "error": item.error} for item in items if item.error is not None)
        if images is None:
            continue
        keys = [item.key for item in items if item.error is None]
        with model.computing():
            found = writer.write(images.to(device), keys)
        for key, texts in zip(keys, found, strict=True):
            for number, one in enumerate(texts):
                yield {
                    "key": key,
                    "number": number,
                    "text": one.text,
                    "logprob": one.logprob,
                    "length": one.length,
                    "finished": one.finished,
                    "error": None,
                }
