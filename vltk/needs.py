"""What a command would read and the machine lacks, said in seconds: nothing here imports torch."""

from __future__ import annotations

from vltk import __version__
from vltk.data.build import missing
from vltk.data.dataset import data_root, dataset_names
from vltk.data.text import vocabulary_steps
from vltk.data.tokenizer_file import find
from vltk.errors import Missing
from vltk.recipe import Recipe

Steps = list[tuple[str, str]]
DATA_OPTIONS = [("data",), ("train",), ("test",)]  # of protocols: what names a data set


def require_data(recipe: Recipe) -> None:
    """Raises Missing with all that the recipe reads and the data folder lacks."""
    if steps := missing_data(recipe):
        raise Missing(f"{recipe.name} needs data that is not in {data_root()}; missing:", steps)


def missing_data(recipe: Recipe) -> Steps:
    """Each data set and vocabulary that is not on disk, with the command that brings it; opens none."""
    steps = dict.fromkeys(missing(_datasets(recipe)))
    for vocab in {stage.tokenizer.vocab: None for stage in recipe.stages.values() if stage.tokenizer}:
        if find(vocab) is None:
            steps |= dict.fromkeys(vocabulary_steps(vocab))
    return _grouped(list(steps))


def captioning() -> Steps:
    """What `vltk capfilt` lacks here, and what does run."""
    steps = [(f"captioning and filtering: not in vltk {__version__}; what runs instead:", "vltk train flava-tiny")]
    if not dataset_names():
        steps.append(("image-text pairs, of yours or generated", "vltk data fetch shapes"))
    return steps


def _datasets(recipe: Recipe) -> list[str]:
    """Every data set that a stage trains on or evaluates on, once."""
    names = [name for stage in recipe.stages.values() for stream in stage.streams.values() for name in stream.data]
    for tree in recipe.trees.values():  # the options of parts may not have been looked at
        for loc, child in tree.walk():
            if loc[:2] == ("evaluate", "tasks") and loc[3:] in DATA_OPTIONS and isinstance(child.value, str):
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
