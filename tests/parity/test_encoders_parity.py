"""Encoders that are public alone, against transformers: every parameter random, fp32, read from their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests import tiny
from vltk.convert import export, import_hf
from vltk.errors import VltkError
from vltk.hf import HfFolder
from vltk.models.layers import Rows
from vltk.models.tokens import Text
from vltk.run import load

transformers = pytest.importorskip("transformers")

TOWER = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
IMAGE = TOWER | {"image_size": tiny.IMAGE, "patch_size": 16}
TEXT = TOWER | {"vocab_size": tiny.VOCAB, "max_position_embeddings": 24}
ROBERTA = TEXT | {"max_position_embeddings": 26, "type_vocab_size": 1, "pad_token_id": 1, "layer_norm_eps": 1e-5}
LENGTHS = (12, 7, 4, 9)


def image_model(name: str) -> Any:
    config = transformers.FlavaImageConfig(**IMAGE) if "Flava" in name else transformers.ViTConfig(**IMAGE)
    return spread(getattr(transformers, name)(config))


def text_model(name: str) -> Any:
    kind = next(kind for kind in ("Bert", "Roberta", "FlavaText") if name.startswith(kind))
    config = getattr(transformers, f"{kind}Config")(**(ROBERTA if kind == "Roberta" else TEXT))
    return spread(getattr(transformers, name)(config))


def spread(model: Any) -> Any:
    """Random, norms around 1."""
    tiny.randomised(model, seed=3)
    for name, parameter in model.named_parameters():
        if name.endswith(("layernorm_before.weight", "layernorm_after.weight", "LayerNorm.weight")):
            parameter.data.add_(1)
    return model


def saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def texts(pad: int = 0) -> tuple[Text, Tensor]:
    """Token ids padded with `pad`, and the mask that they take."""
    batch = tiny.batch(4, LENGTHS)
    real = torch.arange(max(LENGTHS)) < batch["text_length"][:, None]
    return Text(batch["text"].where(real, torch.tensor(pad)), batch["text_length"]), real.long()


@pytest.mark.parametrize("name", ["ViTModel", "ViTForImageClassification", "FlavaImageModel"])
def test_images(name: str, tmp_path: Path) -> None:
    theirs = image_model(name)
    ours: Any = load(saved(theirs, tmp_path / "theirs")).model
    images = torch.randn(4, 3, tiny.IMAGE, tiny.IMAGE)
    with torch.no_grad():
        wanted = getattr(theirs, "vit", theirs)(images).last_hidden_state
        found = ours.encode_images(images, [None], [None])[0]
        cls = ours.encode_images(images, [None], [Rows.first(images)])[0].cls
    torch.testing.assert_close(found.normed, wanted, atol=2e-5, rtol=0)
    torch.testing.assert_close(cls, wanted[:, 0], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ["BertModel", "RobertaModel", "FlavaTextModel"])
def test_texts(name: str, tmp_path: Path) -> None:
    """At every real token, and at single rows, where the last block runs alone."""
    theirs = text_model(name)
    ours: Any = load(saved(theirs, tmp_path / "theirs")).model
    text, mask = texts(1 if name == "RobertaModel" else 0)
    with torch.no_grad():
        wanted = theirs(input_ids=text.ids, attention_mask=mask).last_hidden_state
        found = ours.encode_texts([text], [None])[0]
        some = text.real & (torch.arange(text.ids.shape[1]) % 3 == 1)
        rows = ours.encode_texts([text], [Rows.where(some)])[0]
    torch.testing.assert_close(found.normed[text.real], wanted[text.real], atol=2e-5, rtol=0)
    torch.testing.assert_close(found.cls, wanted[:, 0], atol=2e-5, rtol=0)
    torch.testing.assert_close(rows.at(some), wanted[some], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForPreTraining", "RobertaForMaskedLM"])
def test_masked_words(name: str, tmp_path: Path) -> None:
    theirs = text_model(name)
    ours: Any = load(saved(theirs, tmp_path / "theirs")).model
    text, mask = texts(1 if name.startswith("Roberta") else 0)
    with torch.no_grad():
        out = theirs(input_ids=text.ids, attention_mask=mask)
        wanted = out.prediction_logits if name == "BertForPreTraining" else out.logits
        found = ours.heads["mlm"](ours.encode_texts([text], [None])[0].at(text.real))
    torch.testing.assert_close(found, wanted[text.real], atol=5e-5, rtol=0)


def test_they_become_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With their vocabulary, without the pooler, which is named; the way back is refused."""
    monkeypatch.chdir(tmp_path)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{i}" for i in range(tiny.VOCAB - 5))]
    import_hf(saved(image_model("ViTModel"), Path("vit")), "sight")
    folder = saved(text_model("BertForPreTraining"), Path("bert"))
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    import_hf(folder, "words")
    said = " ".join(capsys.readouterr().out.split())
    assert "2 tensors are left out, which no pretraining loss trains: pooler.dense.bias, pooler.dense.weight" in said
    assert "cls.seq_relationship.bias" in said
    assert load("sight").image.size == tiny.IMAGE and load("sight").tokenizer is None
    trained: Any = load("words")
    assert trained.tokenizer.tokens == words and set(trained.model.heads) == {"mlm"}
    with pytest.raises(VltkError, match="sight/model is a 'bare', which this cannot write for Hugging Face"):
        export("hf", "sight", Path("back"))
    with pytest.raises(VltkError, match="FlavaForPreTraining has three encoders"):
        export("hf", "words", Path("back"))


