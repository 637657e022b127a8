"""Weights in and out: a Hugging Face folder becomes a run, a run becomes a Hugging Face folder or bare weights.

`FlavaForPreTraining` and `CLIPModel`, inwards also `FlavaImageCodebook`; safetensors only. The names and shapes of both
sides are in vltk/models/hf.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from vltk import __version__
from vltk.data.text import Tokenizer
from vltk.errors import VltkError
from vltk.log import say
from vltk.models.heads import MAX_LOGIT_SCALE
from vltk.models.hf import clip, dvae, flava
from vltk.models.hf.folder import read_config, read_normalisation, read_tokens, write_normalisation, write_tokens
from vltk.models.weights import Link, Weights, read_folder, to_ours, to_theirs, write_file
from vltk.parts import Choice, choose
from vltk.recipe import ImageOptions, Stage, TokenizerOptions, plain
from vltk.run import RUNS, RunFolder, find, helper_folders, helper_spec, load_stage, mismatches, read_weights

FORMATS: tuple[Any, ...] = (flava, clip)
KINDS = ("hf", "weights")
TEXT_LENGTH = 77  # of an imported tokenizer; CLIP's, and FLAVA's for pairs
BUFFERS = (".position_ids", ".token_type_ids")  # in old files: they only count up
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
SHOWN = 12  # mistakes listed one by one


@dataclass
class Imported:
    """One stage of a run that was trained elsewhere."""

    name: str
    model: Choice
    weights: Weights
    objective: str  # that stands in its recipe
    image_size: int
    frozen: dict[str, Path] = field(default_factory=dict)
    tokens: list[str] | None = None


def import_hf(folder: Path, run: str) -> Path:
    """Makes the run `run` of a Hugging Face folder: the model as its stage `model`, an image codebook as `codes`.

    Raises VltkError where the folder holds no such model, pickled weights, sizes that vltk cannot express or tensors
    that do not fit its config.json, and where the run exists; nothing is written then.
    """
    home = RUNS / run
    names, config = read_config(folder, (*FORMATS, dvae))
    file = {name: tensor for name, tensor in read_folder(folder).items() if not name.endswith(BUFFERS)}
    about = {"architecture": names.ARCHITECTURE, "folder": str(folder)}
    if names is dvae:
        prefixed = {f"{dvae.PREFIX}{name}": tensor for name, tensor in file.items()}
        stages = [_tokenizer(config, prefixed, dvae.IMAGE_SIZE, folder)]
    else:
        stages = _family(names, config, file, home, folder)
        about |= {key: getattr(config.text_config, key, None) for key in SPECIAL}
    with _whole(home) as part:
        for order, stage in enumerate(stages):
            _write_run(part, home, stage, about, order)
    return home


def _family(names: Any, config: Any, file: Weights, home: Path, folder: Path) -> list[Imported]:
    """The image codebook, if there is one, and the model that is trained on its codes."""
    options = names.options(config)
    options["image"] |= read_normalisation(folder)
    model = choose("models/families", names.FAMILY, **options)
    codes_file = {name: file.pop(name) for name in list(file) if name.startswith(dvae.PREFIX)}
    weights = _taken(model, names.links(model), _cleaned(names.ours(file), len(file)), folder)
    size, vocab = options["image"]["image_size"], options["text"]["vocab"]
    main = Imported("model", model, weights, "itc", size, tokens=read_tokens(folder, vocab))
    if not codes_file:
        return [main]
    main.frozen["codes"] = home / "codes"
    codes_size = size // options["image"]["patch"] * dvae.STRIDE
    return [_tokenizer(config.image_codebook_config, codes_file, codes_size, folder), main]


def _tokenizer(config: Any, file: Weights, size: int, folder: Path) -> Imported:
    """The image codebook of a FlavaImageCodebookConfig, for images of `size` pixels."""
    choice = choose("models/codebooks", "dvae", **dvae.options(config))
    return Imported("codes", choice, _taken(choice, dvae.links(choice), file, folder), "dvae", size)


def export(kind: str, spec: str, folder: Path) -> Path:
    """Writes the weights of `RUN[@STEP]` into a new folder.

    hf: config.json and model.safetensors for `from_pretrained`, with the image codebook that the run was trained on and
    its vocabulary; weights: model.safetensors and recipe.yaml, a run folder again.
    Raises VltkError where Hugging Face's class cannot express the model, naming the options; nothing is written then.
    """
    if kind not in KINDS:
        raise VltkError(f"cannot export '{kind}'; have: {', '.join(KINDS)}")
    source = find(spec)
    stage = load_stage(source)
    weights, step = read_weights(source)
    _check(mismatches(_meta(stage.model), weights), f"the weights of {source.path} are of another architecture")
    with _whole(folder) as part:
        if kind == "hf":
            _write_hf(source, stage.model, weights, part)
        else:
            _write_weights(source, stage, weights, step, part)
    return folder


def _write_hf(source: RunFolder, model: Any, weights: Weights, part: Path) -> None:
    names = next((names for names in FORMATS if model.part == names.FAMILY), None)
    if names is None:
        have = ", ".join(names.FAMILY for names in FORMATS)
        raise VltkError(f"{source.name} is a '{model.part}', which this cannot write for Hugging Face; have: {have}")
    options = names.config(model)
    file = to_theirs(names.links(model), _held(weights))
    if names is flava:
        file |= flava.poolers(model) | _codebook(source, options)
        say("the three poolers, which no pretraining loss trains, are written as identities")
    else:
        options["text_config"] |= _special_tokens(source)
    names.config_class()(architectures=[names.ARCHITECTURE], dtype="float32", **options).save_pretrained(part)
    write_file(file, part / "model.safetensors")
    write_normalisation(part, names.PROCESSOR, model.image)
    if source.vocabulary.is_file():
        write_tokens(part, source.vocabulary)


def _held(weights: Weights) -> Weights:
    """With the scale where vltk computes with it: CLIPModel knows no bound."""
    scale = weights.get("logit_scale")
    return weights if scale is None else weights | {"logit_scale": scale.clamp(0, MAX_LOGIT_SCALE)}


def _write_weights(source: RunFolder, stage: Stage, weights: Weights, step: int, part: Path) -> None:
    target = RunFolder(part)
    write_file(weights, target.weights)
    if source.vocabulary.is_file():
        shutil.copyfile(source.vocabulary, part / source.vocabulary.name)
    facts = {key: value for key, value in source.facts().items() if key in ("identity", "imported", "vltk")}
    target.note(status="finished", name=source.name, step=step, weights_step=step, **facts)
    target.recipe.write_text(yaml.safe_dump(plain(stage), sort_keys=False))


def _codebook(source: RunFolder, options: dict[str, Any]) -> Weights:
    """The encoder of the run's codebook under their names, and its config into `options`; nothing where it has none."""
    codes = helper_folders(source).get("codes")
    if codes is None:
        return {}
    choice = load_stage(codes).model
    try:
        options["image_codebook_config"] = dvae.config(choice)
    except VltkError as error:
        say(f"the image codebook {codes.path} is left out. {error}")
        return {}
    options["init_codebook"] = True
    return to_theirs(dvae.links(choice), read_weights(codes)[0])


