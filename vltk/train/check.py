"""What only shows when a stage is built, for all stages at once and before the first one trains.

Models are built without memory; the parts of a stage, and the stages with one another, are compared and rehearsed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

from torch import nn

from vltk.data.dataset import Dataset, open_dataset
from vltk.data.stream import Stream as DataStream
from vltk.data.stream import check_groups, slices_of
from vltk.data.text import Tokenizer, load_tokenizer
from vltk.data.tokens import TokenDataset
from vltk.errors import Missing, RecipeError, VltkError
from vltk.hf import HfFolder
from vltk.models.from_bert import lent
from vltk.models.inference import ABILITIES
from vltk.parts import Choice, Unfit
from vltk.recipe import Found, Recipe, Stage, worded
from vltk.run import checkpoint_at, load_stage, part_of, split_step
from vltk.train.codes import NO_CROPS, VIEW
from vltk.train.engines._mapping import conflicts
from vltk.train.pretraining import leading, merged_views, taught
from vltk.train.rehearsal import Rehearsal, longest
from vltk.train.sources import own_stage, require_finished, source
from vltk.train.start import fit, unlike

SHOWN = 6  # tensors that do not fit
AS_CUT = {VIEW, "codes", "image_for_teacher"}  # views that show the crop as it was cut
WORDY = ("heads.mlm", "heads.mmm_text", "heads.lm")  # that know the vocabulary, as text encoders do
Keys = tuple[str, ...]
Problem = tuple[Keys, str]  # the keys below the stage, what is wrong


def check_mappings(recipe: Recipe) -> None:
    """Of that the `deepspeed` mappings alone, which build nothing: raises RecipeError with their mistakes."""
    _refuse(recipe, lambda name, stage: _deepspeed(recipe, name, stage))


def check_stages(recipe: Recipe) -> None:
    """Raises RecipeError with every mistake, each as `origin: key: what`. Data and runs that are absent are no mistake.

    Reads the headers of data sets, vocabularies and the recipes of runs, no samples and no weights; takes 2 seconds.
    """
    _refuse(recipe, _Check(recipe).stage)


def _refuse(recipe: Recipe, problems: Callable[[str, Stage], Iterator[Problem]]) -> None:
    found: Found = {}
    for name, stage in recipe.stages.items():
        for keys, text in problems(name, stage):
            place = (recipe.origin(name, keys), ".".join(keys), text)
            found.setdefault(place, []).append(name)
    if found:
        everywhere = {origin for origin, _, _ in found} if len(recipe.stages) == 1 else ()
        raise RecipeError(worded(found, everywhere))


@dataclass
class _Check:
    """The recipe, and the models of the stages and runs that were looked at; None where one cannot be built."""

    recipe: Recipe
    rehearsal: Rehearsal = field(default_factory=Rehearsal)
    models: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, Choice] = field(default_factory=dict)  # by values of init and frozen: what the models are
    words: dict[str, list[str]] = field(default_factory=dict)  # by the same values: the vocabulary, where it is there

    def stage(self, name: str, stage: Stage) -> Iterator[Problem]:
        """Every mistake of a stage, whose predecessors were looked at before."""
        yield from self._sources(stage)
        try:
            model = self.models[name] = self.rehearsal.build(stage.model)
        except Exception as error:
            self.models[name] = None
            yield from _unbuilt(error)
            return
        helpers = {helper: self.models.get(value) for helper, value in stage.frozen.items()}
        if (codebook := helpers.get("codes")) is not None and not hasattr(codebook, "codes"):
            value, helpers["codes"] = stage.frozen["codes"], None
            yield ("frozen", "codes"), f"{value} is no codebook but {_described(self.choices[value])}"
        if stage.checkpoint_activations and not any(hasattr(part, "recomputes") for part in model.modules()):
            yield ("checkpoint_activations",), f"{_described(stage.model)} has no transformer blocks; remove it"
        sizes = [*_sizes(stage, model), *_codes(stage, helpers.get("codes"))]
        yield from sizes
        yield from self._init(stage, model)
        yield from _best(stage)
        yield from _tasks(stage, model)
        yield from _deepspeed(self.recipe, name, stage)
        yield from _taken_names(stage)
        built: dict[str, dict[str, Any]] = {stream: {} for stream in stage.streams}
        for stream, parts in built.items():
            yield from self._stream(stage, stream, model, helpers, parts, rehearsed=not sizes)
        yield from _teacher(stage, built)

    def _sources(self, stage: Stage) -> Iterator[Problem]:
        """Makes the models of `init` and `frozen` known by their values; a run that is absent is left out."""
        for keys, value in _values(stage):
            own = own_stage(self.recipe, value)
            step = split_step(value)[1]
            if own is not None:
                self.models[value] = self.models.get(own)
                self.choices[value] = self.recipe.stages[own].model
                self.words[value] = _words(self.recipe.stages[own])
                steps = self.recipe.stages[own].steps
                if own not in self.models:
                    yield keys, f"stage '{own}' is not an earlier one"
                elif step is not None and not 0 < step <= steps:
                    yield keys, f"stage '{own}' has steps 1 to {steps}, given {step}"
            elif value not in self.models:
                try:
                    run = source(self.recipe, value)
                    if isinstance(run, HfFolder):
                        run.model.check()
                    elif run.step is not None:
                        checkpoint_at(run, run.step)
                    else:
                        require_finished(run, value)
                    self.choices[value], self.words[value] = load_stage(run).model, _words_in(run.vocabulary)
                    self.models[value] = self.rehearsal.build(self.choices[value])
                except Missing:
                    continue
                except VltkError as error:
                    yield keys, str(error)

    def _init(self, stage: Stage, model: Any) -> Iterator[Problem]:
        """Every part that `init` names fits its source, in its options, its tensors and its vocabulary."""
        for part, value in stage.init.items():
            try:
                module = model.get_submodule(part)
            except AttributeError:
                have = ", ".join(name for name, _ in model.named_children())
                yield ("init", part), f"the model has no part '{part}'; have: {have}"
                continue
            if (before := self.models.get(value)) is None:
                continue
            loan = lent(stage.model, self.choices[value], before.state_dict())
            wrong = [*unlike(stage.model, loan.model, part)]
            wrong = wrong or fit(module, part_of(loan.weights, part), loan.new).problems
            if part.partition(".")[0] == "text" or part in WORDY:
                wrong += _other_words(_words(stage), self.words[value])
            if wrong:
                more = [f"... and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
                lines = "\n    ".join([*wrong[:SHOWN], *more])
                yield ("init", part), f"the weights of {value} do not fit:\n    {lines}"

    def _stream(
        self, stage: Stage, name: str, model: Any, helpers: dict[str, Any], parts: dict[str, Any], rehearsed: bool
    ) -> Iterator[Problem]:
        """Its objectives (`parts`, filled here) with the model, their views with one another and with the data."""
        options, here = stage.streams[name], ("streams", name)
        known = {helper: part for helper, part in helpers.items() if part is not None}
        unknown = len(known) < len(helpers)
        for objective, choice in options.objectives.items():
            try:
                parts[objective] = self.rehearsal.build(choice, model=model, steps=stage.steps, **known)
            except Exception as error:
                if not unknown:
                    yield (*here, "objectives", objective), _worded(error, stage)
        if not parts:
            return
        data = _on_disk(list(options.data))
        try:
            views = merged_views(name, parts)
            stream = self.rehearsal.stream(name, stage, views)
            if data:
                DataStream(data, views, batch_size=options.batch_size, world=_devices(), image=stage.image, name=name)
            if options.batch_size % _devices() == 0:
                slices = slices_of(options.batch_size, stage.micro_batch, 0, _devices())
                check_groups(name, stream.makers, options.batch_size, slices)
            batch = stream.micro_batches(0)[0].tensors
        except RecipeError as error:
            yield from ((here, problem.removeprefix(f"streams.{name}: ")) for problem in error.problems)
            return
        except VltkError as error:
            yield here, str(error)
            return
        if VIEW in views and stage.loader.codes == "make" and stage.image.crops is None:
            yield ("loader", "codes"), f"make given, but image.crops is not set: {NO_CROPS}"
        if stage.image.randaugment and (still := sorted(AS_CUT & views.keys())):
            told = f"moves what the image shows, but stream {name} sets {', '.join(still)} beside it, patch by patch"
            yield ("image", "randaugment"), f"{told}: set image.randaugment=null"
        yield from _too_few(stage, name, parts, data)
        for objective, part in parts.items() if stage.deepspeed is not None else ():
            if getattr(part, "moves_parameters", False):
                yield (*here, "objectives", objective), "writes parameters itself, beside DeepSpeed: set deepspeed=null"
        too_long = [*_lengths(stage, name, stream, model), *_token_sets(stage, name, stream, data)]
        yield from too_long
        if rehearsed and not too_long:
            codes = known["codes"].codes if "codes" in known else None
            for objective, text in self.rehearsal.problems(model, parts, codes, batch).items():
                keys = (*here, "objectives", objective) if objective else here
                yield keys, f"cannot be computed with {_described(stage.model)}: {text}"


def _deepspeed(recipe: Recipe, name: str, stage: Stage) -> Iterator[Problem]:
    """What the mapping sets beside the recipe, with the place of the recipe's own key, and what no stage can do."""
    for found in conflicts(stage.deepspeed or {}):
        ours = (found.ours or "").partition(".<name>")[0]
        place = f" ({ours}: {recipe.origin(name, tuple(ours.split('.')))})" if ours else ""
        yield ("deepspeed", *found.key.split(".")), found.text + place


