"""A Hugging Face folder (config.json and safetensors) in the place of a run: what a stage can start from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from vltk.data.text import Tokenizer
    from vltk.models.hf.reading import HfModel
    from vltk.parts import Choice
    from vltk.recipe import Stage

CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class HfFolder:
    """Weights that are finished, of no step and with no helpers."""

    path: Path
    step: ClassVar[None] = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def vocabulary(self) -> Path:
        whole = self.path / "tokenizer.json"
        return whole if whole.is_file() else self.path / "vocab.txt"

    @cached_property
    def model(self) -> HfModel:
        """Raises VltkError where vltk has no such model."""
        from vltk.models.hf.reading import read_model

        return read_model(self.path)

    def tokenizer(self) -> Tokenizer | None:
        """Of its texts; None where it has none that vltk reads."""
        from vltk.data.text import Tokenizer
        from vltk.models.hf.folder import read_tokens, text_length

        text: Any = getattr(self.model.model, "text", None)
        if text is None or not self.vocabulary.is_file():
            return None
        if self.vocabulary.name == "vocab.txt" and read_tokens(self.path, text.vocab) is None:
            return None
        return Tokenizer(self.vocabulary, text_length(self.path, text.max_length))

    def facts(self) -> dict[str, Any]:
        """As a run's: its identity is what the model is and the sha256 of its weights."""
        from vltk.data.hashes import file_sha256
        from vltk.models.weights import files_of

        files = hashlib.sha256("".join(file_sha256(path) for path in files_of(self.path)).encode())
        model = self.model.model.model_dump(mode="json")
        return {"status": "finished", "identity": {"model": model, "weights": files.hexdigest()}}

    def stage(self) -> Stage:
        """What the model is, as a recipe."""
        return imported(self.model.model, self.path)


def imported(model: Choice, folder: Path, **keys: Any) -> Stage:
    """The recipe of a model that was trained elsewhere: its stream and single step stand for that training."""
    from vltk.models.hf import dvae
    from vltk.recipe import ImageOptions, Stage

    image, text = getattr(model, "image", None), getattr(model, "text", None)
    codebook = model.part == "dvae"
    size = dvae.IMAGE_SIZE if codebook else image.image_size if image else ImageOptions().size
    stood = "dvae" if codebook else "itc" if image and text else "mim" if image else "mlm"
    said: dict[str, Any] = {
        "description": f"Imported from {folder}: streams, steps and optimizer say nothing about its training.",
        "model": model,
        "image": ImageOptions(size=size),
        "steps": 1,
        "streams": {"imported": {"data": ["imported"], "batch_size": 1, "objectives": {stood: {}}}},
    }
    return Stage.model_validate(said | keys)
