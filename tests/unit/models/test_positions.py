"""Position tables on another grid, against transformers' ViT."""

from __future__ import annotations

import torch
from transformers import ViTConfig, ViTModel

from vltk.models.positions import grid_of, of_length, resized


def test_resized_as_transformers_interpolates_them() -> None:
    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=32, patch_size=8
    )
    embeddings = ViTModel(config).embeddings
    torch.nn.init.normal_(embeddings.position_embeddings)
    with torch.no_grad():
        theirs = embeddings.interpolate_pos_encoding(torch.zeros(1, 1 + 7 * 5, 8), 7 * 8, 5 * 8)[0]
        ours = resized(embeddings.position_embeddings[0], (4, 4), (7, 5))
    torch.testing.assert_close(ours, theirs)


def test_an_equal_grid_leaves_the_table_alone() -> None:
    table = torch.randn(1 + 12, 4)
    assert resized(table, (3, 4), (3, 4)) is table


def test_the_grid_of_a_table() -> None:
    assert grid_of(torch.zeros(1 + 49, 4)) == (7, 7)
    assert grid_of(torch.zeros(2 + 49, 4)) == grid_of(torch.zeros(0, 4)) == (0, 0)


def test_tables_of_texts_are_cut_or_completed() -> None:
    long, short = torch.randn(6, 4), torch.randn(4, 4)
    assert torch.equal(of_length(long, short), long[:4])
    assert torch.equal(of_length(short, long), torch.cat([short, long[4:]]))
