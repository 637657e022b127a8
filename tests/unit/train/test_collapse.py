"""A stage whose tokenizer gives nearly always the same code says so, with the figures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import tiny
from tests.harness import DEBUG, call, exchanged
from vltk.models.codebooks.dvae import DVae
from vltk.models.codebooks.vqkd import VqKd
from vltk.parts import choose
from vltk.train.collapse import look

DVAE = DVae(width=8, blocks=1, groups=2, codes=512, code_width=8)


def collapsed() -> torch.Tensor:
    codes = torch.zeros(4, 100, dtype=torch.int64)
    codes[0, :4] = torch.arange(4)
    return codes


def test_the_figures_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    look(collapsed(), DVAE, "runs/mine/codes", "image")
    said = capsys.readouterr().err
    assert "warning: the tokenizer runs/mine/codes has collapsed: 4 of its 512 codes in 4 images of the stream" in said
    assert "perplexity 1.05" in said
    look(torch.arange(400).view(4, 100) % 60, DVAE, "runs/mine/codes", "image")
    assert capsys.readouterr().err == ""


def test_what_helps_is_that_tokenizers_own(capsys: pytest.CaptureFixture[str]) -> None:
    look(collapsed(), DVAE, "runs/mine/codes", "image")
    said = capsys.readouterr().err
    assert "train it again, with dvae: {kmeans: true}, the objective code_usage, or " in said
    look(collapsed(), DVae(width=8, codes=512, blocks=1, groups=2, decoder=False), "theirs/codebook", "image")
    said = capsys.readouterr().err
    assert "take another tokenizer" in said and "train it again" not in said
    encoder = choose("models/encoders", "vit", **tiny.TOWER, image_size=tiny.IMAGE, mask_token=False)
    look(collapsed(), VqKd(image=encoder, codes=512, code_width=8), "runs/mine/codes", "image")
    said = capsys.readouterr().err
    assert (
        "train it again, with revive of the objective vqkd" in said and "dvae" not in said and "code_usage" not in said
    )


def test_a_stage_warns_before_it_learns_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "flava-tiny", DEBUG, "name=broken", "stages.image=null", "stages.joint=null") == 0
    path = Path("runs/broken/codes/model.safetensors")
    weights = load_file(path)
    weights["encoder.output.weight"].zero_()  # the bias alone decides: one code for everything
    save_file(weights, path)
    exchanged("broken/codes")
    capsys.readouterr()
    options = [
        "stages.codes=null",
        "stages.text=null",
        "stages.joint=null",
        "stages.image.frozen.codes=runs/broken/codes",
    ]
    assert call("train", "flava-tiny", DEBUG, "name=next", *options) == 0
    said = capsys.readouterr().err
    assert "the tokenizer runs/broken/codes has collapsed: 1 of its 16 codes in 32 images of the stream image" in said
    assert "perplexity 1.00" in said
