"""`vltk data ...`: the commands that bring data into shards and look at them. Each loads, calls, prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

data_app = typer.Typer(no_args_is_help=True, help="Bring data into shards, check it and look at it.")


@data_app.command("ls")
def data_ls(
    card: Annotated[str | None, typer.Argument(metavar="[CARD|CARD.yaml]", help="All that is known of one.")] = None,
) -> None:
    """The data sets on disk, then the known ones: licence, size, how many of their addresses still answer."""
    from vltk.data.card import load_card
    from vltk.data.shelf import ls, told
    from vltk.data.shelf_table import show

    if card is not None:
        typer.echo("\n".join(told(load_card(card))))
        return
    show(ls())


@data_app.command("rm")
def data_rm(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Data sets, folders or cards of yours; with NAME/..."),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove data sets from the disk."""
    from vltk.data.named import name_of
    from vltk.data.shelf import doomed, remove

    names = [name_of(name) for name in names]
    places = [path for name in names for path in doomed(name)]
    if not yes:
        typer.echo("\n".join(str(path) for path in places))
        typer.confirm("Remove these?", abort=True)
    for name in names:
        kept = remove(name)
        typer.echo(f"removed: {name}" + (f"; other files stay: {', '.join(map(str, kept))}" if kept else ""))


