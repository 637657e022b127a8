"""transformers' FlavaImageCodebook (modeling_flava.py): the encoder of DALL-E's dVAE and the codebook `dvae`.

It lies in a folder of its own, or inside that of a FlavaForPreTraining, where its names begin with `PREFIX`.
"""

from __future__ import annotations

import re
from typing import Any

from vltk.models.hf.checks import Pixels, differing, refuse
from vltk.models.weights import Link, Weights, both
from vltk.parts import Choice, choose

CONFIGS = {"FlavaImageCodebook": "FlavaImageCodebookConfig"}
UNUSED = re.compile(r"(?!)")  # nothing
PREFIX = "image_codebook."
GROUPS = 4  # written out in FlavaImageCodebook; its config's num_groups only sets the gain
STRIDE = 2 ** (GROUPS - 1)
IMAGE_SIZE = 112  # FLAVA's, for a code a patch of 16 in 224 pixels; the config of the codebook alone says none


def model(config: Any, pixels: Pixels) -> Choice:
    """Our codebook for a FlavaImageCodebookConfig; it maps pixels in its own way."""
    return choose("models/codebooks", "dvae", **options(config))


def ours(file: Weights) -> Weights:
    """The tensors of a folder of its own under the names that they have inside FLAVA's."""
    return {f"{PREFIX}{name}": tensor for name, tensor in file.items()}


def options(config: Any) -> dict[str, Any]:
    """The options of our codebook for a FlavaImageCodebookConfig: it has no decoder."""
    wanted = {"num_groups": GROUPS, "input_channels": 3}
    refuse("this image codebook is none that vltk has", differing("image_codebook_config", config, wanted))
    sizes = {"width": config.hidden_size, "blocks": config.num_blocks_per_group, "codes": config.vocab_size}
    return sizes | {"groups": GROUPS, "decoder": False}


def config(codes: Choice) -> dict[str, Any]:
    """The FlavaImageCodebookConfig of a codebook of ours, as plain data."""
    chosen: Any = codes
    refuse("FlavaImageCodebook cannot say this", differing("model", chosen, {"part": "dvae"}))
    refuse("FlavaImageCodebook cannot say this", differing("model", chosen, {"groups": GROUPS}))
    return {"hidden_size": chosen.width, "num_blocks_per_group": chosen.blocks, "vocab_size": chosen.codes}


def links(codes: Choice) -> list[Link]:
    """Every tensor of our encoder and its name in the file."""
    chosen: Any = codes
    found = both("encoder.input", f"{PREFIX}blocks.input") + both("encoder.output", f"{PREFIX}blocks.output.conv")
    for group in range(1, GROUPS + 1):
        for block in range(1, chosen.blocks + 1):
            ours = f"encoder.group_{group}_block_{block}"
            theirs = f"{PREFIX}blocks.group_{group}.group.block_{block}"
            for number in range(4):
                found += both(f"{ours}.convolutions.{number}", f"{theirs}.res_path.path.conv_{number + 1}")
            if group > 1 and block == 1:
                found += both(f"{ours}.identity", f"{theirs}.id_path")
    return found
