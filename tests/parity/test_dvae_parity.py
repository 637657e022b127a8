"""The visual tokenizer against transformers' FlavaImageCodebook, and DALL-E's sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vltk.errors import VltkError
from vltk.models.codebooks.dvae import map_pixels
from vltk.models.hf import dvae
from vltk.models.weights import to_ours
from vltk.parts import choose

transformers = pytest.importorskip("transformers")


def structured_images() -> torch.Tensor:
    """(4, 3, 32, 32) uint8: gradients, a checkerboard, coloured squares. Noise gives hardly any different codes."""
    ramp = torch.linspace(0, 255, 32)
    across, down = ramp.expand(32, 32), ramp[:, None].expand(32, 32)
    checks = ((torch.arange(32)[:, None] // 4 + torch.arange(32) // 4) % 2) * 255.0
    squares = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)) * 255
    squares = squares.repeat_interleave(8, 1).repeat_interleave(8, 2)
    made = [torch.stack([across, down, checks]), torch.stack([down, checks, across]), checks.expand(3, 32, 32), squares]
    return torch.stack(made).to(torch.uint8)


@pytest.mark.parametrize("blocks", [1, 2])
def test_logits_and_codes(blocks: int) -> None:
    config = transformers.FlavaImageCodebookConfig(hidden_size=8, num_blocks_per_group=blocks, vocab_size=40)
    theirs: Any = transformers.models.flava.modeling_flava.FlavaImageCodebook(config)
    torch.manual_seed(0)
    for module in theirs.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=2 * module.weight[0].numel() ** -0.5)
            nn.init.normal_(module.get_parameter("bias"), std=0.02)
    choice = choose("models/codebooks", "dvae", **dvae.options(config))
    ours: Any = choice.build()
    file = {f"{dvae.PREFIX}{name}": tensor for name, tensor in theirs.state_dict().items()}
    ours.load_state_dict(to_ours(dvae.links(choice), file, ours.state_dict()))

    images = structured_images()
    with torch.no_grad():
        wanted, found = theirs(map_pixels(images)), ours.logits(images)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)
    first, second = wanted.topk(2, dim=1).values.unbind(1)
    clear = (first - second > 1e-4).flatten(1)
    assert clear.float().mean() > 0.9
    assert wanted.argmax(1).unique().numel() > 3
    codes = theirs.get_codebook_indices(map_pixels(images)).flatten(1)
    assert torch.equal(ours.codes(images)[clear], codes[clear])


def test_without_a_decoder_there_is_no_way_back() -> None:
    codes: Any = choose("models/codebooks", "dvae", width=8, codes=16, decoder=False).build()
    assert not [name for name, _ in codes.named_parameters() if name.startswith("decoder")]
    with pytest.raises(VltkError, match="decoder: false"):
        codes.reconstruct(structured_images())


def test_dalle_size() -> None:
    with torch.device("meta"):
        codes: Any = choose("models/codebooks", "dvae").build()
    assert sum(p.numel() for p in codes.encoder.parameters()) == 53_786_240
    assert sum(p.numel() for p in codes.decoder.parameters()) == 43_829_766
    assert (codes.stride, codes.num_codes) == (8, 8192)