@data_app.command("fetch")
def data_fetch(
    what: Annotated[
        str, typer.Argument(metavar="CARD|CARD.yaml|LIST", help="A known data set, a card of yours, a list of URLs.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As threads=64 short_side=288 limit=1000.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the data set; default: of the card, or the list.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="YAML file with keys, as the KEY=VALUE behind it.")] = None,
    way: Annotated[
        str | None, typer.Option("--from", help="mirror, hub, urls, archives: another way than the card's first.")
    ] = None,
    accept_licence: Annotated[bool, typer.Option("--accept-licence", help="You read and accept the licence.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read the list and estimate; fetch nothing.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try lost rows again that may mend.")] = False,
    status: Annotated[list[str] | None, typer.Option(help="With --retry-failed: rows that ended so.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Forget what a stopped fetch has done.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a data set of this name.")] = False,
) -> None:
    """Bring a data set; a fetch that was stopped goes on. Or say what to bring."""
    from vltk.data.build import fetch
    from vltk.errors import VltkError

    if status and not retry_failed:
        raise VltkError("--status says which rows --retry-failed tries again: add --retry-failed")
    retry = (status or []) if retry_failed else None
    switches = {"dry_run": dry_run, "restart": restart, "replace": replace}
    found = fetch(what, name, recipe, overrides, way, accept_licence, retry, **switches)
    if not dry_run:
        typer.echo(f"on disk: {', '.join(found)}")


@data_app.command("shard")
def data_shard(
    source: Annotated[
        str, typer.Argument(help="Folder or tar of images, a caption file, text files, WebDataset tars.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the data set to write, as photos/train.")],
    captions: Annotated[Path | None, typer.Option(help="CSV, TSV, JSON lines, COCO JSON or token file.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder or tar, where SOURCE is a caption file.")] = None,
    split_list: Annotated[Path | None, typer.Option(help="File of image names; others are left out.")] = None,
    kind: Annotated[
        Literal["pairs", "images", "texts", "webdataset"] | None, typer.Option(help="Default: by the files.")
    ] = None,
    short_side: Annotated[int, typer.Option(min=0, help="Larger images are made smaller, to this; 0: kept.")] = 256,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of the JPEGs that are made.")] = 90,
    min_side: Annotated[int, typer.Option(min=1, help="Images with a smaller side are left out.")] = 8,
    max_pixels: Annotated[int, typer.Option(min=1, help="Images of more pixels are left out.")] = 50_000_000,
    max_aspect: Annotated[float, typer.Option(min=1, help="The longest an image may be, times its short side.")] = 10,
    max_words: Annotated[int, typer.Option(min=1, help="Texts are cut at sentence ends into samples of this.")] = 60,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a data set of this name.")] = False,
) -> None:
    """Turn files into indexed WebDataset shards with a manifest."""
    from vltk.data.build import shard
    from vltk.data.dataset import dataset_folder
    from vltk.data.prepare import Limits

    made = shard(
        source,
        name,
        captions=captions,
        images=images,
        split_list=split_list,
        kind=kind,
        limits=Limits(None, max_pixels, min_side, max_aspect, short_side, quality),
        max_words=max_words,
        replace=replace,
    )
    statuses = ", ".join(f"{count:,} {status}" for status, count in made.statuses.items())
    typer.echo(f"{dataset_folder(name)}: {made.samples:,} samples, {made.images:,} images, {made.texts:,} texts")
    typer.echo(f"input rows: {statuses}")


@data_app.command("verify")
def data_verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="Data sets, folders or cards of yours; with NAME/..."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All data sets on disk.")] = False,
    decode: Annotated[float, typer.Option(min=0, max=100, metavar="PERCENT", help="Images to decode as well.")] = 0,
    seed: Annotated[int, typer.Option(help="Which images these are.")] = 0,
) -> None:
    """Check every file of data sets against its manifest; exit code 1 when something is wrong."""
    from vltk.data.inspect.verify import chosen, verify

    wrong = 0
    for name in chosen(names or [], every):
        found = verify(name, decode, seed)
        wrong += len(found.problems)
        for problem in found.problems:
            typer.echo(problem)
        state = f"{len(found.problems):,} problems" if found.problems else "whole"
        looked = [f"{found.shards:,} shards", f"{found.samples:,} samples"]
        looked += [f"{found.decoded:,} images decoded"] if decode else []
        looked += [f"{found.remote:,} shards behind URLs not looked at"] if found.remote else []
        typer.echo(f"{name}: {state} ({', '.join(looked)})")
    if wrong:
        raise typer.Exit(1)


@data_app.command("stats")
def data_stats(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set on disk, its folder, or a card of yours.")],
    sample: Annotated[int, typer.Option(min=0, help="Samples whose texts are looked at.")] = 5000,
    seed: Annotated[int, typer.Option(help="Which samples these are.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """What is in a data set: yield, hosts, sizes, captions, languages, repeats, beside its card."""
    import json

    from vltk.data.inspect.stats import stats
    from vltk.data.inspect.stats_table import tables
    from vltk.data.named import card_file, one_of
    from vltk.log import console

    found = stats(one_of(name), sample, seed, card_file(name))
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    for part in tables(found):
        console.print(part, markup=False)


@data_app.command("preview")
def data_preview(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set on disk, its folder, or a card of yours.")],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    count: Annotated[int, typer.Option(min=1, help="Samples on the page.")] = 60,
    seed: Annotated[int, typer.Option(help="Which samples these are.")] = 0,
    skipped: Annotated[bool, typer.Option("--skipped", help="The skip list, beside what it repeats.")] = False,
) -> None:
    """A page of pictures with their captions, to look at."""
    from vltk.data.inspect.preview import preview
    from vltk.data.named import card_file, one_of

    shown = preview(one_of(name), out, count, seed, skipped, card_file(name))
    typer.echo(f"{out}: {shown:,} samples")


@data_app.command("dedup")
def data_dedup(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Data sets, the first is kept first.")],
    against: Annotated[list[str] | None, typer.Option(help="Evaluation sets, by commas.")] = None,
    distance: Annotated[int, typer.Option(min=0, max=8, help="Bits of 64 by which hashes may differ.")] = 4,
    exact: Annotated[bool, typer.Option("--exact", help="Compare bytes alone.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Remove the skip lists.")] = False,
) -> None:
    """List samples that repeat others; training leaves them out. Nothing is deleted."""
    from vltk.data import skip
    from vltk.data.dataset import open_dataset
    from vltk.data.inspect.dedup import dedup
    from vltk.data.named import one_of

    names = [one_of(name) for name in names]
    if undo:
        for name in names:
            there = skip.undo(open_dataset(name, skips=False).folder)
            typer.echo(f"{name}: {'the skip list is removed' if there else 'there is no skip list'}")
        return
    sets = [one_of(name) for given in against or [] for name in given.split(",")]
    for found in dedup(names, sets, None if exact else distance):
        typer.echo(found)


@data_app.command("vocab")
def data_vocab(
    datasets: Annotated[list[str], typer.Argument(metavar="DATASET...", help="Data sets with text.")],
    out: Annotated[Path, typer.Option(help="The vocab.txt to write.")],
    size: Annotated[int, typer.Option(min=64, help="Tokens in the vocabulary.")] = 8000,
) -> None:
    """Learn a WordPiece vocabulary from the texts of data sets (vltk data tokenizer does more)."""
    from vltk.data.vocabulary import train_vocabulary

    train_vocabulary(datasets, size, out)
    typer.echo(out)


Column = Annotated[str, typer.Option(help="Of JSON lines and parquet: what holds the text.")]
Per = Annotated[Literal["file", "line", "blank"], typer.Option(help="A text file is one, or one a line, a paragraph.")]
Starts = Annotated[str | None, typer.Option(metavar="REGEX", help="Lines that begin a document, as '^ = [^=]'.")]


@data_app.command("tokenizer")
def data_tokenizer(
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Data sets with text, or documents.")],
    out: Annotated[Path, typer.Option(help="The tokenizer.json to write, or a vocab.txt.")],
    kind: Annotated[Literal["wordpiece", "bpe"], typer.Option(help="BERT's, or GPT-2's on bytes.")] = "wordpiece",
    size: Annotated[int, typer.Option(min=64, help="Tokens at most.")] = 8000,
    cased: Annotated[bool, typer.Option("--cased", help="Keep capital letters and accents.")] = False,
    column: Column = "text",
    per: Per = "file",
    starts: Starts = None,
) -> None:
    """Learn a tokenizer from texts."""
    from vltk.data.vocabulary import train_tokenizer

    count = train_tokenizer(sources, kind, size, out, cased, column=column, per=per, starts=starts)
    typer.echo(f"{out}: {count:,} tokens")


@data_app.command("tokens")
def data_tokens(
    source: Annotated[str, typer.Argument(help="Text, JSON lines or parquet files, or a data set with text.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the data set to write, as books/train.")],
    tokenizer: Annotated[str, typer.Option(help="vocab.txt, tokenizer.json, a folder with one, or a hub model.")],
    max_length: Annotated[int, typer.Option(min=4, help="Tokens of a sample at most.")] = 512,
    min_tokens: Annotated[int, typer.Option(min=1, help="Shorter ends of documents are left out.")] = 4,
    column: Column = "text",
    per: Per = "file",
    starts: Starts = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a data set of this name.")] = False,
) -> None:
    """Turn documents into token shards, ready to train on; a run that was stopped goes on."""
    from vltk.data.dataset import dataset_folder
    from vltk.data.tokenise import tokenise

    made = tokenise(
        source,
        name,
        tokenizer,
        max_length=max_length,
        least=min_tokens,
        replace=replace,
        column=column,
        per=per,
        starts=starts,
    )
    statuses = ", ".join(f"{count:,} {status}" for status, count in made["statuses"].items())
    counts = f"{made['samples']:,} samples of {made['documents']:,} documents, {made['tokens']:,} tokens"
    lost = f"{made['cut_sentences']:,} sentences cut, {made['left_tokens']:,} tokens left out"
    typer.echo(f"{dataset_folder(name)}: {counts}")
    typer.echo(f"documents: {statuses}; {lost}, {made['unknown_tokens']:,} unknown")