def test_names_of_files_that_tensorflow_wrote_first(tmp_path: Path) -> None:
    """Norms as gamma and beta, the tied layer written out, buffers."""
    theirs = text_model("BertForMaskedLM")
    plain = HfFolder(saved(theirs, tmp_path / "new")).model.weights()
    folder = saved(theirs, tmp_path / "old")
    file = load_file(folder / "model.safetensors")
    file = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in file.items()
    }
    file["cls.predictions.decoder.weight"] = file["bert.embeddings.word_embeddings.weight"].clone()
    file["bert.embeddings.position_ids"] = torch.arange(24)[None]
    save_file(file, folder / "model.safetensors")
    old = HfFolder(folder).model.weights()
    assert set(old) == set(plain) and all(torch.equal(old[name], tensor) for name, tensor in plain.items())


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            "ViT",
            {"hidden_act": "relu", "qkv_bias": False},
            "config.qkv_bias: False given.*\n.*hidden_act: 'relu'",
        ),
        ("Bert", {"hidden_act": "relu"}, "config.hidden_act: 'relu' given, only 'gelu'"),
        ("Roberta", {"pad_token_id": 0}, "config.pad_token_id: 0 given, only 1"),
    ],
)
def test_what_vltk_has_no_encoder_for(kind: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    sizes = IMAGE if kind == "ViT" else ROBERTA if kind == "Roberta" else TEXT
    config = getattr(transformers, f"{kind}Config")(**(sizes | changes), architectures=[f"{kind}Model"])
    config.save_pretrained(tmp_path)
    with pytest.raises(VltkError, match=message):
        _ = HfFolder(tmp_path).model


def test_how_pixels_are_normalised(tmp_path: Path) -> None:
    """ViT's own where the folder says nothing, else what it says; FLAVA's is CLIP's."""
    folder = saved(image_model("ViTModel"), tmp_path / "vit")
    options: Any = HfFolder(folder).model.model
    assert options.image.mean == options.image.std == (0.5, 0.5, 0.5)
    (folder / "preprocessor_config.json").write_text('{"image_mean": [0.4, 0.3, 0.2], "image_std": [0.1, 0.2, 0.3]}')
    options = HfFolder(folder).model.model
    assert options.image.mean == (0.4, 0.3, 0.2) and options.image.std == (0.1, 0.2, 0.3)
    options = HfFolder(saved(image_model("FlavaImageModel"), tmp_path / "flava")).model.model
    assert options.image.mean[0] == pytest.approx(0.4815, abs=1e-4)
