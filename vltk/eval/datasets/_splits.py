"""The four splits of a vision data set: what the files have is read and checked once, the others are made from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from threading import RLock

import numpy as np

from vltk.errors import VltkError
from vltk.eval.datasets._rules import held_out
from vltk.eval.datasets._samples import Samples
from vltk.strict import suggest

SPLITS = ("train", "validation", "trainval", "test")
THREE = ("train", "validation", "test")
TWO = ("trainval", "test")
ALLOW = "--allow-nonstandard"


class Splits:
    """`train` and `validation` choose a penalty, `trainval` (both) is what the last fit sees, `test` is scored once.

    `read` gives a split of `own`, the names that the files have. Where they have no validation, a fifth of each class
    of trainval is held out (`_rules.held_out`), whole groups of it where `group` names the group of a key.
    """

    def __init__(
        self,
        title: str,
        classes: Sequence[str],
        counts: Mapping[str, int],
        read: Callable[[str], Samples],
        *,
        own: Sequence[str],
        nonstandard: bool,
        group: Callable[[str], str] | None = None,
    ) -> None:
        self.title, self.classes, self.counts = title, classes, counts
        self.own, self.nonstandard, self.group = own, nonstandard, group
        self._read = read
        self._kept: dict[str, Samples] = {}
        self._lock = RLock()
        self._count("classes", len(classes), "its lists of classes")

    def get(self, name: str) -> Samples:
        """Raises VltkError for a name that does not exist, another count than the official one, labels out of range."""
        if name not in SPLITS:
            raise VltkError(f"{self.title} has no split '{name}'{suggest(name, SPLITS)}")
        with self._lock:
            if name not in self._kept:
                made = self._made(name)
                if not len(made):
                    raise VltkError(f"{self.title} {name}: no samples in {made.source}")
                self._kept[name] = made
            return self._kept[name]

    def _made(self, name: str) -> Samples:
        if name in self.own:
            return self._checked(name)
        if name == "trainval":
            return self.get("train").joined(name, self.get("validation"))
        whole = self.get("trainval")
        seed = f"vltk {self.title} validation 1"
        held = held_out(whole.keys, whole.labels, seed, self.group)
        groups = " in whole groups" if self.group else ""
        rule = f"a fifth of each class held out{groups}, seed '{seed}'"
        if whole.rule:
            rule = f"{whole.rule}; of it {rule}"
        return whole.part(name, held if name == "validation" else ~held, rule)

    def _checked(self, name: str) -> Samples:
        samples = self._read(name)
        self._count(name, len(samples), samples.source)
        if len(set(samples.keys)) < len(samples.keys):
            key, times = Counter(samples.keys).most_common(1)[0]
            raise VltkError(f"{self.title} {name}: {key} is there {times} times in {samples.source}")
        wrong = np.flatnonzero((samples.labels < 0) | (samples.labels >= len(self.classes)))
        if len(wrong):
            key, label = samples.keys[wrong[0]], samples.labels[wrong[0]]
            raise VltkError(
                f"{self.title} {name}: the label of {key} in {samples.source} is {label} (counted from 0), but there "
                f"are {len(self.classes)} classes; {len(wrong):,} labels are out of range"
            )
        return samples

    def _count(self, name: str, found: int, source: str) -> None:
        official = self.counts.get(name)
        if official is not None and found != official and not self.nonstandard:
            what = "has" if name == "classes" else f"{name} has"
            things = "classes" if name == "classes" else "samples"
            raise VltkError(
                f"{self.title} {what} {found:,} {things} in {source}, but {official:,} officially: these are cut, or "
                f"another data set. {ALLOW} takes them as they are, and marks the results"
            )
