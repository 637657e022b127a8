"""A Hugging Face model folder beside its weights: config.json, how pixels are normalised, and its vocabulary."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vltk.errors import VltkError
from vltk.log import say
from vltk.models.hf.checks import Pixels

CONFIG, TOKENIZER = "config.json", "tokenizer_config.json"
LENGTH = "model_max_length"  # of TOKENIZER
TEXT_LENGTH = 77


def read_config(folder: Path, formats: Sequence[Any]) -> tuple[Any, str, Any]:
    """Which of `formats` (modules beside this one) the folder is in, its architecture, its config with all defaults.

    Raises VltkError where it is in none of them, or its config.json says what no such model can be.
    """
    from huggingface_hub.errors import StrictDataclassError

    path = folder / CONFIG
    _refuse_modules(folder)
    if not path.is_file():
        raise VltkError(f"{folder} is no Hugging Face model: no {CONFIG} in it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise VltkError(f"{path} cannot be read: {error}") from error
    given = content.get("architectures") or []
    known = {architecture: names for names in formats for architecture in names.CONFIGS}
    architecture = next((name for name in given if name in known), None)
    if architecture is None:
        raise VltkError(f"{path}: architectures: {', '.join(given) or 'nothing'} given; have: {', '.join(known)}")
    names = known[architecture]
    try:
        return names, architecture, config_class(names, architecture).from_dict(content)
    except (StrictDataclassError, ValueError, TypeError) as error:
        raise VltkError(f"{path}: {error}") from error


def config_class(names: Any, architecture: str) -> Any:
    """transformers' class of the config.json of an architecture."""
    import transformers

    return getattr(transformers, names.CONFIGS[architecture])


def read_normalisation(folder: Path) -> Pixels:
    """Mean and standard deviation of the pixels, where the folder says them."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            content = json.loads((folder / name).read_text(encoding="utf-8"))
            content = content.get("image_processor", content)
            if "image_mean" in content and "image_std" in content:
                return {"mean": tuple(content["image_mean"]), "std": tuple(content["image_std"])}
    return {}


def read_tokens(folder: Path, vocab: int) -> list[str] | None:
    """The WordPiece vocabulary in the order of its ids; None, said aloud, where the folder has none that vltk reads.

    Raises VltkError where it is larger than the `vocab` words of the model.
    """
    tokens, reason = _tokens(folder)
    if tokens is None:
        say(f"{folder}: {reason}, so the run has no tokenizer: embed its texts as token ids")
    elif len(tokens) > vocab:
        raise VltkError(f"{folder}: a vocabulary of {len(tokens)} tokens, but the model has {vocab}")
    return tokens


def write_normalisation(folder: Path, processor: str, image: Any) -> None:
    """preprocessor_config.json of an image encoder of ours: squashed to its size, as vltk evaluates."""
    size = {"height": image.image_size, "width": image.image_size}
    content = {
        "image_processor_type": processor,
        "do_resize": True,
        "size": size,
        "resample": 3,  # bicubic
        "do_center_crop": False,
        "crop_size": size,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(image.mean),
        "image_std": list(image.std),
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(content, indent=2) + "\n")


def text_length(folder: Path, positions: int) -> int:
    """Tokens that a text is cut at: what the folder says, where that is less than the encoder has positions for, which
    says nothing; else 77, as CLIP's and FLAVA's pairs are."""
    options = folder / TOKENIZER
    told = json.loads(options.read_text(encoding="utf-8")).get(LENGTH) if options.is_file() else None
    return int(told) if told is not None and told < positions else min(TEXT_LENGTH, positions)


def write_tokens(folder: Path, vocabulary: Path, length: int | None) -> None:
    """vocab.txt and the file by which AutoTokenizer knows that it is lower-casing BERT; a tokenizer.json tells all.

    length: tokens that a text was cut at in training, where that is known.
    """
    shutil.copyfile(vocabulary, folder / vocabulary.name)
    whole = {"tokenizer_class": "PreTrainedTokenizerFast"}
    words = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    content = whole if vocabulary.name == "tokenizer.json" else words
    said = {} if length is None else {LENGTH: length}
    (folder / TOKENIZER).write_text(json.dumps(content | said, indent=2) + "\n")


def _refuse_modules(folder: Path) -> None:
    """Raises VltkError for the files in which DALL-E's tokenizer was first published."""
    files = [folder] if folder.suffix == ".pkl" else sorted(folder.glob("*.pkl"))
    if files and not (folder / CONFIG).is_file():
        names = ", ".join(file.name for file in files)
        raise VltkError(
            f"{names}: DALL-E's tokenizer as pickled modules; to read one is to run whatever code it holds, so vltk "
            "never does. Its encoder is published again as FlavaImageCodebook, alone (facebook/flava-image-codebook) "
            "and inside facebook/flava-full: write such a folder with safetensors by save_pretrained, and give that one"
        )


def _tokens(folder: Path) -> tuple[list[str] | None, str]:
    """The tokens, or why there are none."""
    options, whole = folder / TOKENIZER, folder / "tokenizer.json"
    lower = True
    if options.is_file():
        lower = json.loads(options.read_text(encoding="utf-8")).get("do_lower_case", True)
    if (folder / "vocab.txt").is_file():
        tokens = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        return (tokens, "") if lower else (None, "its vocabulary is cased, vltk's is lower-casing WordPiece")
    if not whole.is_file():
        return None, "neither vocab.txt nor tokenizer.json in it"
    content = json.loads(whole.read_text(encoding="utf-8"))
    kind = content["model"].get("type")
    if kind != "WordPiece" or not (content.get("normalizer") or {}).get("lowercase", False):
        return None, f"its tokenizer is a {kind}, vltk's is lower-casing WordPiece"
    ids = content["model"]["vocab"] | {token["content"]: token["id"] for token in content.get("added_tokens", [])}
    tokens = sorted(ids, key=ids.__getitem__)
    return (tokens, "") if list(range(len(ids))) == sorted(ids.values()) else (None, "its token ids have gaps")
