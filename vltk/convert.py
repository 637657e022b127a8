"""Weights in and out: a Hugging Face folder becomes a run, a run becomes a Hugging Face folder or bare weights.

In: every architecture in vltk/models/hf; out: `FlavaForPreTraining` and `CLIPModel`. Safetensors only.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vltk import __version__
from vltk.data.text import Tokenizer
from vltk.errors import VltkError
from vltk.hf import imported
from vltk.log import say
from vltk.models.heads import MAX_LOGIT_SCALE
from vltk.models.hf import clip, dvae, flava
from vltk.models.hf.folder import config_class, read_tokens, text_length, write_normalisation, write_tokens
from vltk.models.hf.reading import SHOWN, HfModel, read_model, refuse_some, shapes, taken
from vltk.models.weights import Weights, mismatches, read_folder, to_theirs, write_file
from vltk.parts import choose
from vltk.recipe import ImageOptions, Stage, TokenizerOptions, plain
from vltk.run import RUNS, RunFolder, find, helper_folders, helper_spec, load_stage, read_weights
from vltk.whole import seal

WRITTEN: tuple[Any, ...] = (flava, clip)
KINDS = ("hf", "weights")
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass
class Imported:
    """One stage of a run that was trained elsewhere."""

    name: str
    stage: Stage
    weights: Weights
    frozen: dict[str, Path] = field(default_factory=dict)
    tokens: list[str] | None = None
    untrained: list[str] = field(default_factory=list)


def import_hf(folder: Path, run: str) -> Path:
    """Makes the run `run` of a Hugging Face folder: the model as its stage `model`, an image codebook as `codes`.

    Raises VltkError where the folder holds no such model, pickled weights, sizes that vltk cannot express or tensors
    that do not fit its config.json, and where the run exists; nothing is written then.
    """
    home = RUNS / run
    given = read_model(folder)
    weights, unused = given.weights(), given.unused()
    if unused:
        say(f"{len(unused)} tensors are left out, which no pretraining loss trains: {_some(unused)}")
    stages = _codes_stage(given)
    frozen = {stage.name: home / stage.name for stage in stages}
    name = "codes" if given.format is dvae else "model"
    text: Any = getattr(given.model, "text", None)
    tokens = read_tokens(folder, text.vocab) if text else None
    keys: dict[str, Any] = {"frozen": {name: str(path) for name, path in frozen.items()}}
    if tokens:
        vocab, longest = str(home / name / "vocab.txt"), text_length(folder, text.max_length)
        keys["tokenizer"] = TokenizerOptions(vocab=vocab, max_length=longest)
    stages.append(Imported(name, imported(given.model, folder, **keys), weights, frozen, tokens, given.lacking))
    if given.lacking:
        say(f"{given.architecture} lacks {len(given.lacking)} tensors, which are at random: {_some(given.lacking)}")
    about: dict[str, Any] = {"architecture": given.architecture, "folder": str(folder)}
    about |= {key: getattr(getattr(given.config, "text_config", None), key, None) for key in SPECIAL}
    with _whole(home) as part:
        for order, stage in enumerate(stages):
            _write_run(part, home, stage, about, order)
    return home


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _codes_stage(given: HfModel) -> list[Imported]:
    """The image codebook that FLAVA's files may hold, as a stage."""
    file = {name: t for name, t in read_folder(given.folder).items() if name.startswith(dvae.PREFIX)}
    if not file:
        return []
    choice = choose("models/codebooks", "dvae", **dvae.options(given.config.image_codebook_config))
    codes = taken(choice, dvae.links(choice), file, given.folder)
    image: Any = getattr(given.model, "image")  # noqa: B009
    size = ImageOptions(size=image.image_size // image.patch * dvae.STRIDE)
    return [Imported("codes", imported(choice, given.folder, image=size), codes)]


def export(kind: str, spec: str, folder: Path | None = None) -> Path:
    """Writes the weights of `RUN[@STEP]` into a new folder, by default one here that is named after them.

    hf: config.json and model.safetensors for `from_pretrained`, with the image codebook that the run was trained on and
    its vocabulary; weights: model.safetensors and recipe.yaml, a run folder again.
    Raises VltkError where Hugging Face's class cannot express the model, naming the options; nothing is written then.
    """
    if kind not in KINDS:
        raise VltkError(f"cannot export '{kind}'; have: {', '.join(KINDS)}")
    source = find(spec)
    stage = load_stage(source)
    weights, step = read_weights(source)
    refuse_some(mismatches(shapes(stage.model), weights), f"the weights of {source.path} are of another architecture")
    folder = folder or Path(f"{source.name.replace('/', '-')}-{step}-{kind}")
    with _whole(folder) as part:
        if kind == "hf":
            _write_hf(source, stage, weights, part)
        else:
            _write_weights(source, stage, weights, step, part)
    return folder


def _write_hf(source: RunFolder, stage: Stage, weights: Weights, part: Path) -> None:
    model: Any = stage.model
    names = next((names for names in WRITTEN if model.part == names.FAMILY), None)
    if names is None:
        have = ", ".join(names.FAMILY for names in WRITTEN)
        raise VltkError(f"{source.name} is a '{model.part}', which this cannot write for Hugging Face; have: {have}")
    options = names.config(model)
    file = to_theirs(names.links(model), _held(weights))
    if names is flava:
        file |= flava.poolers(model) | _codebook(source, options)
        say("the three poolers, which no pretraining loss trains, are written as identities")
    else:
        options["text_config"] |= _special_tokens(source)
    config = config_class(names, names.ARCHITECTURE)
    config(architectures=[names.ARCHITECTURE], dtype="float32", **options).save_pretrained(part)
    write_file(file, part / "model.safetensors")
    write_normalisation(part, names.PROCESSOR, model.image)
    if source.vocabulary.is_file():
        write_tokens(part, source.vocabulary, stage.tokenizer.max_length if stage.tokenizer else None)


def _held(weights: Weights) -> Weights:
    """With the scale where vltk computes with it: CLIPModel knows no bound."""
    scale = weights.get("logit_scale")
    return weights if scale is None else weights | {"logit_scale": scale.clamp(0, MAX_LOGIT_SCALE)}


def _write_weights(source: RunFolder, stage: Stage, weights: Weights, step: int, part: Path) -> None:
    target = RunFolder(part)
    write_file(weights, target.weights)
    if source.vocabulary.is_file():
        shutil.copyfile(source.vocabulary, part / source.vocabulary.name)
    facts = {
        key: value for key, value in source.facts().items() if key in ("identity", "imported", "untrained", "vltk")
    }
    target.finished(weights_step=step, name=source.name, step=step, **facts)
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


def _write_run(part: Path, home: Path, stage: Imported, about: dict[str, Any], order: int) -> None:
    """A finished run folder below `part`, which will be `home`."""
    folder = RunFolder(part / stage.name)
    folder.path.mkdir()
    write_file(stage.weights, folder.weights)
    if stage.tokens:
        folder.vocabulary.write_text("".join(f"{token}\n" for token in stage.tokens), encoding="utf-8")
        Tokenizer(folder.vocabulary)  # raises where vltk cannot use it
    digest = seal(folder.weights)["sha256"]
    folder.finished(
        0, identity={"imported": about["architecture"], "weights": digest}, imported=about, order=order,
        home=str((home / stage.name).resolve()),
        frozen={name: helper_spec(RunFolder(home / stage.name), RunFolder(run)) for name, run in stage.frozen.items()},
        vltk=__version__, step=0, untrained=stage.untrained or None,
    )  # fmt: skip
    folder.recipe.write_text(yaml.safe_dump(plain(stage.stage), sort_keys=False))


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