def _values(stage: Stage) -> Iterator[tuple[Keys, str]]:
    yield from ((("init", part), value) for part, value in stage.init.items())
    yield from ((("frozen", helper), value) for helper, value in stage.frozen.items())


def _unbuilt(error: Exception) -> Iterator[Problem]:
    """Problems that begin with the key of an option below `model` stand there."""
    if not isinstance(error, RecipeError):
        yield ("model",), f"cannot be built: {type(error).__name__}: {error}"
        return
    for problem in error.problems:
        key, _, text = problem.partition(": ")
        yield (("model", *key.split(".")), text) if text and " " not in key else (("model",), problem)


def _taken_names(stage: Stage) -> Iterator[Problem]:
    """Streams and objectives are parts of a torch module by their names, some of which it has itself."""
    module = nn.ModuleDict()
    for name, stream in stage.streams.items():
        below = ((("streams", name, "objectives", objective), objective) for objective in stream.objectives)
        for keys, word in ((("streams", name), name), *below):
            if "." in word or hasattr(module, word):
                what = "has a dot" if "." in word else "is an attribute of torch's modules"
                yield keys, f"the name '{word}' {what}: take another one"


def _teacher(stage: Stage, streams: dict[str, dict[str, Any]]) -> Iterator[Problem]:
    """The objectives of all streams that learn from a teacher share one, which may be what the stage ends with."""
    try:
        leading({name: taught(parts) for name, parts in streams.items()}, stage.average)
    except RecipeError as error:
        for problem in error.problems:
            key, _, text = problem.partition(": ")
            yield tuple(key.split(".")), text


