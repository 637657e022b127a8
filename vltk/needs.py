"""What a command would read and the machine lacks, said in seconds: nothing here imports torch."""

from __future__ import annotations

from vltk.data.build import missing
from vltk.data.card import card_names
from vltk.data.dataset import data_root, is_on_disk
from vltk.data.text import vocabulary_steps
from vltk.data.tokenizer_file import find
from vltk.errors import Missing
from vltk.recipe import Recipe

Steps = list[tuple[str, str]]
TOKENS = "-tokens"  # the end of the name of a data set that `vltk data tokens` makes of another one
OFFICIAL = "official/"  # data sets as they are distributed: vltk.eval.sources says what is absent of them
DATA_OPTIONS = [("data",), ("train",), ("test",)]  # of protocols: what names a data set


def require_data(recipe: Recipe) -> None:
    """Raises Missing with all that the recipe reads and the data folder lacks."""
    if steps := missing_data(recipe):
        raise Missing(f"{recipe.name} needs data that is not in {data_root()}; missing:", steps)


def missing_data(recipe: Recipe) -> Steps:
    """Each data set and vocabulary that is not on disk, with the command that brings it; opens none."""
    tokens = _token_sets(recipe)
    plain = [name for name in _datasets(recipe) if name not in tokens]
    steps = dict.fromkeys(missing([*plain, *(text for name in tokens if (text := _text_of(name)))]))
    for vocab in {stage.tokenizer.vocab: None for stage in recipe.stages.values() if stage.tokenizer}:
        if find(vocab) is None:
            steps |= dict.fromkeys(vocabulary_steps(vocab))
    steps |= dict.fromkeys(_token_step(name, options) for name, options in tokens.items())  # by that vocabulary
    return _grouped(list(steps))


def _token_sets(recipe: Recipe) -> dict[str, str]:
    """Data sets called NAME-tokens that are not on disk, each with the options that make it fit its stream."""
    found = {}
    for stage in recipe.stages.values():
        for stream in stage.streams.values():
            for name in stream.data:
                if stage.tokenizer and name.endswith(TOKENS) and not is_on_disk(name):
                    length = stream.max_length or stage.tokenizer.max_length
                    found[name] = f"--tokenizer {stage.tokenizer.vocab} --max-length {length}"
    return found


def _text_of(name: str) -> str | None:
    """The data set that NAME-tokens is made of, where NAME is a card or on disk."""
    text = name.removesuffix(TOKENS)
    return text if text in card_names() or is_on_disk(text) else None


def _token_step(name: str, options: str) -> tuple[str, str]:
    """How NAME-tokens is made."""
    text = _text_of(name)
    what = f"the data set {name}: {text} as token ids" if text else f"the data set {name}: running text of yours"
    return what, f"vltk data tokens {text or 'SOURCE'} {name} {options}"


def _datasets(recipe: Recipe) -> list[str]:
    """Every data set that a stage trains on or evaluates on, once."""
    names = [name for stage in recipe.stages.values() for stream in stage.streams.values() for name in stream.data]
    for tree in recipe.trees.values():  # the options of parts may not have been looked at
        for loc, child in tree.walk():
            named = isinstance(child.value, str) and not child.value.startswith(OFFICIAL)
            if loc[:2] == ("evaluate", "tasks") and loc[3:] in DATA_OPTIONS and named:
                names.append(child.value)
    return list(dict.fromkeys(names))


def _grouped(steps: Steps) -> Steps:
    """Steps with one command between them become one."""
    whats: dict[str, list[str]] = {}
    for what, command in steps:
        whats.setdefault(command, []).append(what)
    return [(_joined(texts), command) for command, texts in whats.items()]


def _joined(texts: list[str]) -> str:
    """`a: how`, `b: how` become `a, b: how`."""
    split = [text.partition(": ") for text in texts]
    heads, tails = (list(dict.fromkeys(item[i] for item in split if item[i])) for i in (0, 2))
    return ", ".join(heads) + (f": {'; '.join(tails)}" if tails else "")
