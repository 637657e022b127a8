"""Masked words to look at: a sentence with words hidden, and what the model would put there."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from vltk.report.galleries.examples import Source, pairs, picture, samples, streams_with, tensor_of
from vltk.report.galleries.texts import hidden, joins

if TYPE_CHECKING:
    import torch

    from vltk.run import Trained

COUNT = 8
RATIO = 0.15
TOP = 3
LENGTH = 48  # tokens shown of a text


Guesses = Iterator[tuple[list[int], list[float]]]


def sources(recipe: dict[str, Any]) -> list[Source]:
    return [Source(data) for data in streams_with(recipe, "mlm")] + pairs(recipe, "mmm")


def title(source: Source) -> str:
    return "Masked words, image in view" if source.fused else "Masked words"


def draw(trained: Trained, source: Source) -> tuple[str, str]:
    """A sentence a row, its hidden words replaced by the three likeliest, right ones green, wrong ones red."""
    from vltk.data.batch import padded
    from vltk.data.dataset import open_dataset
    from vltk.models import inference

    tokenizer = trained.tokenizer
    chosen = samples(open_dataset(source.data), COUNT, image=source.fused, text=True)
    ids, lengths = padded(
        [tokenizer.encode(s.texts[0], min(LENGTH, tokenizer.max_length))[0] for s in chosen], tokenizer.pad
    )
    masked_at = hidden(ids, lengths, RATIO)  # (B, T)
    seen = ids.masked_fill(masked_at, tokenizer.mask)
    if source.fused:
        images = tensor_of(chosen, trained.image.size)
        logits = inference.predict_words_from_pair(trained.model, images, seen, lengths, masked_at)
        thumbs = [picture(image.numpy(), name="thumb", largest=112) for image in images]
    else:
        logits = inference.predict_words(trained.model, seen, lengths, masked_at)  # (K, V)
        thumbs = [""] * len(chosen)
    logits = logits[:, : tokenizer.size]  # the model may have room for more words than there are
    shares, words = logits.float().softmax(-1).topk(TOP)  # (K, 3)
    guesses = iter(zip(words.tolist(), shares.tolist(), strict=True))
    rows = [
        f"<div>{thumb}<p>{_sentence(row[1 : n - 1], at[1 : n - 1], guesses, tokenizer)}</p></div>"
        for thumb, row, at, n in zip(thumbs, ids, masked_at, lengths.tolist(), strict=True)
    ]
    right = int((words[:, 0] == ids[masked_at]).sum())
    return _note(source, right, len(words)), f'<div class="words{" fused" * source.fused}">{"".join(rows)}</div>'


def _note(source: Source, right: int, total: int) -> str:
    how = "With the image in view" if source.fused else "From the text alone"
    return (
        f"{how}. The underlined words were hidden, below each stand the model's three likeliest: {right} of {total} "
        f"right at first. {source.told}."
    )


def _sentence(ids: torch.Tensor, masked_at: torch.Tensor, guesses: Guesses, tokenizer: Any) -> str:
    """The sentence as HTML; `guesses` yields (ids, shares) for each hidden token, in order."""
    parts: list[str] = []
    for token, is_hidden in zip(ids.tolist(), masked_at.tolist(), strict=True):
        word = tokenizer.tokens[token]
        space = "" if joins(word) or not parts else " "
        parts.append(space + (_box(token, next(guesses), tokenizer) if is_hidden else escape(word.removeprefix("##"))))
    return "".join(parts)


def _box(truth: int, guess: tuple[list[int], list[float]], tokenizer: Any) -> str:
    words, shares = guess
    lines = "".join(
        f'<span class="{"right" if word == truth else "wrong" if place == 0 else "other"}" style="--share:{share:.3f}">'
        f"{escape(tokenizer.tokens[word].replace('##', '-'))}<i>{100 * share:.0f} %</i></span>"
        for place, (word, share) in enumerate(zip(words, shares, strict=True))
    )
    hidden_word = tokenizer.tokens[truth]
    head = f'<b class="{"right" if words[0] == truth else "wrong"}">{escape(hidden_word.removeprefix("##"))}</b>'
    return f'<span class="box{" piece" * hidden_word.startswith("##")}">{head}{lines}</span>'
