"""`vltk data ...`: the commands that bring data into shards and look at them. Each loads, calls, prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

data_app = typer.Typer(no_args_is_help=True, help="Bring data into shards, check it and look at it.")


@data_app.command("ls")
def data_ls() -> None:
    """The data sets on disk, and the known ones that are not."""
    from vltk.data.build import ls
    from vltk.data.dataset import data_root

    for row in ls():
        if row["on_disk"]:
            counts = f"{row['samples']:,} samples, {row['images']:,} images, {row['texts']:,} texts"
            typer.echo(f"{data_root() / row['name']}: {counts}")
        else:
            typer.echo(f"{row['name']}: not on disk (vltk data fetch {row['name']}); {row['about']}")


@data_app.command("fetch")
def data_fetch(name: Annotated[str, typer.Argument(metavar="NAME", help="A known data set (vltk data ls).")]) -> None:
    """Bring a known data set, or say what to bring."""
    from vltk.data.build import fetch

    typer.echo(f"on disk: {', '.join(fetch(name))}")


@data_app.command("shard")
def data_shard(
    source: Annotated[Path, typer.Argument(help="Folder or tar of images, a caption file, or text files.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the data set to write, as photos/train.")],
    captions: Annotated[Path | None, typer.Option(help="CSV, TSV, JSON lines, COCO JSON or token file.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder or tar, where SOURCE is a caption file.")] = None,
    split_list: Annotated[Path | None, typer.Option(help="File of image names; others are left out.")] = None,
    kind: Annotated[Literal["pairs", "images", "texts"] | None, typer.Option(help="Default: by the files.")] = None,
    short_side: Annotated[int, typer.Option(min=0, help="Larger images are made smaller, to this; 0: kept.")] = 256,
    max_words: Annotated[int, typer.Option(min=1, help="Texts are cut at sentence ends into samples of this.")] = 60,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a data set of this name.")] = False,
) -> None:
    """Turn files into indexed WebDataset shards with a manifest."""
    from vltk.data.build import shard
    from vltk.data.dataset import dataset_folder

    made = shard(
        source,
        name,
        captions=captions,
        images=images,
        split_list=split_list,
        kind=kind,
        short_side=short_side,
        max_words=max_words,
        replace=replace,
    )
    statuses = ", ".join(f"{count:,} {status}" for status, count in made.statuses.items())
    typer.echo(f"{dataset_folder(name)}: {made.samples:,} samples, {made.images:,} images, {made.texts:,} texts")
    typer.echo(f"input rows: {statuses}")


@data_app.command("vocab")
def data_vocab(
    datasets: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Data sets with text.")],
    out: Annotated[Path, typer.Option(help="The vocab.txt to write.")],
    size: Annotated[int, typer.Option(min=64, help="Tokens in the vocabulary.")] = 8000,
) -> None:
    """Learn a WordPiece vocabulary from the texts of data sets."""
    from vltk.data.vocabulary import train_vocabulary

    train_vocabulary(datasets, size, out)
    typer.echo(out)
