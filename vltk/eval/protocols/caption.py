"""Captions that a run writes, against those of people: CIDEr, BLEU, ROUGE-L; CLIPScore; METEOR and SPICE with Java.

As BLIP evaluates its captioner (arXiv 2201.12086 section 5.2, configs/caption_coco.yaml): beam search with 3 beams,
5 to 20 tokens, the prompt included.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from vltk.caption.decoding import Decoding
from vltk.data.shapes.scene import Scene, scene_of
from vltk.errors import Missing
from vltk.eval.answers import Answers
from vltk.eval.metrics import captions as metrics
from vltk.eval.metrics import java as in_java
from vltk.eval.metrics import scenes as in_scenes
from vltk.eval.results import Score

if TYPE_CHECKING:  # features imports torch: seconds that a message about missing data must not cost
    from vltk.eval.features import Samples, Subject

Count = Annotated[int, Field(gt=0)]
Limit = Annotated[int | None, Field(gt=0)]
CIDER, ROUGE, METEOR, SPICE = "CIDEr", "ROUGE-L", "METEOR", "SPICE"
BLEU = [f"BLEU-{n}" for n in metrics.SIZES]
CLIPSCORE, REF_CLIPSCORE = "CLIPScore", "RefCLIPScore"
UNIQUE, WORDS = "unique captions", "words a caption"
NEAREST = f"{CIDER} of the nearest caption"
WEIGHT, DEPICTS = 2.5, "A photo depicts "  # Hessel et al., arXiv 2104.08718


class Caption:
    """Metrics in percent of one caption an image of `data`, against all its texts (`captions`: the first so many).

    `method` and the options below it say how it is written. `java`: with METEOR and SPICE, and with Penn Treebank's
    tokens, as published results have them. `towers`: a run by whose embeddings CLIPScore is computed. `nearest`: a
    data set of pairs; the baseline is then the caption of its image that is most similar by the run's own encoder.
    Where the data describes its scenes, as `shapes` does: how many captions say the truth about them.
    """

    def __init__(
        self,
        *,
        data: str,
        limit: Limit = None,
        captions: Count | None = None,
        batch_size: Count = 64,
        framing: Literal["squash", "crop"] = "squash",
        method: Literal["nucleus", "beam"] = "beam",
        beams: Count = 3,
        length_penalty: float = 1.0,
        top_p: Annotated[float, Field(gt=0, le=1)] = 0.9,
        temperature: Annotated[float, Field(gt=0)] = 1.0,
        min_length: Annotated[int, Field(ge=0)] = 5,
        max_length: Count = 20,
        repetition_penalty: Annotated[float, Field(gt=0)] = 1.0,
        no_repeat_ngram: Annotated[int, Field(ge=0)] = 0,
        java: bool = False,
        towers: str | None = None,
        nearest: str | None = None,
    ) -> None:
        self.data, self.limit, self.captions, self.batch_size = data, limit, captions, batch_size
        self.framing, self.java, self.towers, self.nearest = framing, java, towers, nearest
        self.decoding = Decoding(
            method=method,
            beams=beams,
            length_penalty=length_penalty,
            top_p=top_p,
            temperature=temperature,
            min_length=min_length,
            max_length=max_length,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram=no_repeat_ngram,
        )

    @property
    def data_sets(self) -> list[str]:
        return [self.data, *([self.nearest] if self.nearest else [])]

    @property
    def needs(self) -> list[str]:
        """Abilities of the model."""
        return ["caption"]

    @property
    def absent(self) -> list[tuple[str, str]]:
        """What it needs besides data and is not there."""
        from vltk import run

        steps = in_java.absent() if self.java else []
        if self.towers:
            try:
                run.find_source(self.towers)
            except Missing as error:
                steps += error.steps
        return steps

    @property
    def metrics(self) -> list[str]:
        names = [CIDER, *BLEU, ROUGE, *([METEOR, SPICE] if self.java else [])]
        names += [CLIPSCORE, REF_CLIPSCORE] if self.towers else []
        return [*names, *([NEAREST] if self.nearest else []), UNIQUE, WORDS, *in_scenes.METRICS]

    def __call__(self, subject: Subject) -> list[Score]:
        """Raises VltkError naming the sample without image or text, or where the model has no decoder."""
        samples = subject.samples(self.data, self.limit)
        texts = self._written(subject, samples)
        given = [samples.source.read_texts(int(place)) for place in samples.positions]
        references = [one.texts[: self.captions] for one in given]
        score = partial(_score, samples.split, {"tokens": "Penn Treebank" if self.java else "words"})
        told, wanted = self._tokens(texts, references)
        scores = _by_words(score, told, wanted, texts)
        if self.java:
            for name, measure in ((METEOR, in_java.meteor), (SPICE, in_java.spice)):
                value, each = measure(told, wanted)
                scores.append(score(name, each, value))
        if self.towers:
            scores += self._clip_scores(score, subject, texts, references)
        if self.nearest:
            scores.append(self._nearest(score, subject, samples, references))
        scores += [score(UNIQUE, 100 * _firsts(texts)), score(WORDS, np.array([len(one) for one in told]))]
        return [*scores, *_by_scenes(partial(_score, samples.split, {}), texts, [scene_of(one.facts) for one in given])]

    def _written(self, subject: Subject, samples: Samples) -> list[str]:
        """A caption an image."""
        from vltk.caption.generate import Writer

        trained = subject.trained
        writer = Writer(subject.model(), trained.tokenizer, self.decoding, subject.seed, f"the run {trained.name}")
        texts: list[str] = []
        for keys, images in samples.images(self.batch_size, self.framing):
            texts += [found[0].text for found in writer.write(images.to(subject.device), keys)]
            subject.watch("captions", len(texts), len(samples))
        return texts

    def _tokens(self, texts: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Any, Any]:
        """Of the captions, and of the references of each."""
        cut = in_java.tokens if self.java else lambda every: [metrics.words(text) for text in every]
        every = iter(cut([*texts, *(text for own in references for text in own)]))
        told = [next(every) for _ in texts]
        return told, [[next(every) for _ in own] for own in references]

    def _clip_scores(
        self, score: Any, subject: Subject, texts: Sequence[str], references: Sequence[Sequence[str]]
    ) -> list[Score]:
        """CLIPScore, and its harmonic mean with the cosine to the most similar reference (Hessel et al.)."""
        from vltk import run
        from vltk.eval.features import Subject as Towers

        assert self.towers is not None
        trained = run.load(self.towers)
        trained.model.to(subject.device).eval()
        towers = Towers(trained, subject.seed, subject.library)
        samples = towers.samples(self.data, self.limit)
        images = samples.image_embeddings(self.batch_size, self.framing)
        said = samples.embedded([DEPICTS + text for text in texts], samples.keys, self.batch_size)
        owner = np.repeat(np.arange(len(references)), [len(own) for own in references])
        every = [DEPICTS + text for own in references for text in own]
        theirs = samples.embedded(every, [samples.keys[one] for one in owner], self.batch_size)
        to_image = 100 * WEIGHT * np.maximum((images * said).sum(1), 0).astype(np.float64)
        best = np.zeros(len(texts))
        np.maximum.at(best, owner, (said[owner] * theirs).sum(1).astype(np.float64))
        both = 2 * to_image * 100 * best / np.maximum(to_image + 100 * best, 1e-12)
        return [score(CLIPSCORE, to_image), score(REF_CLIPSCORE, both)]

    def _nearest(self, score: Any, subject: Subject, samples: Samples, references: Sequence[Sequence[str]]) -> Score:
        """CIDEr of the first caption of the image of `nearest` whose CLS is most similar, by cosine."""
        assert self.nearest is not None
        known = subject.samples(self.nearest)
        rows = [_normed(one.image_features(self.batch_size, framing=self.framing)) for one in (samples, known)]
        chosen = (rows[0] @ rows[1].T).argmax(1)
        texts = [known.source.read_texts(int(known.positions[place])).texts[0] for place in chosen]
        told, wanted = self._tokens(texts, references)
        return score(NEAREST, metrics.cider(told, wanted), texts=texts)


def _by_words(score: Any, told: Any, wanted: Any, texts: Sequence[str]) -> list[Score]:
    found = [score(CIDER, metrics.cider(told, wanted), texts=texts)]
    found += [
        score(name, None, value, n=len(told)) for name, value in zip(BLEU, metrics.bleu(told, wanted), strict=True)
    ]
    return [*found, score(ROUGE, metrics.rouge(told, wanted))]


def _by_scenes(score: Any, texts: Sequence[str], scenes: Sequence[Scene | None]) -> list[Score]:
    """Nothing where not every sample has a scene; of a kind without answers, as each run says it of other samples."""
    known = [scene for scene in scenes if scene is not None]
    if len(known) < len(texts):
        return []
    found = in_scenes.judged(texts, known)
    whole = [score(name, found.pop(name)) for name in (in_scenes.EXACT, in_scenes.READABLE)]
    return whole + [score(name, None, values.mean(), n=len(values)) for name, values in found.items()]


def _score(
    split: str,
    detail: dict[str, Any],
    name: str,
    each: Any,
    value: float | None = None,
    n: int | None = None,
    texts: Sequence[str] | None = None,
) -> Score:
    """A metric from its values (N,), whose mean it is where no `value` is given."""
    if each is None:
        return Score(split, name, float(value or 0.0), n or 0, detail=detail)
    columns = {"values": np.asarray(each, np.float64)} | ({"texts": np.array(texts)} if texts is not None else {})
    mean = float(columns["values"].mean()) if value is None else value
    return Score(split, name, mean, len(each), detail=detail, answers=Answers(name, columns))


def _firsts(texts: Sequence[str]) -> Any:
    """(N,) 1 where a text is said for the first time."""
    first = np.zeros(len(texts))
    first[np.unique(np.array(texts), return_index=True)[1]] = 1
    return first


def _normed(rows: Any) -> Any:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
