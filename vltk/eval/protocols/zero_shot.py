"""Zero-shot classification: the class whose name, put into sentences, is most similar to the image.

Of each class every sentence is embedded with each of its names; their mean, normalised, stands for the class (CLIP,
arXiv 2103.00020, 3.1.4).
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import Field

from vltk.errors import RecipeError, VltkError
from vltk.eval.answers import Answers
from vltk.eval.content import digest
from vltk.eval.metrics import classification
from vltk.eval.results import Score
from vltk.strict import suggest

if TYPE_CHECKING:  # features imports torch: seconds that a message about missing data must not cost
    from vltk.eval.features import Samples, Subject

Count = Annotated[int, Field(gt=0)]
Limit = Annotated[int | None, Field(gt=0)]
Names = str | Annotated[list[str], Field(min_length=1)]  # of one class
SAME = 1e-6  # cosines closer than this are ties, which count against the model
ACCURACY, PER_CLASS, TOP5 = "zero-shot accuracy", "zero-shot mean per-class accuracy", "zero-shot R@5"


class ZeroShot:
    """Accuracy, mean per-class accuracy and the share within the first five (percent) on `data`, for `label`.

    `templates` is a name of vltk/eval/templates.yaml, or sentences with {} where the name of the class goes. `names`
    says, by the name that the data has for a class, what goes there in its place: another name, or several. Ties count
    against the model. `limit` samples are drawn by the seed (None: all). `framing`: the whole image squashed to a
    square, as FLAVA's processors do, or the square in its middle, as CLIP's.
    """

    def __init__(
        self,
        *,
        data: str,
        label: str,
        templates: str | list[str] = "photo",
        names: dict[str, Names] | None = None,
        limit: Limit = None,
        batch_size: Count = 128,
        framing: Literal["squash", "crop"] = "squash",
    ) -> None:
        self.data, self.label, self.limit, self.batch_size, self.framing = data, label, limit, batch_size, framing
        self.templates, self.names = _sentences(templates), names or {}

    @property
    def data_sets(self) -> list[str]:
        return [self.data]

    @property
    def features(self) -> dict[str, list[str]]:
        """What is read of each data set."""
        return {self.data: ["embedding"]}

    @property
    def needs(self) -> list[str]:
        """Abilities of the model."""
        return ["embedding"]

    @property
    def reads(self) -> list[str]:
        """Parts of the model."""
        return ["image", "text", "image_projection", "text_projection"]

    @property
    def metrics(self) -> list[str]:
        return [ACCURACY, PER_CLASS, TOP5]

    def __call__(self, subject: Subject) -> list[Score]:
        """Raises VltkError naming the sample without label, image or finite embedding; for less than two classes, and
        for `names` of a class that there is not."""
        samples = subject.samples(self.data, self.limit)
        names, labels = self._named(samples)
        if len(names) < 2:
            raise VltkError(f"{self.data}: zero-shot classification needs two classes; have: {', '.join(names)}")
        said = self._said(names)
        images = samples.image_embeddings(self.batch_size, self.framing)  # (N, E)
        cosines = images @ self._classes(samples, said).T  # (N, C)
        right = cosines[np.arange(len(labels)), labels][:, None]
        ranks = (cosines >= right - SAME).sum(1) - 1  # wrong classes at least as similar
        cosines[np.arange(len(labels)), labels] = -np.inf
        margins = right[:, 0] - cosines.max(1)
        cosines[np.arange(len(labels)), labels] = np.where(ranks == 0, np.inf, -np.inf)
        columns = {"predicted": cosines.argmax(1), "labels": labels, "ranks": ranks, "margins": margins}
        answers = Answers("zero-shot", columns)
        return self._scores(samples.split, said, answers)

    def _named(self, samples: Samples) -> tuple[list[str], Any]:
        """Names by class number, and the class numbers of the samples (N,)."""
        labels = samples.labels(self.label)
        known = getattr(samples.source, "classes", None)
        if known:
            return [str(name) for name in known], np.array(labels, np.int64)
        names = sorted(map(str, set(labels)))
        return names, np.array([names.index(str(label)) for label in labels])

    def _said(self, names: list[str]) -> list[Names]:
        """What goes into the sentences, by class number."""
        for name in self.names:
            if name not in names:
                raise VltkError(f"{self.data}: names: no class '{name}'{suggest(name, names)}")
        return [self.names.get(name, name) for name in names]

    def _classes(self, samples: Samples, said: list[Names]) -> Any:
        """(C, E), normalised."""
        each = [[one] if isinstance(one, str) else one for one in said]
        texts = [sentence.replace("{}", name) for own in each for name in own for sentence in self.templates]
        ends = list(accumulate(len(own) * len(self.templates) for own in each))
        embedded = samples.embedded(texts, texts, self.batch_size)
        rows = np.stack([own.mean(0) for own in np.split(embedded, ends[:-1])])
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

    def _scores(self, split: str, said: list[Names], answers: Answers) -> list[Score]:
        predicted, labels, ranks = answers["predicted"], answers["labels"], answers["ranks"]
        n, chance, among = len(labels), 100 / len(said), 100 * min(1.0, 5 / len(said))
        detail = {"classes": len(said), "templates": self.templates, "names_digest": digest({"names": said})}
        return [
            Score(split, ACCURACY, classification.accuracy(predicted, labels), n, chance, detail, answers),
            Score(split, PER_CLASS, classification.mean_per_class(predicted, labels), n, chance, {}, answers),
            Score(split, TOP5, 100 * float((ranks < 5).mean()), n, among, {}, answers),
        ]


def _sentences(templates: str | list[str]) -> list[str]:
    known = _known()
    if isinstance(templates, str):
        if templates not in known:
            raise RecipeError(f"templates: no '{templates}'{suggest(templates, known)}")
        return known[templates]
    if wrong := [sentence for sentence in templates if "{}" not in sentence]:
        raise RecipeError(f"templates: no {{}} for the name of the class in {wrong[0]!r}")
    if not templates:
        raise RecipeError("templates: at least one sentence is wanted")
    return templates


@cache
def _known() -> dict[str, list[str]]:
    content: dict[str, list[str]] = yaml.safe_load((files("vltk.eval") / "templates.yaml").read_text(encoding="utf-8"))
    return content
