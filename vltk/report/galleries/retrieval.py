"""Retrieval to look at: for an image the nearest captions, for a caption the nearest images, hits and misses alike."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from vltk.eval.metrics import retrieval as metrics
from vltk.report.galleries.examples import Source, pairs, picture, samples, tensor_of

if TYPE_CHECKING:
    from vltk.data.dataset import Sample
    from vltk.run import Trained

POOL = 200  # images searched
QUERIES = 6  # a direction: hits and misses in equal parts where there are both
TOP = 5
BATCH = 50


@dataclass(frozen=True)
class _Pool:
    """The images and captions searched: caption j belongs to image owner[j]; similarity (N, M).

    Ranks from 0, of the best own caption of each image, `to_text` (N,), and of each caption's image, `to_image` (M,).
    """

    chosen: list[Sample]
    images: Any
    captions: list[str]
    owner: Any
    similarity: Any
    to_text: Any
    to_image: Any


def sources(recipe: dict[str, Any]) -> list[Source]:
    return pairs(recipe, "itc", "itc_momentum")


def title(source: Source) -> str:
    return "Retrieval"


def draw(trained: Trained, source: Source) -> tuple[str, str]:
    """Both directions over a pool of images and all their captions."""
    pool = _pool(trained, source)
    note = (
        f"Among {len(pool.images)} images and {len(pool.captions):,} captions, the right one comes first for "
        f"{metrics.recall(pool.to_text, 1):.0f} % of the images and {metrics.recall(pool.to_image, 1):.0f} % "
        f"of the captions. "
        f"Below hits and misses in equal parts, not in proportion. {source.told}."
    )
    captions = "".join(_caption_row(pool, i, int(pool.to_text[i])) for i in _queries(pool.to_text))
    images = "".join(_image_row(pool, j, int(pool.to_image[j])) for j in _queries(pool.to_image))
    return note, (
        f'<h4>Image to captions</h4><div class="to-text">{captions}</div>'
        f'<h4>Caption to images</h4><div class="to-image">{images}</div>'
    )


def _pool(trained: Trained, source: Source) -> _Pool:
    import torch

    from vltk.data.batch import padded
    from vltk.data.dataset import open_dataset
    from vltk.models import inference

    chosen = samples(open_dataset(source.data), POOL, image=True, text=True)
    images = tensor_of(chosen, trained.image.size)
    captions = [text for sample in chosen for text in sample.texts]
    owner = np.repeat(np.arange(len(chosen)), [len(sample.texts) for sample in chosen])
    ids, lengths = padded([trained.tokenizer.encode(text)[0] for text in captions], trained.tokenizer.pad)
    image = torch.cat([inference.image_embeddings(trained.model, part) for part in images.split(BATCH)])
    text = torch.cat(
        [
            inference.text_embeddings(trained.model, *part)
            for part in zip(ids.split(4 * BATCH), lengths.split(4 * BATCH), strict=True)
        ]
    )
    vectors = image.float().numpy(), text.float().numpy()
    to_text, to_image = metrics.image_to_text_ranks(*vectors, owner), metrics.text_to_image_ranks(*vectors, owner)
    return _Pool(chosen, images.numpy(), captions, owner, vectors[0] @ vectors[1].T, to_text, to_image)


def _queries(ranks: Any) -> list[int]:
    """Hits and misses in turn, from the start of the (already random) order; more of one where the other lacks."""
    order = np.random.default_rng(0).permutation(len(ranks))
    hits, misses = [int(i) for i in order if ranks[i] == 0], [int(i) for i in order if ranks[i] >= TOP]
    between = [int(i) for i in order if 0 < ranks[i] < TOP]
    half = QUERIES // 2
    chosen = hits[:half] + misses[:half]
    rest = between + hits[half:] + misses[half:]
    return chosen + rest[: QUERIES - len(chosen)]


def _verdict(rank: int) -> str:
    name = "hit" if rank == 0 else "near" if rank < TOP else "miss"
    return f'<span class="verdict {name}">{"right at first" if rank == 0 else f"right at {rank + 1}"}</span>'


def _caption_row(pool: _Pool, query: int, rank: int) -> str:
    nearest = np.argsort(-pool.similarity[query], kind="stable")[:TOP]
    lines = [_caption_line(pool, query, j) for j in nearest]
    if rank >= TOP:
        own = np.flatnonzero(pool.owner == query)
        best = own[pool.similarity[query, own].argmax()]
        lines.append(_caption_line(pool, query, best, "late"))
    image = picture(pool.images[query], pool.captions[int(np.flatnonzero(pool.owner == query)[0])], largest=160)
    return f"<article><div>{image}{_verdict(rank)}</div><ol>{''.join(lines)}</ol></article>"


def _caption_line(pool: _Pool, query: int, caption: Any, name: str = "") -> str:
    right = "right" if pool.owner[caption] == query else ""
    return (
        f'<li class="{right} {name}"><span>{escape(pool.captions[caption])}</span>'
        f"<i>{pool.similarity[query, caption]:.2f}</i></li>"
    )


def _image_row(pool: _Pool, query: int, rank: int) -> str:
    similarity, owner = pool.similarity[:, query], int(pool.owner[query])
    nearest = np.argsort(-similarity, kind="stable")[:TOP]
    cells = [_image_cell(pool, int(i), owner, similarity) for i in nearest]
    if rank >= TOP:
        cells.append(_image_cell(pool, owner, owner, similarity, "late"))
    title = f"<p>{escape(pool.captions[query])} {_verdict(rank)}</p>"
    return f"<article>{title}<div>{''.join(cells)}</div></article>"


def _image_cell(pool: _Pool, image: int, owner: int, similarity: Any, name: str = "") -> str:
    right = "right" if image == owner else ""
    shown = picture(pool.images[image], pool.chosen[image].texts[0], largest=112)
    return f'<figure class="{right} {name}">{shown}<figcaption>{similarity[image]:.2f}</figcaption></figure>'