def _sizes(stage: Stage, model: Any) -> Iterator[Problem]:
    """The image and the vocabulary that the stage gives, against those that the model takes."""
    size = getattr(getattr(model, "image", None), "image_size", None)
    if size not in (None, stage.image.size):
        yield ("image", "size"), f"{stage.image.size} given, but model.image.image_size is {size}"
    text = getattr(model, "text", None)
    room, marks = getattr(text, "vocab", None), list(getattr(text, "marks", ()))
    if room is None or stage.tokenizer is None:
        return
    try:
        words = load_tokenizer(stage.tokenizer).tokens
    except Missing:
        return
    except VltkError as error:
        yield ("tokenizer", "vocab"), str(error)
        return
    behind = [] if words[len(words) - len(marks) :] == marks else marks
    if (tokens := len(words) + len(behind)) > room:
        beside = f" beside {' and '.join(behind)}" if behind else ""
        fix = f"has {len(words)} entries{beside}; set model.text.vocab={tokens}"
        yield ("model", "text", "vocab"), f"{room} given, but the vocabulary {stage.tokenizer.vocab} {fix}"


def _codes(stage: Stage, codebook: Any) -> Iterator[Problem]:
    """The heads' visual vocabulary, against that of the frozen codebook."""
    ours, theirs = getattr(stage.model, "codes", None), getattr(codebook, "num_codes", None)
    if None not in (ours, theirs) and ours != theirs:
        yield ("model", "codes"), f"{ours} given, but the codebook {stage.frozen['codes']} has {theirs}"


def _lengths(stage: Stage, name: str, stream: DataStream, model: Any) -> Iterator[Problem]:
    """The longest text of a stream, against the encoder's table of positions."""
    room, given = getattr(getattr(model, "text", None), "max_length", None), longest(stage, name)
    reads_text = any("text" in maker.needs for maker in stream.makers.values())
    if reads_text and room is not None and given is not None and given > room:
        keys = ("streams", name) if stage.streams[name].max_length else ("tokenizer",)
        yield (*keys, "max_length"), f"{given} given, but model.text.max_length is {room}"


