"""DINO: self-distillation without labels (arXiv 2104.14294; facebookresearch/dino main_dino.py, vision_transformer.py).

The student sees crops of an image of two sizes, the teacher, a replica that follows the student, the two large ones;
each crop of the student is to say what the teacher says of another one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vltk import dist
from vltk.errors import RecipeError
from vltk.models.encoded import Encoded
from vltk.models.layers import init_weights
from vltk.models.passes import Read
from vltk.objectives._contract import Batch, Losses, Momentum, Views

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(gt=0)]
MaybeSize = Annotated[int | None, Field(gt=0)]

GLOBAL = 2  # large crops of an image, which the teacher sees as well
UNIFORM, PEAK = 0.99, 0.01  # of ln K: above the one a distribution is uniform, below the other a single peak


class Dino(nn.Module):
    """Cross-entropy of each crop against the teacher's output for each other global crop; mean over pairs, then images.

    outputs, head_width, bottleneck: sizes of the head, which is for training only. The teacher's output is centred (by
    a mean over the images of all steps, which keeps `centre_momentum` of itself in a step) and sharpened by a
    temperature that rises from `first_teacher_temperature` over `temperature_warmup` steps. The teacher's weights keep
    `momentum` of themselves in a step, rising to `final_momentum` as half a cosine over the stage. The head's last
    layer stays as it is in the first `freeze_last` steps. global_size: the encoder's image_size where not given;
    scales: shares of the image's area; blur: radii in pixels; result: whose encoder is evaluated and ends the run;
    init_std: of the head.
    """

    distinct = True
    centre: Tensor

    def __init__(
        self,
        model: Any,
        steps: int,
        *,
        outputs: Size = 65536,
        head_width: Size = 2048,
        bottleneck: Size = 256,
        student_temperature: Positive = 0.1,
        first_teacher_temperature: Positive = 0.04,
        teacher_temperature: Positive = 0.04,
        temperature_warmup: Count = 0,
        centre_momentum: Share = 0.9,
        momentum: Share = 0.996,
        final_momentum: Share = 1.0,
        freeze_last: Count = 0,
        global_size: MaybeSize = None,
        local_size: Size = 96,
        local_crops: Count = 8,
        global_scale: tuple[Share, Share] = (0.4, 1.0),
        local_scale: tuple[Share, Share] = (0.05, 0.4),
        blur: tuple[Positive, Positive] = (0.1, 2.0),
        result: Literal["teacher", "student"] = "teacher",
        init_std: Positive = 0.02,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        global_size = global_size or model.image.image_size
        _check_sizes(global_size, local_size, model.image.patch)
        self.views: Views = {
            "crops": {
                "maker": "crops",
                "size": global_size,
                "scale": list(global_scale),
                "local_crops": local_crops,
                "local_size": local_size,
                "local_scale": list(local_scale),
                "blur": list(blur),
            }
        }
        self.head = _Head(model.image.width, head_width, bottleneck, outputs, init_std)
        self.register_buffer("centre", torch.zeros(outputs))
        self.student_temperature, self.centre_momentum = student_temperature, centre_momentum
        self.teacher_temperatures = (first_teacher_temperature, teacher_temperature)
        self.temperature_warmup, self.local_crops, self.weight = temperature_warmup, local_crops, weight
        self.freeze_last = freeze_last
        self.starts = {"head.last.weight": freeze_last}
        self.momentum = Momentum(momentum, final_momentum, steps)
        self.ends_with_teacher = result == "teacher"

    def reads(self, views: set[str]) -> set[Read]:
        return {("crops", "cls")} | ({("local_crops", "cls")} if self.local_crops else set())

    def teacher_reads(self, views: set[str]) -> set[Read]:
        return {("crops", "cls")}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"dino": batch["crops"].new_tensor(len(batch["crops"]), dtype=torch.long)}

    def teach(self, encoded: Encoded) -> Tensor:
        """(B, 2, K): the outputs for the global crops, neither centred nor sharpened."""
        return self.head(encoded["crops"].cls).unflatten(0, (-1, GLOBAL))

    def forward(self, encoded: Encoded, step: int, taught: Tensor) -> Losses:
        frozen = step < self.freeze_last
        names = ["crops", "local_crops"] if self.local_crops else ["crops"]
        outputs = [self.head(encoded[name].cls, frozen).unflatten(0, (len(taught), -1)) for name in names]
        student = torch.cat(outputs, dim=1)  # (B, V, K)
        temperature = self.teacher_temperature(step)
        target = ((taught - self.centre) / temperature).softmax(-1)  # (B, 2, K)
        loss = cross_entropy(student / self.student_temperature, target)  # (B,)
        entropy = torch.special.entr(target).sum(-1).mean()
        metrics = {
            "teacher_entropy": entropy,
            "teacher_student_kl": loss.detach().mean() - entropy,
            "teacher_temperature": entropy.new_tensor(temperature),
        }
        kept = torch.cat([taught.sum((0, 1)), target.sum((0, 1)), taught.new_tensor([taught.shape[:2].numel()])])
        return Losses({"dino": self.weight * loss.sum()}, metrics, kept={"dino": kept})

    def teacher_temperature(self, step: int) -> float:
        """Of a 0-based step: a line, then constant."""
        first, last = self.teacher_temperatures
        return last + (first - last) * max(0.0, 1 - step / self.temperature_warmup) if self.temperature_warmup else last

    @torch.no_grad()
    def after_step(self, kept: Mapping[str, Sequence[Tensor]], step: int) -> dict[str, Tensor]:
        """Moves the centre to the mean output of all crops of the step."""
        whole = dist.sum_over_ranks(torch.stack(list(kept["dino"])).sum(0))
        (outputs, targets), count = whole[:-1].chunk(2), whole[-1]
        self.centre.lerp_(outputs / count, 1 - self.centre_momentum)
        return {"mean_target_entropy": torch.special.entr(targets / count).sum()}

    def complaint(self, metrics: Mapping[str, float]) -> str | None:
        most = math.log(len(self.centre))
        if metrics["teacher_entropy"] > UNIFORM * most:
            return (
                f"has collapsed: the teacher's output is uniform (entropy {metrics['teacher_entropy']:.3f} of ln K = "
                f"{most:.3f}); lower teacher_temperature, or raise centre_momentum"
            )
        if metrics["mean_target_entropy"] < PEAK * most:
            return (
                f"has collapsed: the teacher says one and the same of its {len(self.centre)} outputs of every image "
                f"(entropy of the mean {metrics['mean_target_entropy']:.3f}); lower optimizer.lr or centre_momentum"
            )
        return None


def cross_entropy(student: Tensor, target: Tensor) -> Tensor:
    """student (B, V, K) logits, target (B, 2, K) of the first two crops -> (B,): the mean over pairs of a target and
    another crop."""
    logs = student.log_softmax(-1)
    every = -(target.sum(1) * logs.sum(1)).sum(-1)
    own = -(target * logs[:, : target.shape[1]]).sum((1, 2))
    return (every - own) / (target.shape[1] * (student.shape[1] - 1))


class _Head(nn.Module):
    """Three layers, then the cosine to each of K directions: a weight-normed layer whose scale is 1."""

    def __init__(self, width: int, hidden: int, bottleneck: int, outputs: int, init_std: float) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        init_weights(self.mlp, init_std)
        self.last = _Directions(bottleneck, outputs)

    def forward(self, cls: Tensor, frozen: bool = False) -> Tensor:
        """(M, D) -> (M, K) fp32 in [-1, 1]; frozen: without gradient for the last layer's weight."""
        return self.last(self.mlp(cls), frozen)


class _Directions(nn.Module):
    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, width).uniform_(-(width**-0.5), width**-0.5))  # nn.Linear's

    def forward(self, x: Tensor, frozen: bool) -> Tensor:
        weight = self.weight.detach() if frozen else self.weight
        with torch.autocast(x.device.type, enabled=False):  # divided by temperatures of 0.04: too coarse in bf16
            return F.linear(F.normalize(x.float(), dim=-1), F.normalize(weight, dim=-1))


def _check_sizes(global_size: int, local_size: int, patch: int) -> None:
    """Raises RecipeError for a size that the encoder cannot cut into its patches."""
    for name, size in (("global_size", global_size), ("local_size", local_size)):
        if size % patch:
            raise RecipeError(f"{name}: {size} given, which is no multiple of the encoder's patch {patch}")
