"""View makers: statistics and rules of the masks, crops shared, unmatched pairs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.unit.data.samples import OPTIONS, picture
from vltk.data.dataset import Dataset
from vltk.data.draft import Draft, rng_for
from vltk.data.image import Box, crop_box, decode, is_whole, jitter
from vltk.data.pixels import PixelCache
from vltk.data.stream import Stream
from vltk.data.text import Tokenizer
from vltk.data.views.block_mask import BlockMask
from vltk.data.views.image import Image
from vltk.data.views.image_for_codes import ImageForCodes
from vltk.data.views.masked_text import MaskedText
from vltk.data.views.peers import Peers
from vltk.data.views.text import Text
from vltk.data.views.unmatched import Unmatched
from vltk.errors import VltkError

Make = Callable[..., Dataset]


def draft(dataset: Dataset, tokenizer: Tokenizer | None, position: int = 0, index: int = 0, **given: Any) -> Draft:
    options: dict[str, Any] = {"step_positions": range(8), "image": OPTIONS, "max_length": None}
    options |= {"decoded": PixelCache().decoded, **given}
    return Draft(
        dataset.read(index),
        dataset,
        key=(0, 0, "s"),
        position=position,
        place=(options.pop("epoch", 0), index),
        tokenizer=tokenizer,
        **options,
    )


def test_block_masks_follow_beit() -> None:
    """2000 masks of the public code: mean 74.50, 66 to 75 masked, exactly 75 in 68.6 % (flava.md section 2.3)."""
    maker, rng = BlockMask(), np.random.default_rng(0)
    masks = np.stack([maker.draw(rng) for _ in range(4000)])
    counts = masks.sum(1)
    assert masks.shape == (4000, 196) and masks.dtype == bool
    assert abs(counts.mean() - 74.5) < 0.06 and counts.max() == 75 and counts.min() >= 60
    assert abs((counts == 75).mean() - 0.686) < 0.03
    where = masks.mean(0).reshape(14, 14)
    assert np.abs(where - where[::-1]).max() < 0.05 and where[6, 6] > where[0, 0]  # blocks meet in the middle


def test_block_masks_are_blocks() -> None:
    maker, rng = BlockMask(max_masked=16), np.random.default_rng(0)
    for _ in range(200):
        mask = maker.draw(rng).reshape(14, 14)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        block = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        if block.all():  # the first block took all the room
            assert 0.2 < block.shape[0] / block.shape[1] < 5
        assert 1 <= mask.sum() <= 16


def test_block_masks_of_other_grids() -> None:
    maker, rng = BlockMask(grid=(7, 5), max_masked=13, min_block=4), np.random.default_rng(0)
    counts = np.array([maker.draw(rng).sum() for _ in range(500)])
    assert maker.draw(rng).shape == (35,) and counts.max() == 13 and counts.mean() > 11


def words_of(tokenizer: Tokenizer, text: str) -> tuple[np.ndarray, np.ndarray]:
    return tokenizer.encode(text, 64)


@pytest.mark.parametrize(("ratio", "whole_word"), [(0.15, False), (0.15, True), (0.5, False)])
def test_masked_share(tokenizer: Tokenizer, ratio: float, whole_word: bool) -> None:
    _, words = words_of(tokenizer, "the playing dog played under a red ball on the green grass . ")
    maker, rng = MaskedText(ratio=ratio, whole_word=whole_word), np.random.default_rng(0)
    chosen = np.stack([maker.choose(words, rng) for _ in range(6000)])
    assert not chosen[:, 0].any() and not chosen[:, -1].any() and chosen.any(1).all()
    inside = chosen[:, 1:-1].mean()
    assert abs(inside - ratio) < 0.01
    per_token = chosen[:, 1:-1].mean(0)
    assert np.abs(per_token - inside).max() < 0.03  # long words are as likely as short ones


def test_whole_words_are_never_cut(tokenizer: Tokenizer) -> None:
    _, words = words_of(tokenizer, "playing played playing a played dog played playing")
    assert len(words) - 2 > words.max() + 1
    rng = np.random.default_rng(0)
    for _ in range(300):
        chosen = MaskedText(whole_word=True, ratio=0.4).choose(words, rng)
        for word in range(words.max() + 1):
            assert len(set(chosen[words == word].tolist())) == 1


def test_80_10_10(make: Make, tokenizer: Tokenizer) -> None:
    dataset = make(count=2)
    maker = MaskedText(ratio=0.5)
    masked = replaced = total = 0
    for position in range(1500):
        one = draft(dataset, tokenizer, position)
        views = maker(one, partial(one.rng, "m"))
        at, ids = views["text_masked_at"], views["text_masked"]
        assert (ids[~at] == one.ids[~at]).all() and views["text_length"] == len(ids)
        assert not set(ids[at & (ids != tokenizer.mask)].tolist()) & {tokenizer.pad, tokenizer.cls, tokenizer.sep}
        total += at.sum()
        masked += (ids[at] == tokenizer.mask).sum()
        replaced += (at & (ids != tokenizer.mask) & (ids != one.ids)).sum()
    assert abs(masked / total - 0.8) < 0.015
    assert abs(replaced / total - 0.1 * (1 - 1 / len(tokenizer.regular))) < 0.01


def test_one_word_is_always_masked(make: Make, tokenizer: Tokenizer) -> None:
    _, words = words_of(tokenizer, "dog")
    assert MaskedText(ratio=0.01).choose(words, np.random.default_rng(0)).tolist() == [False, True, False]


def test_words_are_left_out_whole_and_as_often_as_asked(tokenizer: Tokenizer) -> None:
    ids, words = words_of(tokenizer, "a brown dog runs through a field of tall green grass")
    rng = np.random.default_rng(0)
    kept = np.stack([Text(drop=0.3).keep(words, rng) for _ in range(3000)])
    assert kept[:, [0, -1]].all() and abs(kept[:, 1:-1].mean() - 0.7) < 0.01
    for word in range(int(words.max()) + 1):
        assert (kept[:, words == word].all(1) | ~kept[:, words == word].any(1)).all()


def test_one_word_always_stays(make: Make, tokenizer: Tokenizer) -> None:
    _, words = words_of(tokenizer, "dog runs")
    rng = np.random.default_rng(0)
    assert all(Text(drop=0.95).keep(words, rng).sum() >= 3 for _ in range(200))
    one = draft(make(count=2), tokenizer)
    views = Text(drop=0.5)(one, lambda: rng)
    assert views["text_length"] == len(views["text"]) < len(one.ids)
    left = iter(one.ids.tolist())
    assert all(token in left for token in views["text"].tolist())  # in the order of the text


def test_image_and_codes_share_the_crop(make: Make) -> None:
    dataset = make(count=4)
    flips = 0
    for position in range(30):
        one = draft(dataset, None, position, position % 4)
        image = Image()(one, partial(one.rng, "image"))["image"]
        codes = ImageForCodes(size=32)(one, partial(one.rng, "codes"))["image_for_codes"]
        assert image.shape == codes.shape == (3, 32, 32) and image.dtype == codes.dtype == np.uint8
        assert np.abs(image.astype(int) - codes).mean() < 12 < np.abs(image.astype(int) - codes[:, :, ::-1]).mean()
        box = one.crop
        assert 0 <= box.top <= 40 - box.height and 0 <= box.left <= 48 - box.width
        assert 0.45 < box.height * box.width / (40 * 48) <= 1
        flips += box.flip
    assert 5 < flips < 25


def test_what_is_whole_is_what_every_draw_gives() -> None:
    choices = itertools.product(
        (32, 40), (32, 40), ((1.0, 1.0), (0.5, 1.0)), ((1.0, 1.0), (0.75, 4 / 3), (2.0, 2.0)), (False, True)
    )
    found = []
    for height, width, crop, ratio, flip in choices:
        options: Any = SimpleNamespace(crop=crop, ratio=ratio, flip=flip)
        drawn = {crop_box(height, width, options, rng_for(number)) for number in range(20)}
        found.append(is_whole(height, width, options))
        assert drawn == {Box(0, 0, height, width)} or not found[-1]
    assert sum(found) == 2


def test_a_whole_square_is_not_drawn(make: Make) -> None:
    options = SimpleNamespace(**{**vars(OPTIONS), "crop": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": False})
    one = draft(make(count=1), None, image=options, decoded=lambda *sample: np.zeros((40, 40, 3), np.uint8))
    one.rng = pytest.fail  # type: ignore[assignment]
    assert one.crop == Box(0, 0, 40, 40)


def test_a_view_that_draws_nothing_makes_no_generator(make: Make, tokenizer: Tokenizer) -> None:
    one = draft(make(count=1), tokenizer)
    assert {*Text()(one, pytest.fail), *Image()(one, pytest.fail)} == {"text", "text_length", "image"}


def test_colour_jitter_touches_image_only(make: Make) -> None:
    dataset = make(count=1)
    plain, changed = draft(dataset, None), draft(dataset, None)
    changed.image = type("Options", (), {**vars(OPTIONS), "color": 0.4})()
    assert plain.crop == changed.crop
    assert (Image()(plain, partial(rng_for, 1))["image"] != Image()(changed, partial(rng_for, 1))["image"]).any()
    codes = [ImageForCodes(size=16)(one, partial(rng_for, 1))["image_for_codes"] for one in (plain, changed)]
    assert (codes[0] == codes[1]).all()
    pixels = decode(picture(0))
    assert np.abs(jitter(pixels, 1e-6, rng_for(0)).astype(int) - pixels).max() <= 1


def test_each_caption_comes_once_in_as_many_epochs(make: Make, tokenizer: Tokenizer) -> None:
    dataset = make(count=3, texts=5)
    for index in range(3):
        texts = dataset.read(index).texts
        drawn = [draft(dataset, tokenizer, 9, index, epoch=epoch).text for epoch in range(15)]
        for cycle in range(3):
            assert sorted(drawn[5 * cycle : 5 * cycle + 5]) == sorted(texts)
        assert drawn[:5] != drawn[5:10] or drawn[:5] != drawn[10:]


def test_unmatched_takes_another_samples_text(make: Make, tokenizer: Tokenizer) -> None:
    dataset = make(count=6)
    maker = Unmatched(probability=0.3)
    matched = []
    for position in range(800):
        one = draft(dataset, tokenizer, position, position % 6, step_positions=range(800))
        views = maker(one, partial(one.rng, "u"))
        matched.append(bool(views["matched"]))
        assert matched[-1] == (one.text in one.sample.texts) == bool(views["positive"])
        assert (Text()(one, partial(one.rng, "text"))["text"] == tokenizer.encode(one.text)[0]).all()
    assert abs(np.mean(matched) - 0.7) < 0.05


def test_all_unmatched_counts_as_all_positive(make: Make, tokenizer: Tokenizer) -> None:
    dataset = make(count=6)
    for probability in (1.0, 0.6):
        maker = Unmatched(probability=probability)
        for start in range(0, 120, 3):
            step = range(start, start + 3)
            drafts = [draft(dataset, tokenizer, position, 1, step_positions=step) for position in step]
            views = [maker(one, partial(one.rng, "u")) for one in drafts]
            matched = [bool(view["matched"]) for view in views]
            assert [bool(view["positive"]) for view in views] == (matched if any(matched) else [True] * 3)


def test_unmatched_needs_another_text(root: Any, make: Make, tokenizer: Tokenizer) -> None:
    dataset = make(count=1)
    with pytest.raises(VltkError, match="all its texts are the same"):
        Unmatched(probability=1.0)(draft(dataset, tokenizer), partial(rng_for, 0))


def test_peers_know_their_image_and_draw_their_lots(make: Make, tokenizer: Tokenizer) -> None:
    dataset, maker = make("a", 3), Peers(of=4)
    places = ((0, 0), (1, 1), (2, 0))
    made = [maker(draft(dataset, tokenizer, position, index), partial(rng_for, position)) for position, index in places]
    ids, lots = [int(one["image_id"]) for one in made], [float(one["image_lot"]) for one in made]
    assert ids[0] == ids[2] != ids[1] and min(ids) >= 0 and maker.together == 4
    assert len({*lots, *(float(one["text_lot"]) for one in made)}) == 6 and all(0 <= lot < 1 for lot in lots)
    assert int(maker(draft(make("b", 3), tokenizer), partial(rng_for, 0))["image_id"]) != ids[0]


def test_a_prompt_stands_before_every_text(make: Make, tokenizer: Tokenizer) -> None:
    dataset = make("a", 3)
    makers = (Text(), Text(prompt="the red"))
    plain, prompted = (maker(draft(dataset, tokenizer), partial(rng_for, 0)) for maker in makers)
    words = tokenizer.encode("the red")[0][1:-1]
    assert prompted["text"].tolist() == [tokenizer.cls, *words, *plain["text"][1:]]
    assert prompted["prompt_length"] == 1 + len(words) and prompted["text_length"] == len(prompted["text"])
    cut = Text(prompt="the red")(draft(dataset, tokenizer, max_length=len(words) + 3), rng_for(0))
    assert cut["text"].tolist() == [tokenizer.cls, *words, plain["text"][1], tokenizer.sep]
    assert "prompt_length" not in plain


def test_no_split_cuts_a_group(make: Make, tokenizer: Tokenizer) -> None:
    dataset = make("a", 3)

    def stream(batch_size: int, **split: int) -> Stream:
        views = {"peers": {"maker": "peers", "of": 4}}
        return Stream([dataset], views, batch_size=batch_size, image=OPTIONS, tokenizer=tokenizer, **split)

    whole = stream(16).micro_batches(1)[0].tensors
    for world, micro_batch in ((1, 4), (1, 8), (2, 8), (2, 4), (4, 16)):
        parts = [
            part.tensors
            for rank in range(world)
            for part in stream(16, rank=rank, world=world, micro_batch=micro_batch).micro_batches(1)
        ]
        assert all(len(part["image_lot"]) % 4 == 0 for part in parts)
        assert np.array_equal(np.concatenate([part["image_lot"] for part in parts]), whole["image_lot"])
    for world, micro_batch in ((1, 6), (8, 16), (2, 3)):
        with pytest.raises(VltkError, match="wants groups of 4 of the step's 16 in one piece: set micro_batch to a"):
            stream(16, world=world, micro_batch=micro_batch)
    assert stream(3).slices == [range(3)]
    with pytest.raises(VltkError, match="micro-batches of 1 samples, but .* wants groups of 3 of the step's 3"):
        stream(3, micro_batch=2)
