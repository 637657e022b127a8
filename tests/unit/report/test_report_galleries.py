"""The galleries, drawn from small real models at random weights."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from tests import tiny
from tests.unit.report.report_pages import Page, make_stage
from vltk.data.batch import padded
from vltk.data.text import Tokenizer
from vltk.errors import VltkError
from vltk.report import build
from vltk.report.galleries import GALLERIES, masked_patches, masked_words, reconstructions, retrieval
from vltk.report.galleries.examples import Source, samples
from vltk.report.galleries.texts import hidden

PAIRS = Source("walls", fused=True, held_out=True)


def recipe(**streams: list[str]) -> dict[str, Any]:
    return {"streams": {n: {"data": [f"{n}/train"], "objectives": {o: {} for o in os}} for n, os in streams.items()}}


def test_a_stage_has_the_galleries_of_its_objectives() -> None:
    def found(resolved: dict[str, Any]) -> list[str]:
        return [gallery.title(source) for gallery in GALLERIES for source in gallery.sources(resolved)]

    assert found(recipe(image=["dvae"])) == ["Reconstructions"]
    assert found(recipe(text=["mlm"])) == ["Masked words"]
    assert found(recipe(pairs=["itc"])) == ["Retrieval"]
    joint = recipe(pairs=["itc", "mmm"], text=["mlm"], image=["mim"])
    patches, words = "Masked patches", "Masked words"
    assert found(joint) == [patches, f"{patches}, caption in view", words, f"{words}, image in view", "Retrieval"]
    assert found({}) == []


def test_pairs_come_from_evaluated_data_where_there_are_some() -> None:
    resolved = recipe(pairs=["itc"])
    assert retrieval.sources(resolved) == [Source("pairs/train", True)]
    resolved["evaluate"] = {
        "tasks": {"probe": {"part": "linear_probe", "train": "x"}, "dev": {"part": "retrieval", "data": "walls"}}
    }
    assert retrieval.sources(resolved) == [Source("walls", True, True)]
    resolved["streams"]["pairs"]["data"].append("walls")
    assert retrieval.sources(resolved) == [Source("walls", True, False)]


def test_reconstructions_are_of_unseen_images_where_some_are_evaluated() -> None:
    resolved = recipe(image=["dvae"])
    assert reconstructions.sources(resolved) == [Source("image/train")]
    resolved["evaluate"] = {"tasks": {"dev": {"part": "tokenizer", "train": "image/train", "test": "walls"}}}
    assert reconstructions.sources(resolved) == [Source("walls", held_out=True)]
    assert "not trained on" in reconstructions.sources(resolved)[0].told


def test_data_sets_by_weight() -> None:
    resolved = recipe(image=["dvae"])
    resolved["streams"]["image"]["data"] = {"walls": 2, "lines": 1}
    assert reconstructions.sources(resolved) == [Source("walls")]


def test_examples_are_the_same_each_time_and_decodable(pictures: Path) -> None:
    from vltk.data.dataset import open_dataset

    walls = open_dataset("walls")
    first, second = ([s.key for s in samples(walls, 100, image=True, text=True)] for _ in range(2))
    assert first == second
    assert len(first) == 11 and "wall5" not in first


def test_reconstructions(pictures: Path, trained: SimpleNamespace) -> None:
    tokenizer = SimpleNamespace(**vars(trained) | {"model": trained.helpers["codes"]})
    note, body = reconstructions.draw(tokenizer, Source("walls"))
    page = Page(body)
    assert len(page.all("img")) == 2 * reconstructions.COUNT
    assert page.text.count("dB") == reconstructions.COUNT
    assert "64 codes of 16" in note and "training data" in note
    assert re.search(r"In these 10 images \d+ different codes, perplexity \d+\.\d, \d+\.\d dB on average", note)


def test_a_tokenizer_without_pixels_says_so(pictures: Path, trained: SimpleNamespace) -> None:
    resolved = recipe(image=["vqkd"])
    (source,) = reconstructions.sources(resolved)
    assert reconstructions.title(source) == "Reconstructions"
    trained.model, trained.image.size = tiny.vqkd().eval(), tiny.IMAGE
    with pytest.raises(VltkError, match="not for pixels: there is no way back"):
        reconstructions.draw(trained, Source("walls"))


@pytest.mark.parametrize("source", [Source("walls"), PAIRS])
def test_masked_patches(pictures: Path, trained: SimpleNamespace, source: Source) -> None:
    note, body = masked_patches.draw(trained, source)
    page = Page(body)
    assert len(page.all("img")) == 4 * masked_patches.COUNT
    assert re.search(r"\d+ of \d+ hidden codes exactly right", note)
    assert ("door" in page.text or "wall" in page.text) == source.fused


def test_masked_patches_change_hidden_places_only(trained: SimpleNamespace) -> None:
    images = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    masked_at = torch.zeros(1, 16, dtype=torch.bool)
    masked_at[0, 6] = True  # row 1, column 2 of 4 x 4 patches of 8 pixels
    codes = torch.zeros(1, 16, dtype=torch.long)
    (made,) = masked_patches._decoded(trained.helpers["codes"], codes, images, masked_at, (4, 4))
    changed = (made != images[0].numpy()).any(0)
    assert changed[8:16, 16:24].any()
    changed[8:16, 16:24] = False
    assert not changed.any()


def test_masked_patches_without_a_codebook_say_so(pictures: Path, trained: SimpleNamespace) -> None:
    trained.helpers = {}
    with pytest.raises(VltkError, match="no codebook"):
        masked_patches.draw(trained, Source("walls"))


@pytest.mark.parametrize("source", [Source("lines"), PAIRS])
def test_masked_words(pictures: Path, trained: SimpleNamespace, source: Source) -> None:
    note, body = masked_words.draw(trained, source)
    page = Page(body)
    boxes = len(page.all("span", "box"))
    assert boxes >= masked_words.COUNT
    assert page.text.count("%") == masked_words.TOP * boxes
    assert len(page.all("img")) == (masked_words.COUNT if source.fused else 0)
    assert f"of {boxes} right at first" in note


def test_a_right_word_is_green_a_wrong_one_red(trained: SimpleNamespace) -> None:
    red, door, piece = (trained.tokenizer.tokens.index(word) for word in ("red", "door", "##s"))
    right = masked_words._box(red, ([red, door, piece], [0.9, 0.05, 0.01]), trained.tokenizer)
    wrong = masked_words._box(piece, ([red, door, piece], [0.9, 0.05, 0.01]), trained.tokenizer)
    assert re.findall(r'<(\w+) class="(\w+)"', right)[:3] == [("span", "box"), ("b", "right"), ("span", "right")]
    assert [name for _, name in re.findall(r'<(\w+) class="(right|wrong|other)"', wrong)] == [
        "wrong",
        "wrong",
        "other",
        "right",
    ]
    assert 'class="box piece"' in wrong and ">s</b>" in wrong and "90 %" in wrong


def test_hidden_words_are_never_the_special_ones() -> None:
    ids, lengths = padded([np.array(text) for text in ([2, 7, 8, 3], [2, 9, 3], [2, *range(5, 25), 3])], pad=0)
    assert ids.shape == (3, 22) and ids[1].tolist() == [2, 9, 3] + [0] * 19
    at = hidden(ids, lengths, 0.15)
    assert at.sum(1).tolist() == [1, 1, 3]
    assert not at[:, 0].any() and not any(at[i, n - 1 :].any() for i, n in enumerate(lengths.tolist()))


def test_retrieval_shows_both_directions(pictures: Path, trained: SimpleNamespace) -> None:
    note, body = retrieval.draw(trained, PAIRS)
    page = Page(body)
    assert "11 images and 22 captions" in note and "not trained on" in note
    assert len(page.all("article")) == 2 * retrieval.QUERIES
    assert all(len(re.findall("right", article)) >= 1 for article in body.split("<article>")[1:])
    assert "<doors>" in page.text


def test_queries_hold_hits_and_misses() -> None:
    chosen = retrieval._queries(np.array([0] * 20 + [50] * 5))
    assert sorted(i < 20 for i in chosen) == [False] * 3 + [True] * 3
    assert len(retrieval._queries(np.array([0, 0, 3]))) == 3


def test_missing_data_is_named_on_the_page(work: Path, trained: SimpleNamespace) -> None:
    folder = make_stage(work / "runs" / "tiny" / "text", 0, {"text": ["mlm"]}, {"text": "lines"})
    (folder / "model.safetensors").touch()
    text = Page(build("tiny", lambda spec: trained).read_text()).text
    assert "Not drawn: the data set 'lines' is not on disk" in text


def test_weights_that_do_not_load_are_told(work: Path) -> None:
    def broken(spec: str) -> Any:
        raise VltkError("the weights are of another architecture")

    folder = make_stage(work / "runs" / "tiny" / "text", 0, {"text": ["mlm"]}, {"text": "lines"})
    (folder / "model.safetensors").touch()
    assert "the weights could not be loaded. the weights are" in Page(build("tiny", broken).read_text()).text


@pytest.mark.parametrize("times", [1, 2])
def test_a_checkpoint_that_goes_while_it_is_read(pictures: Path, trained: SimpleNamespace, times: int) -> None:
    """Once: the newer one is taken. Twice: the page says so."""
    asked: list[str] = []

    def load(spec: str) -> Any:
        asked.append(spec)
        if len(asked) <= times:
            raise [FileNotFoundError("gone"), SafetensorError("half gone")][len(asked) - 1]
        return trained

    folder = make_stage(pictures / "runs" / "tiny" / "text", 0, {"text": ["mlm"]}, {"text": "lines"})
    (folder / "checkpoints" / "step-00000050").mkdir(parents=True)
    text = Page(build("tiny@50", load).read_text()).text
    assert ("Weights of step 50." in text) == (times == 1) and ("twice (half gone)" in text) == (times == 2)
    assert asked == ["runs/tiny/text@50"] * 2


def test_a_vocabulary_smaller_than_the_models(pictures: Path, trained: SimpleNamespace) -> None:
    """The model's spare words are never guessed."""
    (pictures / "small.txt").write_text("\n".join(trained.tokenizer.tokens[:-2]) + "\n")
    trained.tokenizer = Tokenizer(pictures / "small.txt", 20)
    trained.model.heads["mlm"].decoder.bias.data[-2:] = 50.0
    note, body = masked_words.draw(trained, Source("lines"))
    assert "right at first" in note and "##s" not in body


def test_a_gallery_stands_on_the_page_with_its_step(pictures: Path, trained: SimpleNamespace) -> None:
    folder = make_stage(pictures / "runs" / "tiny" / "text", 0, {"text": ["mlm"]}, {"text": "lines"})
    (folder / "checkpoints" / "step-00000050").mkdir(parents=True)
    page = Page(build("tiny", lambda spec: trained).read_text())
    assert "Masked words" in page.text and "Weights of step 50." in page.text
