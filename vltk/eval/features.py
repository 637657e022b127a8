"""A trained model as the protocols see it: encoded samples of a data set, each encoded once for all tasks.

Everything runs in fp32 and is checked to be finite; a sample that cannot be encoded stops the task by its key.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vltk.data.batch import padded
from vltk.data.image import BadImage, evaluation_image
from vltk.errors import VltkError
from vltk.eval.content import weights_digest
from vltk.eval.sources import Label, Library, Sharded
from vltk.eval.store import FeatureStore, in_memory
from vltk.models import inference

if TYPE_CHECKING:
    from vltk.data.text import Tokenizer
    from vltk.data.tokens import TokenDataset
    from vltk.run import Trained

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Framing = Literal["squash", "crop"]
Watch = Callable[[str, int, int], None]  # what is done, of how many samples so many

THREADS = min(8, os.cpu_count() or 1)  # decoding releases the GIL
CLS, EMBEDDING = "cls", "embedding"


class Subject:
    """The model under evaluation, the seed of everything that is drawn, and what has been encoded so far.

    `library` finds data sets; `store` keeps encodings on disk (None: in memory alone); `features` names, by data set,
    all that tasks will ask for, which is made in one pass; `watch` is told how far the encoding is.
    """

    def __init__(
        self,
        trained: Trained,
        seed: int = 0,
        library: Library | None = None,
        store: FeatureStore | None = None,
        features: Mapping[str, Sequence[str]] | None = None,
        watch: Watch = lambda what, done, total: None,
    ) -> None:
        self.trained, self.seed = trained, seed
        self.library, self.store, self.watch = library or Library(), store, watch
        self.features = features or {}
        self._samples: dict[tuple[str, int | None], Samples] = {}
        self._untrained: nn.Module | None = None
        self._digests: dict[bool, str] = {}

    def samples(self, data: str, limit: int | None = None) -> Samples:
        """The data set `data`, or `limit` samples of it drawn by the seed. Raises Missing when it is absent."""
        if (data, limit) not in self._samples:
            self._samples[data, limit] = Samples(self, data, limit)
        return self._samples[data, limit]

    def forget(self) -> None:
        """Lets go of what is in memory; the store has the encodings."""
        self._samples.clear()
        self.library.forget()

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

    def weights(self, random_weights: bool = False) -> str:
        """What these weights are, as a digest."""
        if random_weights not in self._digests:
            self._digests[random_weights] = weights_digest(self.model(random_weights))
        return self._digests[random_weights]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All of the model that decides a result."""
        trained = self.trained
        return {
            "weights": self.weights(),
            "model": trained.stage.model.model_dump(mode="json"),
            "image_size": trained.image.size,
            "tokenizer": getattr(trained.tokenizer, "digest", None),
            "text_length": getattr(trained.tokenizer, "max_length", None),
        }

    def require(self, *verbs: str) -> None:
        """Raises VltkError when the model does not answer one of these verbs, or has no encoder to answer it with."""
        model, name = self.trained.model, self.trained.name
        for verb in verbs:
            own = verb.rpartition("_")[2].removesuffix("s")  # embed_text, encode_images: of the text, of the image
            encoder = "fusion" if verb == "match" else own
            if not hasattr(model, verb):
                what = (
                    "a codebook, which only the task tokenizer scores" if hasattr(model, "codes") else f"without {verb}"
                )
                last = name.partition("/")[0]
                raise VltkError(f"the run {name} is {what}: give a stage with encoders, as vltk eval {last}")
            if getattr(model, encoder, True) is None:
                raise VltkError(f"the run {name} has no {encoder} encoder, which this task needs")

    def never_trained(self, parts: Sequence[str]) -> list[str]:
        """Those parts of the model of which nothing has been trained; none of a freshly initialised one."""
        trained = self.trained
        found = []
        for part in parts if not trained.fresh else []:
            own = [name for name, _ in trained.model.named_parameters() if f"{name}.".startswith(f"{part}.")]
            if own and trained.untrained.issuperset(own):
                found.append(part)
        return found

    @property
    def device(self) -> torch.device:
        return next(self.trained.model.parameters()).device


