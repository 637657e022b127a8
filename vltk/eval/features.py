"""A trained model as the protocols see it: encoded samples of a data set, each encoded once for all tasks.

Everything runs in fp32 and is checked to be finite; a sample that cannot be encoded stops the task by its key.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vltk.data.batch import padded
from vltk.data.image import BadImage, evaluation_image
from vltk.errors import VltkError
from vltk.eval.sources import Library
from vltk.models import inference

if TYPE_CHECKING:
    from vltk.data.text import Tokenizer
    from vltk.data.tokens import TokenDataset
    from vltk.run import Trained

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

THREADS = min(8, os.cpu_count() or 1)  # decoding releases the GIL


class Subject:
    """The model under evaluation, the seed of everything that is drawn, and what has been encoded so far."""

    def __init__(self, trained: Trained, seed: int = 0, library: Library | None = None) -> None:
        self.trained, self.seed = trained, seed
        self.library = library or Library()
        self._samples: dict[tuple[str, int | None], Samples] = {}
        self._untrained: nn.Module | None = None

    def samples(self, data: str, limit: int | None = None) -> Samples:
        """The data set `data`, or `limit` samples of it drawn by the seed. Raises Missing when it is absent."""
        if (data, limit) not in self._samples:
            self._samples[data, limit] = Samples(self, data, limit)
        return self._samples[data, limit]

    def model(self, random_weights: bool = False) -> nn.Module:
        """The model, or the same one freshly initialised by the seed, on the same device."""
        if not random_weights:
            return self.trained.model
        if self._untrained is None:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self.seed)
                built: nn.Module = self.trained.stage.model.build()
            self._untrained = built.to(self.device).eval()
        return self._untrained

    def require(self, *verbs: str) -> None:
        """Raises VltkError when the model does not answer one of these verbs, or has no encoder to answer it with."""
        model, name = self.trained.model, self.trained.name
        for verb in verbs:
            encoder = verb.rpartition("_")[2].removesuffix("s")  # embed_text, encode_images: of the text, of the image
            if not hasattr(model, verb):
                what = (
                    "a codebook, which only the task tokenizer scores" if hasattr(model, "codes") else f"without {verb}"
                )
                last = name.partition("/")[0]
                raise VltkError(f"the run {name} is {what}: give a stage with encoders, as vltk eval {last}")
            if getattr(model, encoder, True) is None:
                raise VltkError(f"the run {name} has no {encoder} encoder, which this task needs")

    @property
    def device(self) -> torch.device:
        return next(self.trained.model.parameters()).device


class Samples:
    """Chosen samples of one data set and their encodings: numpy float32, in the order of the data set."""

    def __init__(self, subject: Subject, data: str, limit: int | None) -> None:
        self.subject, self.data = subject, data
        self.source = subject.library.open(data)
        self.dataset: Any = getattr(self.source, "dataset", None)
        self.positions = _drawn(len(self.source), limit, subject.seed)
        self.split = self.source.split
        self._encoded: dict[str, Floats] = {}

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the chosen samples are."""
        whole = len(self) == len(self.source)
        chosen = None if whole else hashlib.sha256(self.positions.astype("<i8").tobytes()).hexdigest()
        return {**self.source.fingerprint, "chosen": chosen, "n": len(self)}

    def image_features(self, batch_size: int, random_weights: bool = False) -> Floats:
        """(n, D): the image encoder's CLS after the final norm."""
        self.subject.require("encode_images")
        model = self.subject.model(random_weights)
        name = "features at random weights" if random_weights else "features"
        return self._once(name, lambda images: inference.image_features(model, images), batch_size)

    def image_embeddings(self, batch_size: int) -> Floats:
        """(n, E), normalised."""
        self.subject.require("embed_image", "embed_text")
        model = self.subject.model()
        return self._once("embeddings", lambda images: inference.image_embeddings(model, images), batch_size)

    def text_embeddings(self, captions: int, batch_size: int) -> tuple[Floats, Ints]:
        """(m, E) normalised, of the first `captions` texts of each sample, and (m,) the sample that each belongs to."""
        self.subject.require("embed_image", "embed_text")
        texts, owner, keys = self._texts(captions)
        ids = [self._tokenizer().encode(text)[0] for text in texts]
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))  # alike lengths together: little padding
        parts = [self._encode_texts([ids[index] for index in group]) for group in _groups(order, batch_size)]
        embeddings = np.concatenate(parts)[np.argsort(order)]
        return self._finite(embeddings, keys), np.array(owner)

    def token_ids(self, captions: int) -> dict[tuple[int, int], Ints]:
        """`[CLS] ... [SEP]` of the first `captions` texts of each sample, by its position and the text's number.

        Texts are cut to the longest that the run was trained on. Raises VltkError where another tokenizer made them.
        """
        tokenizer, stage = self._tokenizer(), self.subject.trained.stage
        longest = max(tokenizer.max_length, *(stream.max_length or 0 for stream in stage.streams.values()))
        found = {}
        for position in self.positions.tolist():
            sample = self.dataset.read(position)
            if sample.ids is not None:
                cast("TokenDataset", self.dataset).check(tokenizer, longest)
                found[position, 0] = np.array([tokenizer.cls, *sample.ids, tokenizer.sep], np.int64)
                continue
            if not sample.texts:
                raise VltkError(f"{self.data}: sample {sample.key!r} has no text")
            for number, text in enumerate(sample.texts[:captions]):
                found[position, number] = tokenizer.encode(text, longest)[0]
        return found

    def labels(self, field: str) -> list[str]:
        """The field of each sample's JSON, as text."""
        return [self._label(int(position), field) for position in self.positions]

    def _label(self, position: int, field: str) -> str:
        sample = self.dataset.read(position)
        value = sample.meta.get(field)
        if not isinstance(value, str | int | float):
            have = ", ".join(sorted(sample.meta)) or "none"
            raise VltkError(f"{self.data}: sample {sample.key!r} has no label {field!r}; its fields: {have}")
        return str(value)

    def _texts(self, captions: int) -> tuple[list[str], list[int], list[str]]:
        """Texts, their samples (0 to n - 1), and the keys of those."""
        texts, owner, keys = [], [], []
        for index, position in enumerate(self.positions):
            sample = self.dataset.read(int(position))
            if not sample.texts:
                raise VltkError(f"{self.data}: sample {sample.key!r} has no text")
            for text in sample.texts[:captions]:
                texts.append(text)
                owner.append(index)
                keys.append(sample.key)
        return texts, owner, keys

    def _tokenizer(self) -> Tokenizer:
        trained = self.subject.trained
        tokenizer: Tokenizer | None = trained.tokenizer
        if tokenizer is None:
            raise VltkError(f"the run {trained.name} has no tokenizer: it cannot encode the texts of {self.data}")
        return tokenizer

    def _encode_texts(self, ids: list[Ints]) -> Floats:
        """Token ids of b texts -> (b, E)."""
        rows, lengths = padded(ids, self._tokenizer().pad)  # (b, T), (b,)
        device = self.subject.device
        return _numpy(inference.text_embeddings(self.subject.model(), rows.to(device), lengths.to(device)))

    def _once(self, name: str, encode: Callable[[Tensor], Tensor], batch_size: int) -> Floats:
        """The encoding of that name, made at the first call."""
        if name not in self._encoded:
            keys: list[str] = []
            parts = []
            for batch_keys, images in self.images(batch_size):
                keys += batch_keys
                parts.append(_numpy(encode(images.to(self.subject.device))))
            self._encoded[name] = self._finite(np.concatenate(parts), keys)
        return self._encoded[name]

    def images(self, batch_size: int) -> Iterator[tuple[list[str], Tensor]]:
        """Keys and images (b, 3, S, S) uint8 of each batch; the next one is decoded while this one is encoded."""
        with ThreadPoolExecutor(THREADS) as pool:
            waiting: list[Future[tuple[str, NDArray[np.uint8]]]] = []
            for group in [*_groups(self.positions.tolist(), batch_size), []]:
                ready, waiting = waiting, [pool.submit(self._image, position) for position in group]
                if ready:
                    keys, images = zip(*(future.result() for future in ready), strict=True)
                    yield list(keys), torch.from_numpy(np.stack(images))

    def _image(self, position: int) -> tuple[str, NDArray[np.uint8]]:
        sample = self.dataset.read(position)
        if sample.image is None:
            raise VltkError(f"{self.data}: sample {sample.key!r} has no image")
        try:
            return sample.key, evaluation_image(sample.image, self.subject.trained.image.size)
        except BadImage as error:
            raise VltkError(f"{self.data}: the image of sample {sample.key!r} cannot be decoded: {error}") from error

    def _finite(self, encoded: Floats, keys: list[str]) -> Floats:
        """`encoded` (n, D) as it is; raises VltkError at the first row that is not finite."""
        bad = ~np.isfinite(encoded).all(1)
        if bad.any():
            key = keys[int(bad.argmax())]
            raise VltkError(
                f"{self.data}: the encoding of sample {key!r} is not finite ({int(bad.sum())} of {len(keys)} are not): "
                f"the weights of {self.subject.trained.name} at step {self.subject.trained.step} are broken"
            )
        return encoded


def _drawn(size: int, limit: int | None, seed: int) -> Ints:
    """All positions, or `limit` of them drawn without replacement: the first ones may all be of one class."""
    if limit is None or limit >= size:
        return np.arange(size)
    return np.sort(np.random.default_rng(seed).choice(size, limit, replace=False))


def _groups(items: list[int], size: int) -> list[list[int]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def _numpy(encoded: Tensor) -> Floats:
    return encoded.float().cpu().numpy()
