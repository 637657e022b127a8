"""Our own run on the same photos and by the same measure as the peers, with its own tokenizer and image size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers.photos import Pairs, pad
from benchmarks.peers.retrieval import recalls
from vltk import run
from vltk.data.dataset import open_dataset
from vltk.data.image import evaluation_image
from vltk.models.inference import image_embeddings, text_embeddings


def evaluate_run(spec: str, dataset: str, batch_size: int = 250) -> dict[str, object]:
    """Recall at 1, 5 and 10 both ways of a run (`NAME`, `NAME/STAGE@STEP` or its path), as a record of the table."""
    trained = run.load(spec)
    samples: Pairs = open_dataset(dataset)
    images, texts, owners = [], [], []
    for start in range(0, len(samples), batch_size):
        chunk = [samples.read(i) for i in range(start, min(start + batch_size, len(samples)))]
        pixels = np.stack([evaluation_image(sample.image, trained.image.size) for sample in chunk])
        captions = [np.asarray(trained.tokenizer.encode(text)[0]) for sample in chunk for text in sample.texts]
        ids, real = pad(captions, trained.tokenizer.pad)
        images.append(image_embeddings(trained.model, torch.from_numpy(pixels)))
        texts.append(text_embeddings(trained.model, ids, real.sum(1)))
        owners += [start + i for i, sample in enumerate(chunk) for _ in sample.texts]
    scores = recalls(torch.cat(images), torch.cat(texts), np.array(owners))
    return {"model": "ours", "run": trained.name, "step": trained.step, "seconds": run_seconds(spec)} | scores


def run_seconds(spec: str) -> float:
    """Seconds on the training clock of all stages of the run, evaluation included."""
    stages = run.stage_folders(run.find(spec).path.parent)
    return sum(float(str(read_lines(folder / "metrics.jsonl")[-1]["seconds"])) for folder in stages)


def read_lines(path: Path) -> list[dict[str, object]]:
    """The objects of a JSON lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