class Samples:
    """Chosen samples of one data set and their encodings: numpy float32, in the order of the data set."""

    def __init__(self, subject: Subject, data: str, limit: int | None) -> None:
        self.subject, self.data = subject, data
        self.source = subject.library.open(data)
        self.positions = drawn(len(self.source), limit, subject.seed, self.source.strata)
        self.split = self.source.split
        self._encoded: dict[tuple[Any, ...], Floats] = {}

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def keys(self) -> list[str]:
        return [self.source.key(position) for position in self.positions.tolist()]

    def image_features(
        self, batch_size: int, random_weights: bool = False, feature: str = CLS, framing: Framing = "squash"
    ) -> Floats:
        """(n, D): the image encoder's CLS after the final norm (`cls`), or another of inference.image_encodings."""
        self.subject.require("encode_images")
        if feature == EMBEDDING:
            self.subject.require("embed_image", "embed_text")
        key = (feature, random_weights, framing)
        if key not in self._encoded:
            self._encoded[key] = self._images(feature, random_weights, framing, batch_size)
        return self._encoded[key]

    def image_embeddings(self, batch_size: int, framing: Framing = "squash") -> Floats:
        """(n, E), normalised."""
        return self.image_features(batch_size, feature=EMBEDDING, framing=framing)

    def text_embeddings(self, captions: int | None, batch_size: int) -> tuple[Floats, Ints]:
        """(m, E) normalised, of the first `captions` texts of each sample, and (m,) the sample that each belongs to."""
        texts, owner, keys = self.texts(captions)
        return self.embedded(texts, keys, batch_size), owner

    def texts(self, captions: int | None) -> tuple[list[str], Ints, list[str]]:
        """The first `captions` texts of each sample (None: all); their samples, 0 to n - 1, and the keys of those."""
        texts, owner, keys = [], [], []
        for index, position in enumerate(self.positions.tolist()):
            sample = self.source.read_texts(position)
            if not sample.texts:
                raise VltkError(f"{self.data}: sample {sample.key!r} has no text")
            for text in sample.texts[:captions]:
                texts.append(text)
                owner.append(index)
                keys.append(sample.key)
        return texts, np.array(owner), keys

    def embedded(self, texts: Sequence[str], keys: Sequence[str], batch_size: int) -> Floats:
        """(m, E) normalised, of texts that messages call by `keys`."""
        subject = self.subject
        subject.require("embed_image", "embed_text")
        tokenizer = self._tokenizer()

        def make(first: int, last: int, names: Sequence[str]) -> dict[str, Floats]:
            ids = [tokenizer.encode(text)[0] for text in texts[first:last]]
            order = sorted(range(len(ids)), key=lambda index: len(ids[index]))  # alike lengths together: little padding
            parts = []
            for group in groups(order, batch_size):
                parts.append(self._encode_texts([ids[index] for index in group]))
                subject.watch("texts", first + sum(map(len, parts)), len(texts))
            rows = np.concatenate(parts)[np.argsort(order)]
            return {EMBEDDING: self._finite(rows, keys[first:last])}

        if subject.store is None:
            return in_memory(EMBEDDING, len(texts), make)
        said = hashlib.sha256("".join(f"{text}\0" for text in texts).encode()).hexdigest()
        return subject.store.get({**subject.identity, "texts": said}, EMBEDDING, keys, make)

    def token_ids(self, captions: int) -> dict[tuple[int, int], Ints]:
        """`[CLS] ... [SEP]` of the first `captions` texts of each sample, by its position and the text's number.

        Texts are cut to the longest that the run was trained on. Raises VltkError where another tokenizer made them.
        """
        tokenizer, stage = self._tokenizer(), self.subject.trained.stage
        longest = max(tokenizer.max_length, *(stream.max_length or 0 for stream in stage.streams.values()))
        found = {}
        for position in self.positions.tolist():
            sample = self.source.read_texts(position)
            if sample.ids is not None:
                cast("TokenDataset", cast(Sharded, self.source).dataset).check(tokenizer, longest)
                found[position, 0] = np.array([tokenizer.cls, *sample.ids, tokenizer.sep], np.int64)
                continue
            if not sample.texts:
                raise VltkError(f"{self.data}: sample {sample.key!r} has no text")
            for number, text in enumerate(sample.texts[:captions]):
                found[position, number] = tokenizer.encode(text, longest)[0]
        return found

    def labels(self, field: str) -> list[Label]:
        """The field of each sample's JSON, as text; of official data sets the number of the class."""
        return [self.source.label(int(position), field) for position in self.positions]

    def images(self, batch_size: int, framing: Framing = "squash") -> Iterator[tuple[list[str], Tensor]]:
        """Keys and images (b, 3, S, S) uint8 of each batch; the next one is decoded while this one is encoded."""
        yield from self._decoded(self.positions.tolist(), batch_size, framing)

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

    def _images(self, feature: str, random_weights: bool, framing: Framing, batch_size: int) -> Floats:
        subject, model = self.subject, self.subject.model(random_weights)
        positions = self.positions.tolist()

        def make(first: int, last: int, names: Sequence[str]) -> dict[str, Floats]:
            keys: list[str] = []
            parts: dict[str, list[Floats]] = {name: [] for name in names}
            for batch_keys, images in self._decoded(positions[first:last], batch_size, framing):
                keys += batch_keys
                found = inference.image_encodings(model, images.to(subject.device), names)
                for name in names:
                    parts[name].append(_numpy(found[name]))
                subject.watch("images", first + len(keys), len(self))
            return {name: self._finite(np.concatenate(rows), keys) for name, rows in parts.items()}

        if subject.store is None:
            return in_memory(feature, len(self), make)
        facts = {**subject.identity, "weights": subject.weights(random_weights), "framing": framing}
        facts |= {"dtype": "float32", **self.fingerprint}
        also = () if random_weights else self.subject.features.get(self.data, ())
        return subject.store.get(facts, feature, self.keys, make, also)

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What the chosen samples are."""
        whole = len(self) == len(self.source)
        chosen = None if whole else hashlib.sha256(self.positions.astype("<i8").tobytes()).hexdigest()
        return {**self.source.fingerprint, "chosen": chosen, "n": len(self)}

    def _decoded(self, positions: list[int], batch_size: int, framing: Framing) -> Iterator[tuple[list[str], Tensor]]:
        with ThreadPoolExecutor(THREADS) as pool:
            waiting: list[Future[tuple[str, NDArray[np.uint8]]]] = []
            for group in [*groups(positions, batch_size), []]:
                ready, waiting = waiting, [pool.submit(self._image, position, framing) for position in group]
                if ready:
                    keys, images = zip(*(future.result() for future in ready), strict=True)
                    yield list(keys), torch.from_numpy(np.stack(images))

    def _image(self, position: int, framing: Framing) -> tuple[str, NDArray[np.uint8]]:
        sample = self.source.read(position)
        if sample.image is None:
            raise VltkError(f"{self.data}: sample {sample.key!r} has no image")
        try:
            return sample.key, evaluation_image(sample.image, self.subject.trained.image.size, framing == "crop")
        except BadImage as error:
            raise VltkError(f"{self.data}: the image of sample {sample.key!r} cannot be decoded: {error}") from error

    def _finite(self, encoded: Floats, keys: Sequence[str]) -> Floats:
        """`encoded` (n, D) as it is; raises VltkError at the first row that is not finite."""
        bad = ~np.isfinite(encoded).all(1)
        if bad.any():
            key = keys[int(bad.argmax())]
            raise VltkError(
                f"{self.data}: the encoding of sample {key!r} is not finite ({int(bad.sum())} of {len(keys)} are not): "
                f"the weights of {self.subject.trained.name} at step {self.subject.trained.step} are broken"
            )
        return encoded


def drawn(size: int, limit: int | None, seed: int, strata: NDArray[Any] | None = None) -> Ints:
    """All positions, or `limit` of them drawn without replacement: the first ones may all be of one class.

    With `strata` (N,) each class keeps its share: its samples, in random order, stand evenly between 0 and 1, and the
    `limit` first ones of all are taken.
    """
    if limit is None or limit >= size:
        return np.arange(size)
    rng = np.random.default_rng(seed)
    if strata is None:
        return np.sort(rng.choice(size, limit, replace=False))
    order = rng.permutation(size)
    ranked = order[np.argsort(strata[order], kind="stable")]  # class by class, at random inside each
    _, sizes = np.unique(strata, return_counts=True)
    place = np.concatenate([(np.arange(count) + 0.5) / count for count in sizes])
    return np.sort(ranked[np.lexsort((rng.random(size), place))[:limit]])


def groups(items: list[int], size: int) -> list[list[int]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def _numpy(encoded: Tensor) -> Floats:
    return encoded.float().cpu().numpy()
