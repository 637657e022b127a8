"""What tests of benchmarks measure: a recipe that trains in a second, and a FLAVA as small."""

from __future__ import annotations

from benchmarks.steps import Size

RECIPE = """\
name: toy
include: [clip-tiny.yaml]
precision: fp32
image: {size: 32}
model:
  embedding: 16
  image: {width: 16, depth: 2, heads: 2, mlp: 32, image_size: 32}
  text: {width: 16, depth: 2, heads: 2, mlp: 32}
streams: {pairs: {batch_size: 4}}
optimizer: {warmup: 1}
loader: {threads: 1, prefetch: 1}
"""
SIZE = Size(32, 2, 3, 3, 2, image=64, hidden=6, batch=4, vocab=1100, codes=64)