def _special_tokens(source: RunFolder) -> dict[str, Any]:
    """The ids by which CLIPModel finds the end of a text: those of our vocabulary, or what an imported config said."""
    if source.vocabulary.is_file():
        tokenizer = Tokenizer(source.vocabulary)
        if tokenizer.sep == clip.LEGACY_END:
            raise VltkError(f"{source.vocabulary}: [SEP] is token 2, which CLIPModel takes for a mistake; move it")
        return dict(zip(SPECIAL, (tokenizer.cls, tokenizer.sep, tokenizer.pad), strict=True))
    known = source.facts().get("imported")
    if known is None:
        raise VltkError(f"{source.path} has no vocab.txt, so which token ends its texts is not known")
    return {key: known[key] for key in SPECIAL}


def _cleaned(file: Weights, before: int) -> Weights:
    if len(file) < before:
        say(f"{before - len(file)} tensors are left out: aliases, and poolers, which no pretraining loss trains")
    return file


def _meta(choice: Choice) -> Weights:
    """Names and shapes of a model's tensors, without their memory."""
    with torch.device("meta"):
        return dict(choice.build().state_dict())


def _taken(choice: Choice, links: list[Link], file: Mapping[str, Tensor], folder: Path) -> Weights:
    """The file's tensors under our names; every one of both sides must be there and fit."""
    like = _meta(choice)
    problems = mismatches(to_theirs(links, like), dict(file))
    _check(problems, f"the weights in {folder} are of another architecture than its config.json says")
    return to_ours(links, file, like)


def _check(problems: list[str], what: str) -> None:
    if problems:
        more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise VltkError("\n  ".join([f"{what}:", *problems[:SHOWN], *more]))


def _write_run(part: Path, home: Path, stage: Imported, about: dict[str, Any], order: int) -> None:
    """A finished run folder below `part`, which will be `home`."""
    folder = RunFolder(part / stage.name)
    folder.path.mkdir()
    write_file(stage.weights, folder.weights)
    if stage.tokens:
        folder.vocabulary.write_text("".join(f"{token}\n" for token in stage.tokens), encoding="utf-8")
        Tokenizer(folder.vocabulary)  # raises where vltk cannot use it
    with folder.weights.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    folder.note(
        status="finished", identity={"imported": about["architecture"], "weights": digest}, imported=about, order=order,
        home=str((home / stage.name).resolve()),
        frozen={name: helper_spec(RunFolder(home / stage.name), RunFolder(run)) for name, run in stage.frozen.items()},
        vltk=__version__, step=0, weights_step=0,
    )  # fmt: skip
    folder.recipe.write_text(yaml.safe_dump(plain(_recipe(stage, home, about["folder"])), sort_keys=False))


def _recipe(stage: Imported, home: Path, folder: str) -> Stage:
    """What the model is, as a recipe; its stream and single step stand for a training that was done elsewhere."""
    tokenizer = None
    if stage.tokens:
        text: Any = getattr(stage.model, "text")  # noqa: B009
        vocab = str(home / stage.name / "vocab.txt")
        tokenizer = TokenizerOptions(vocab=vocab, max_length=min(TEXT_LENGTH, text.max_length))
    stream = {"data": ["imported"], "batch_size": 1, "objectives": {stage.objective: {}}}
    return Stage.model_validate(
        {
            "description": f"Imported from {folder}: streams, steps and optimizer say nothing about its training.",
            "model": stage.model,
            "tokenizer": tokenizer,
            "image": ImageOptions(size=stage.image_size),
            "frozen": {name: str(path) for name, path in stage.frozen.items()},
            "steps": 1,
            "streams": {"imported": stream},
        }
    )


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A new folder, written beside its name and given the name when it is complete."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise VltkError(f"{folder} exists and is not empty; give another name, or remove it first")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except OSError as error:
        raise VltkError(f"cannot write {folder}: {error}; nothing was left behind") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
