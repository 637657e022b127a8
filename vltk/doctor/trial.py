"""Ten steps of a small recipe on a few drawn scenes, in a folder that is thrown away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vltk.doctor.finding import Finding

WHAT = "ten steps"
PATIENCE = 300  # seconds
SIZES = {"train": 64, "dev": 8, "test": 8, "heldout": 8, "images": 8, "text": 8}
OPTIONS = ["steps=10", "streams.pairs.batch_size=16", "evaluate=null", "log_every=5", "optimizer.warmup=2"]


def findings() -> Iterator[Finding]:
    """`vltk train clip-tiny` for ten steps: reading, training, a checkpoint, the report."""
    from vltk.data.sources import shapes

    with tempfile.TemporaryDirectory() as folder:
        shapes.generate(Path(folder) / "data", sizes=SIZES)
        command = [sys.executable, "-m", "vltk", "train", "clip-tiny", "--gpus", "1", *OPTIONS]
        environment = os.environ | {"VLTK_DATA": str(Path(folder) / "data")}
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE
            )
        except subprocess.TimeoutExpired:
            yield Finding.fail(WHAT, f"not done in {PATIENCE} s", f"try it: {' '.join(command[2:])}")
            return
        if done.returncode:
            last = (done.stderr.strip() or "no message").splitlines()[-1][:160]
            yield Finding.fail(WHAT, f"exit code {done.returncode}: {last}", f"try it: {' '.join(command[2:])}")
            return
        rows = [json.loads(line) for line in next(Path(folder).glob("runs/*/*/metrics.jsonl")).read_text().splitlines()]
        pace = rows[-1]["samples_per_s"]
        yield Finding.good(
            WHAT, f"clip-tiny trains, {pace:.0f} samples/s at a batch of 16; checkpoint and report written"
        )
