"""Class names in the order of their numbers, where the official files do not hold them: `names/NAME.txt`."""

from __future__ import annotations

from importlib.resources import files


def names(title: str) -> dict[str, str]:
    """What the official files call each class (a folder, a code, a number) to its English name."""
    listed = (files("vltk.eval.datasets") / "names" / f"{title}.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in listed)


def words(name: str) -> str:
    """`AnnualCrop`, `apply_make_up` as words in lower case."""
    return "".join(f" {letter}" if letter.isupper() else letter for letter in name).replace("_", " ").strip().lower()
