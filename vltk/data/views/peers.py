"""What a sample needs to be compared with its peers, the few samples of a step that stay in one micro-batch."""

from __future__ import annotations

import hashlib

import numpy as np

from vltk.data.draft import Draft, Draws


class Peers:
    """`image_id`: `()` int64, the same wherever the image comes again; `image_lot`, `text_lot`: `()` float64 in [0, 1).

    The samples of a step stand in groups of `of`, one behind the other (a smaller step is one group), and no split into
    devices and micro-batches may cut one: what is drawn or compared inside a group is then the same for every split.
    """

    needs = ()

    def __init__(self, *, of: int = 75) -> None:  # the images of a GPU in BLIP's pretrain.yaml
        self.together = of

    def __call__(self, draft: Draft, draws: Draws) -> dict[str, np.ndarray]:
        name = f"{draft.dataset.name}/{draft.sample.key}".encode()
        number = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little") >> 1
        image, text = draws().random(2)
        return {"image_id": np.array(number), "image_lot": np.array(image), "text_lot": np.array(text)}
