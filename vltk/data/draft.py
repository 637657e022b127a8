"""A sample in the making: what its view makers share (pixels, crop, text, tokens), made once and only when asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.random.bit_generator import ISeedSequence

from vltk.data.dataset import Dataset, Sample
from vltk.data.image import BadSample, Box, CropLike, ImageLike, crop_box, is_whole
from vltk.errors import VltkError

if TYPE_CHECKING:
    from vltk.data.text import Tokenizer
    from vltk.data.tokens import TokenDataset

REDRAWS = 20
Draws = Callable[[], np.random.Generator]  # makes a view's generator at a sample, which begins anew with each call


class _Hashed(ISeedSequence):
    """Seeds a bit generator with a hash: numpy's own mixing of an integer costs more than the draws themselves."""

    def __init__(self, key: tuple[int | str, ...]) -> None:
        self.key = key

    def generate_state(self, n_words: int, dtype: object = np.uint64) -> np.ndarray:
        digest = hashlib.blake2b(repr(self.key).encode(), digest_size=8 * n_words).digest()
        return np.frombuffer(digest, dtype="<u8")


def rng_for(*key: int | str) -> np.random.Generator:
    """A generator that is a pure function of its key."""
    seed = cast(np.random.SeedSequence, _Hashed(key))  # numpy takes any ISeedSequence; its type hints do not say so
    return np.random.Generator(np.random.PCG64(seed))


def fixed_crop(height: int, width: int, options: CropLike, key: str, number: int) -> Box:
    """Crop `number` of the sample of that key, in every run and stream, so that what is made of it can be kept."""
    return crop_box(height, width, options, rng_for(key, number, "crop"))


class Draft:
    """One sample of one step.

    `key` is (seed, attempt, stream): with the position it keys every draw. `place` is (epoch, index in the data set).
    """

    def __init__(
        self,
        sample: Sample,
        dataset: Dataset,
        *,
        key: tuple[int | str, ...],
        position: int,
        place: tuple[int, int],
        step_positions: range,
        decoded: Callable[[Dataset, int, Sample], np.ndarray],
        image: ImageLike,
        tokenizer: Tokenizer | None,
        max_length: int | None,
    ) -> None:
        self.sample, self.dataset = sample, dataset
        self.key, self.position, self.step_positions = key, position, step_positions
        self.epoch, self.index = place
        self._decoded = decoded
        self.image, self._tokenizer, self.max_length = image, tokenizer, max_length
        self._swapped: str | None = None

    def rng(self, purpose: str, position: int | None = None) -> np.random.Generator:
        """The generator of a purpose (a view's name) at this sample's position, or at another one."""
        return rng_for(*self.key, self.position if position is None else position, purpose)

    @cached_property
    def pixels(self) -> np.ndarray:
        """`(H, W, 3)` uint8, the stored image. Raises BadImage."""
        return self._decoded(self.dataset, self.index, self.sample)

    @cached_property
    def crop(self) -> Box:
        """The crop and mirror of this sample, shared by all its views."""
        height, width = self.pixels.shape[:2]
        if is_whole(height, width, self.image):
            return Box(0, 0, height, width)
        if self.image.crops is None:
            return crop_box(height, width, self.image, self.rng("crop"))
        return fixed_crop(height, width, self.image, self.sample.key, self.crop_number)

    @property
    def crop_number(self) -> int:
        """Which of the K fixed crops (`image.crops`) this epoch takes: each once in K epochs, in a drawn order."""
        assert self.image.crops is not None
        return self._turn(self.image.crops, "crops")

    def _turn(self, count: int, purpose: str) -> int:
        """0 to count - 1: each once in `count` epochs of the sample, in an order drawn for that purpose."""
        cycle, turn = divmod(self.epoch, count)
        return int(rng_for(*self.key, self.dataset.name, self.index, cycle, purpose).permutation(count)[turn])

    @property
    def tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            raise VltkError("this stream makes text views: the stage needs `tokenizer: {vocab: ...}` in its recipe")
        return self._tokenizer

    @cached_property
    def text(self) -> str:
        """The text of this epoch: each of a sample's n texts comes once in n epochs, in a drawn order."""
        if self._swapped is not None:
            return self._swapped
        texts = self.sample.texts
        if not texts:
            raise BadSample("no text")
        if len(texts) == 1:
            return texts[0]
        return texts[self._turn(len(texts), "text")]

    def swap_text(self, rng: np.random.Generator) -> None:
        """Take the text of another sample of the data set, never one of this sample's own; before `text` is read."""
        own = set(self.sample.texts)
        count = len(self.dataset)
        start = int(rng.integers(count))
        draws = [start, *rng.integers(count, size=REDRAWS).tolist()]
        for index in chain(draws, ((start + near) % count for near in range(1, count))):
            texts = self.dataset.read(index).texts
            text = texts[int(rng.integers(len(texts)))] if texts else ""
            if text and text not in own:
                self._swapped = text
                return
        raise VltkError(
            f"data set {self.dataset.name}: all its texts are the same, and unmatched pairs need another one"
        )

    @cached_property
    def _tokens(self) -> tuple[np.ndarray, np.ndarray]:
        stored = self.sample.ids if self._swapped is None else None
        ids, words = self.tokenizer.encode(self.text, self.max_length) if stored is None else self._from_stored(stored)
        if len(ids) < 3:
            raise BadSample("a text without tokens")
        return ids, words

    def _from_stored(self, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids and words of a sample that is stored as tokens. Raises VltkError where another tokenizer made them."""
        tokenizer, dataset = self.tokenizer, cast("TokenDataset", self.dataset)
        dataset.check(tokenizer, self.max_length or tokenizer.max_length)
        ids = np.empty(len(stored) + 2, dtype=np.int64)
        ids[0], ids[1:-1], ids[-1] = tokenizer.cls, stored, tokenizer.sep
        ids.setflags(write=False)
        return ids, tokenizer.words_of(ids)

    @property
    def ids(self) -> np.ndarray:
        """`(T,)` int64, `[CLS] ... [SEP]`, read-only."""
        return self._tokens[0]

    @property
    def words(self) -> np.ndarray:
        """`(T,)` int64, the word that each token belongs to, -1 for `[CLS]` and `[SEP]`, read-only."""
        return self._tokens[1]
