"""`Encoded`: the hidden states of one batch, every planned pass run once (design section 4.6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from vltk.models.layers import Rows
from vltk.models.passes import CROP_PASSES, DECODED_PASSES, FUSED_PASSES, IMAGE_PASSES, TEXT_PASSES, Plan
from vltk.models.tokens import Text, Tokens

Codebook = Callable[[Tensor], Tensor]


class Encoded:
    """`encoded["image_masked"]` are the tokens of a pass; `encoded.batch` the tensors that the views made.

    `codes` is the frozen codebook, called at most once, and not at all when the batch carries its codes.
    """

    def __init__(self, model: Any, batch: Mapping[str, Tensor], plan: Plan, codes: Codebook | None = None) -> None:
        self.model, self.batch, self._codebook = model, batch, codes
        self._tokens: dict[str, Tokens] = {}
        self._grounds: dict[str, Any] = {}
        self._run_images(plan)
        self._run_crops(plan)
        self._run_texts(plan)
        self._run_fused(plan)
        self._run_decoded(plan)

    def __getitem__(self, name: str) -> Tokens:
        return self._tokens[name]

    def __contains__(self, name: str) -> bool:
        return name in self._tokens

    @cached_property
    def codes(self) -> Tensor:
        """(B, N) code of each patch: from the batch when it was cached, else from the codebook, in fp32."""
        if "codes" in self.batch:
            return self.batch["codes"]
        assert self._codebook is not None, "no codebook and no cached codes"
        images = self.batch["image_for_codes"]
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            return self._codebook(images)

    @cached_property
    def code_logits(self) -> Tensor:
        """(B, K, h, w) fp32: what a tokenizer in training says of the images, run once for all its objectives."""
        return self.model.logits(self.batch["image"]).float()

    @property
    def texts(self) -> Text:
        """The texts of the batch as they are."""
        return Text(self.batch["text"], self.batch["text_length"])

    def pair(self, image_rows: Tensor, text_rows: Tensor) -> Tokens:
        """The fused CLS of images and texts of the batch by number, (P,) and (P,): hard negatives are known only once
        the batch is encoded. The encoders below must be planned with all rows (`model.fused_from`)."""
        text = self["text"] if "text" in self.model.fused_from else None
        return self.model.pair(self._ground("image"), text, self.texts, image_rows, text_rows)

    def _ground(self, name: str) -> Any:
        """What texts look at of the images of a pass, made once for all that read it."""
        if name not in self._grounds:
            self._grounds[name] = self.model.ground(self[name])
        return self._grounds[name]

    def _run_images(self, plan: Plan) -> None:
        names = plan.among(IMAGE_PASSES)
        if not names:
            return
        masks = [self.batch["image_masked_at"] if name == "image_masked" else None for name in names]
        reads = [self._image_rows(plan.rows[name]) for name in names]
        self._tokens |= zip(names, self.model.encode_images(self.batch["image"], masks, reads), strict=True)

    def _run_crops(self, plan: Plan) -> None:
        """(B, n, 3, S, S): n images of each sample, whose tokens (B * n, ...) lie behind one another."""
        for name in plan.among(CROP_PASSES):
            images = self.batch[name].flatten(0, 1)
            rows = None if "all" in plan.rows[name] else Rows.first(images)
            (self._tokens[name],) = self.model.encode_images(images, [None], [rows])

    def _run_texts(self, plan: Plan) -> None:
        names = plan.among(TEXT_PASSES)
        if not names:
            return
        texts = [Text(self.batch[name], self.batch["text_length"]) for name in names]
        reads = [self._text_rows(plan.rows[name], text) for name, text in zip(names, texts, strict=True)]
        self._tokens |= zip(names, self.model.encode_texts(texts, reads), strict=True)

    def _run_fused(self, plan: Plan) -> None:
        for name in plan.among(FUSED_PASSES):
            image, text = FUSED_PASSES[name]
            texts = Text(self.batch[text], self.batch["text_length"])
            image_at = self.batch["image_masked_at"] if "image_masked" in plan.rows[name] else None
            text_at = self.batch["text_masked_at"] if "text_masked" in plan.rows[name] else None
            whole = "all" in plan.rows[name]
            masked = None if whole else (image_at, text_at)
            self._tokens[name] = self.model.fuse(self._ground(image), self[text], texts, masked)

    def _run_decoded(self, plan: Plan) -> None:
        for name in plan.among(DECODED_PASSES):
            self._tokens[name] = self.model.decode(self._ground(DECODED_PASSES[name]), self.texts)

    def _image_rows(self, rows: frozenset[str]) -> Rows | None:
        if "all" in rows:
            return None
        if rows == {"cls"}:
            return Rows.first(self.batch["image"])
        masked = self.batch["image_masked_at"]
        return Rows.where(torch.cat([masked.new_full((len(masked), 1), "cls" in rows), masked], dim=1))

    def _text_rows(self, rows: frozenset[str], text: Text) -> Rows | None:
        if "all" in rows:
            return None
        if rows == {"cls"}:
            return Rows.first(text.ids)
        masked = self.batch["text_masked_at"].clone()
        masked[:, 0] |= "cls" in rows
        return Rows.where(masked)
