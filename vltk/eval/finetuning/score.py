"""What a fine-tuned model says of a split, and the scores of that."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from vltk.data.batch import padded
from vltk.data.image import BadImage, evaluation_image
from vltk.data.sequence import joined
from vltk.errors import VltkError
from vltk.eval.answers import Answers
from vltk.models import inference
from vltk.whole import whole

if TYPE_CHECKING:
    from vltk.eval.features import Samples
    from vltk.run import Trained

Floats = NDArray[np.float32]
THREADS = 2  # that decode images
WIDE = 32  # outputs of a sample, up to which all are kept


def outputs(trained: Trained, samples: Samples, batch_size: int) -> tuple[Floats, int]:
    """What the head gives for each sample (N, outputs), and how many texts had to be cut.

    Raises VltkError naming the sample whose image cannot be decoded, or whose outputs are not finite.
    """
    model: Any = trained.model
    device = next(model.parameters()).device
    positions = samples.positions.tolist()
    texts = [samples.source.read_texts(position).texts for position in positions]
    ids, cut = zip(*(joined(one, trained.tokenizer, trained.tokenizer.max_length) for one in texts), strict=True)
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))  # alike lengths together: little padding
    rows = np.empty((len(ids), model.outputs), np.float32)
    with ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, len(order), batch_size):
            group = order[first : first + batch_size]
            batch: dict[str, torch.Tensor] = {}
            if model.text is not None:
                batch["text"], batch["text_length"] = padded([ids[index] for index in group], trained.tokenizer.pad)
            if model.image is not None:
                images = pool.map(lambda index: _image(samples, positions[index], trained.image.size), group)
                batch["image"] = torch.from_numpy(np.stack(list(images)))
            given = inference.task_outputs(model, {name: tensor.to(device) for name, tensor in batch.items()})
            rows[group] = given.float().cpu().numpy()
    _require_finite(rows, samples)
    return rows, sum(cut)


def keep(path: Path, rows: Floats, samples: Samples, answers: Answers) -> None:
    """The predictions of a split, as arrays of one length: `keys`, `outputs` of a small head, and the answers."""
    keys = np.array([samples.source.key(position) for position in samples.positions.tolist()])
    columns: dict[str, Any] = {"keys": keys, **answers.columns}
    if rows.shape[1] <= WIDE:
        columns["outputs"] = rows
    with whole(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **columns)


def _image(samples: Samples, position: int, size: int) -> NDArray[np.uint8]:
    sample = samples.source.read(position)
    if not isinstance(sample.image, bytes):
        raise VltkError(f"{samples.data}: sample {sample.key!r} has no image")
    try:
        return evaluation_image(sample.image, size)
    except BadImage as error:
        raise VltkError(f"{samples.data}: the image of sample {sample.key!r} cannot be decoded: {error}") from error


def _require_finite(rows: Floats, samples: Samples) -> None:
    bad = ~np.isfinite(rows).all(1)
    if bad.any():
        key = samples.source.key(int(samples.positions[int(bad.argmax())]))
        raise VltkError(f"{samples.data}: what the model says of {key!r} is not finite ({int(bad.sum())} samples)")