def _too_few(stage: Stage, name: str, parts: dict[str, Any], data: list[Dataset]) -> Iterator[Problem]:
    """Fewer samples than a batch, where an objective wants each sample of a step once. Absent data may be any."""
    options, batch = stage.streams[name], stage.streams[name].batch_size
    wants = [objective for objective, part in parts.items() if getattr(part, "distinct", False)]
    if not wants or len(data) < len(options.data):
        return
    needed: list[tuple[str, int, float]] = [(", ".join(options.data), sum(map(len, data)), batch)]
    if isinstance(options.data, dict):
        shares = ((own, batch * weight / sum(options.data.values())) for own, weight in options.data.items())
        needed = [
            (f"{own}, with {share:.0f} of them,", len(d), share) for (own, share), d in zip(shares, data, strict=True)
        ]
    for sets, have, share in needed:
        if have < share:
            text = f"{batch} given, but {wants[0]} takes no sample twice in a step, and {sets} has {have}"
            yield ("streams", name, "batch_size"), text


def _token_sets(stage: Stage, name: str, stream: DataStream, data: list[Dataset]) -> Iterator[Problem]:
    """Data sets of tokens, against the tokenizer and the longest text of the stream that reads them."""
    sets, length = [cast(TokenDataset, dataset) for dataset in data if hasattr(dataset, "check")], longest(stage, name)
    reads_text = any("text" in maker.needs for maker in stream.makers.values())
    if stage.tokenizer is None or length is None or not reads_text:
        return
    for dataset in sets:
        try:
            dataset.check(load_tokenizer(stage.tokenizer), length)
        except Missing:
            continue
        except VltkError as error:
            yield ("streams", name, "data"), str(error)


def _words(stage: Stage) -> list[str]:
    """The vocabulary of a stage; empty where it has none, or where it is not on disk."""
    with suppress(VltkError):
        return load_tokenizer(stage.tokenizer).tokens if stage.tokenizer else []
    return []


def _words_in(vocabulary: Path) -> list[str]:
    """Those of a file; empty where it is absent, or a tokenizer that vltk does not read."""
    with suppress(VltkError):
        return Tokenizer(vocabulary).tokens if vocabulary.is_file() else []
    return []


def _other_words(ours: list[str], theirs: list[str]) -> list[str]:
    """One line where a token is another word in the vocabulary that the weights were trained with."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    different = ((number, our, their) for number, (our, their) in pairs if our != their)
    said = "token {} is {!r} here and {!r} where the weights were trained; set tokenizer.vocab to theirs"
    return [said.format(*first) for first in islice(different, 1)]


def _on_disk(names: list[str]) -> list[Dataset]:
    """The data sets that are there. Raises VltkError where one is damaged, which is no mistake of the recipe."""
    found = []
    for name in names:
        with suppress(Missing):
            found.append(open_dataset(name))
    return found


def _devices() -> int:
    """How many processes were launched; they have not met yet."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _best(stage: Stage) -> Iterator[Problem]:
    """The metric that decides which weights are kept is one that its task measures."""
    task, _, metric = (stage.evaluate.best or "").partition(" ")
    if not task:
        return
    have = stage.evaluate.tasks[task].build().metrics
    if metric not in have:
        yield ("evaluate", "best"), f"task {task} has no metric '{metric}'; have: {', '.join(have)}"


def _tasks(stage: Stage, model: Any) -> Iterator[Problem]:
    """What scores the model in training finds all that it asks of it."""
    room = getattr(getattr(model, "text", None), "max_length", None)
    for name, choice in stage.evaluate.tasks.items():
        task, place = choice.build(), ("evaluate", "tasks", name)
        for what, can in (ABILITIES[need] for need in getattr(task, "needs", ())):
            if not can(model):
                yield place, f"{choice.part} needs {what}, and {_described(stage.model)} has none"
        written = getattr(getattr(task, "decoding", None), "max_length", 0)
        if room is not None and written > room:
            yield (*place, "max_length"), f"{written} given, but model.text.max_length is {room}"


def _worded(error: Exception, stage: Stage) -> str:
    """Why an objective cannot be built."""
    if isinstance(error, Unfit):
        return str(error)
    if isinstance(error, VltkError):
        return f"{error}; what is not the model itself comes from `frozen`"
    return f"does not go with {_described(stage.model)}: {type(error).__name__}: {error}"


def _described(model: Choice) -> str:
    """`the model flava (fusion: null)`: what it is and what it lacks."""
    options = model.model_dump(exclude={"part"})
    absent = ", ".join(f"{key}: null" for key, value in options.items() if value is None)
    return f"the model {model.part}" + (f" ({absent})" if absent else "")
