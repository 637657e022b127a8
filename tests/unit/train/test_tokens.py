"""Masked language modelling over token shards: it trains as the text does, and what does not fit is found before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.harness import DEBUG, call, losses, weights
from vltk import needs
from vltk.data.dataset import open_dataset
from vltk.data.shard import Record, write_dataset
from vltk.data.tokenise import tokenise
from vltk.errors import RecipeError
from vltk.recipe import glance, load
from vltk.train.check import check_stages

RECIPE = """\
name: words
include: [flava-tiny.yaml]
stages: {codes: null, image: null, joint: null, text: {steps: 3, streams: {text: {data: [packed]}}}}
"""
SENTENCES = "A red square is left of a blue circle. The green ring is large. There are two small yellow stars. "


@pytest.fixture
def packed(own_data: Path) -> Any:
    """Documents of 3 to 60 sentences in samples of up to 16 tokens, with the words of `shapes`; and a recipe."""
    os.makedirs("documents")
    for number in range(20):
        Path(f"documents/{number:02d}.txt").write_text(SENTENCES * (number + 1))
    tokenise("documents", "packed", "shapes/vocab.txt", max_length=16)
    Path("words.yaml").write_text(RECIPE)
    return open_dataset("packed")


def mistakes(*overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as error:
        check_stages(load("words.yaml", [DEBUG, *overrides]))
    return error.value.problems


def test_tokens_train_as_their_text_does(packed: Any, own_data: Path) -> None:
    """Long documents come in samples of whole sentences, as long as they may be; nothing is cut off."""
    samples = [packed.read(index) for index in range(len(packed))]
    assert max(len(sample.ids) + 2 for sample in samples) <= 16 and len(samples) > 60
    texts = [sample.texts[0] for sample in samples]
    assert all(text.endswith(".") for text in texts) and sum(text.count(".") for text in texts) == 3 * sum(range(1, 21))
    write_dataset(own_data / "plain", [Record(f"k{n}", None, [text]) for n, text in enumerate(texts)], source={})
    assert call("train", "words.yaml", DEBUG, "steps=3") == 0
    assert call("train", "words.yaml", DEBUG, "steps=3", "name=text", "streams.text.data=[plain]") == 0
    assert losses("words/text") == losses("text/text") and len(losses("words/text")) == 3
    assert weights("words/text") == weights("text/text")


@pytest.mark.usefixtures("packed")
def test_texts_that_are_longer_than_the_encoder_or_the_stream_takes() -> None:
    check_stages(load("words.yaml", [DEBUG]))
    (found,) = mistakes("stages.text.streams.text.max_length=33")
    assert "streams.text.max_length: 33 given, but model.text.max_length is 32" in found
    (found,) = mistakes("stages.text.streams.text.max_length=12")
    assert "the data set 'packed' has samples of up to 16 tokens, the stream takes 12" in found
    (found,) = mistakes("stages.text.model.text.max_length=8")
    assert "streams.text.max_length: 16 given, but model.text.max_length is 8" in found


@pytest.mark.usefixtures("packed")
def test_tokens_of_another_vocabulary(own_data: Path) -> None:
    words = (own_data / "shapes" / "vocab.txt").read_text().splitlines()
    (own_data / "other.txt").write_text("\n".join([*words[:-1], "surplus"]) + "\n")
    (found,) = mistakes("tokenizer.vocab=other.txt")
    assert "the data set 'packed' was made with another tokenizer than" in found


def test_what_to_type_for_tokens_that_are_not_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text first where it is a card, then the vocabulary, then tokens as long as the stream takes them."""
    monkeypatch.setenv("VLTK_DATA", str(home / "empty"))
    Path("words.yaml").write_text(RECIPE.replace("packed", "wikipedia-tokens, mine-tokens"))
    commands = [command for _, command in needs.missing_data(glance("words.yaml"))]
    assert commands == [
        "vltk data fetch wikipedia",
        "vltk data fetch shapes",
        "vltk data tokens wikipedia wikipedia-tokens --tokenizer shapes/vocab.txt --max-length 40",
        "vltk data tokens SOURCE mine-tokens --tokenizer shapes/vocab.txt --max-length 40",
    ]
