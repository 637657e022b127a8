"""The command line: each function loads, calls, prints. Heavy imports stay inside functions: `--help` must be quick."""

from __future__ import annotations

import errno
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from vltk import cli_capfilt, launch
from vltk.cli_data import data_app
from vltk.errors import VltkError

_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)  # what a user can mend about a disk

app = typer.Typer(
    name="vltk",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
recipe_app = typer.Typer(no_args_is_help=True, help="List, show and check recipes.")
import_app = typer.Typer(no_args_is_help=True, help="Make a run from the weights of another tool.")
app.add_typer(recipe_app, name="recipe")
app.add_typer(data_app, name="data")
app.add_typer(cli_capfilt.capfilt_app, name="capfilt")
app.add_typer(import_app, name="import")

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe by path or by name (vltk recipe ls).")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="As optimizer.lr=5e-4, stages.joint.steps=100, name=try2."),
]


def main() -> None:
    """Runs a command; a mistake that the user can mend is one message and an exit code, without a traceback."""
    launch.before_torch()
    launch.die_with_launcher()
    try:
        app()
    except KeyboardInterrupt:
        _leave(130)
    except SystemExit as done:
        _leave(done.code if isinstance(done.code, int) else int(done.code is not None))
    except Exception as error:
        message = _message(error)
        if launch.is_rank():
            from vltk.launch import last_words

            _leave(last_words.fail(error, message))
        if message is None:
            raise
        _leave(_say(message, getattr(error, "exit_code", 1)))


def _message(error: Exception) -> str | None:
    """What a user can mend, in words; None for what is no mistake of the user's, which keeps its traceback."""
    if isinstance(error, OSError) and error.errno in _OURS:
        return f"{error.strerror}: {error.filename or 'the disk that vltk writes to'}"
    if not hasattr(error, "exit_code"):
        return None
    return str(error) if isinstance(error, VltkError) else ""


def _leave(code: int) -> NoReturn:
    """Ends the process; one of several at once, as the threads that gloo leaves behind abort some exits."""
    if launch.is_rank():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        from vltk import __version__

        typer.echo(f"vltk {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say it.")] = False,
) -> None:
    """Vision-language pretraining, from a list of URLs to an evaluated foundation model."""


@app.command()
def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    redo: Annotated[bool, typer.Option("--redo", help="Throw away stages that another recipe made.")] = False,
    gpus: Annotated[int | None, typer.Option(min=1, help="Processes, one a GPU. Default: every GPU there is.")] = None,
    hostfile: Annotated[Path | None, typer.Option(help="Machines to train on, as: worker-1 slots=8.")] = None,
    max_restarts: Annotated[int, typer.Option(min=0, help="Starts again by itself, with the hosts that are left.")] = 0,
    sbatch: Annotated[bool, typer.Option("--sbatch", help="Print a script for SLURM; --gpus a node, else 8.")] = False,
    nodes: Annotated[int, typer.Option(min=1, help="With --sbatch.")] = 1,
) -> None:
    """Run the stages of a recipe that are not yet finished, into runs/NAME/STAGE."""
    from vltk import launch, needs
    from vltk import recipe as recipes

    if nodes > 1 and not sbatch:
        raise VltkError("--nodes goes with --sbatch; several machines without SLURM take --hostfile")
    if sbatch and hostfile is not None:
        raise VltkError("--hostfile does not go with --sbatch, where SLURM chooses the machines")
    again = ["train", recipe, *(overrides or []), *(["--redo"] if redo else [])]
    if sbatch:
        from vltk.launch.elastic import misfits
        from vltk.launch.sbatch import GPUS, script

        read, count = recipes.load(recipe, overrides or []), gpus or GPUS
        if (wrong := misfits(read, nodes * count)) is not None:
            raise wrong
        typer.echo(script(read.name, again, nodes, count, max_restarts), nl=False)
        return
    launch.adopt()
    needs.require_data(recipes.glance(recipe, overrides or []))
    hosts = launch.places(gpus, hostfile, max_restarts)
    if hosts:
        from vltk.launch.elastic import sharing
        from vltk.launch.spread import spread

        raise typer.Exit(spread(hosts, again, max_restarts, sharing(recipe, overrides or [])))
    from vltk import pipeline

    pipeline.train(recipes.load(recipe, overrides or []), redo=redo)


@data_app.command("codes")
def data_codes(
    recipe: RecipeName,
    given: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STAGE|KEY=VALUE]...", help="Stages, by default all with codes; image.crops=8."),
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="Processes, one a GPU. Default: every GPU there is.")] = None,
) -> None:
    """Make the codes that stages of a recipe read, once, beside their data sets; a stopped run goes on."""
    from vltk import launch
    from vltk import recipe as recipes

    launch.adopt()
    if hosts := launch.places(gpus):
        from vltk.launch.spread import spread

        raise typer.Exit(spread(hosts, ["data", "codes", recipe, *(given or [])]))
    from vltk import pipeline

    overrides = [word for word in given or [] if "=" in word]
    stages = [word for word in given or [] if "=" not in word]
    pipeline.make_codes(recipes.load(recipe, overrides), stages)


@app.command()
def sweep(
    recipe: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep by path or by name (vltk recipe ls).")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Of the sweep (seeds=[0], name=try2), or of every variant."),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at a time. Default: one a GPU; 1 on a CPU.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Print the table of what is there.")] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Throw away stages that another recipe made.")] = False,
) -> None:
    """Train variants of a recipe with several seeds, and compare them in runs/NAME/table.md."""
    from vltk.sweep import commands

    if dry_run or table:
        commands.show(recipe, overrides or [], table=table)
    else:
        commands.train(recipe, overrides or [], jobs=jobs, redo=redo)


@app.command("eval")
def evaluate(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Or Hugging Face folders. Default: the newest run.")
    ] = None,
    suite: Annotated[str | None, typer.Option(help="A named list of tasks, as shapes or 35tasks.")] = None,
    tasks: Annotated[str, typer.Option(metavar="A,B", help="Single tasks: names, or as retrieval:mine/dev.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many samples of each data set.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the official data sets lie.")] = None,
    data_status: Annotated[bool, typer.Option("--data-status", help="What is there of them, and what to do.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --data-status: as JSON.")] = False,
    fetch: Annotated[str, typer.Option(metavar="free|A,B", help="Download those of them that are open to all.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --fetch: say what would be done.")] = False,
    protocol: Annotated[
        str, typer.Option(help="flava or clip: which metric, split and images stand in the table.")
    ] = "flava",
    jobs: Annotated[int, typer.Option(min=1, help="Processes that share the tasks.")] = 1,
    allow_nonstandard: Annotated[
        bool, typer.Option("--allow-nonstandard", help="Take official data sets of other counts; marked.")
    ] = False,
    skip_absent: Annotated[bool, typer.Option("--skip-absent", help="Leave out tasks whose data is absent.")] = False,
    no_store: Annotated[bool, typer.Option("--no-store", help="Keep no encodings on disk.")] = False,
    redo: Annotated[bool, typer.Option("--redo", help="Also do again what is done.")] = False,
    budget: Annotated[
        str | None, typer.Option(help="Of fine-tunings: full, short or smoke; shorter ones are marked.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Trainings of each fine-tuning, of which the median counts.")
    ] = None,
    solver: Annotated[
        str | None, typer.Option(help="Of probes: exact, or sklearn, as the published figures were made.")
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Beside them the same models freshly initialised: the baseline.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write report.html and tables of all runs there.")
    ] = None,
) -> None:
    """Score runs on tasks, into their results.jsonl; or bring the official data sets (--data-status, --fetch)."""
    if (dry_run and not fetch) or (as_json and not data_status):
        raise VltkError("--dry-run goes with --fetch, --json with --data-status")
    if fetch:
        from vltk.eval.fetch import fetch as bring

        bring(_names(fetch), data, dry_run)
        return
    if data_status:
        from vltk.eval import data_status as official

        official.tell(_names(tasks), data, as_json)
        return
    from vltk.eval.run import Options
    from vltk.eval.run import evaluate as score
    from vltk.report.suite import build as suite_report

    score(
        runs or [],
        suite,
        _names(tasks),
        Options(
            limit,
            seed,
            data,
            nonstandard=allow_nonstandard,
            protocol=protocol,
            skip_absent=skip_absent,
            store=not no_store,
            redo=redo,
            budget=budget,
            seeds=seeds,
            solver=solver,
            random_weights=random_weights,
            helpers=_shares(jobs)[1:],
            report=None if report is None else partial(suite_report, folder=report),
        ),
    )


def _names(listed: str) -> list[str]:
    """Of `A,B`."""
    return [name for name in listed.split(",") if name]


def _shares(jobs: int) -> list[dict[str, str]]:
    """The environment of each of so many processes that evaluate together; the first one's is taken over here."""
    if jobs == 1:
        return [{}]
    from vltk.sweep.devices import slots

    shares = slots(jobs)
    os.environ.update(shares[0])
    return shares


@app.command()
def report(run: Annotated[str, typer.Argument(metavar="RUN", help="A run by name or folder.")]) -> None:
    """Write report.html of a run, finished or still training, and print its path."""
    from vltk.report import build

    typer.echo(build(run))


@app.command()
def parts(
    folder: Annotated[str | None, typer.Argument(help="As objectives or models/encoders.")] = None,
    name: Annotated[str | None, typer.Argument(help="As itc or vit.")] = None,
) -> None:
    """List the parts that recipes are made of; with a name, what it does and its options."""
    from vltk import parts as registry
    from vltk.strict import suggest

    if folder is not None and folder not in registry.FOLDERS:
        raise VltkError(f"no folder of parts '{folder}'{suggest(folder, registry.FOLDERS)}")
    if folder is not None and name is not None:
        typer.echo("\n".join(registry.describe(folder, name)))
        return
    for place in [folder] if folder else registry.FOLDERS:
        typer.echo(place)
        for part in registry.names(place):
            typer.echo(f"  {part:<18} {registry.summary(place, part)}")


@app.command()
def export(
    kind: Annotated[Literal["hf", "weights"], typer.Argument(help="hf: for from_pretrained. weights: safetensors.")],
    run: Annotated[str, typer.Argument(metavar="RUN[@STEP]", help="A run by name or folder.")],
    folder: Annotated[Path | None, typer.Argument(help="Where to write. Default: RUN-KIND here.")] = None,
) -> None:
    """Write the weights of a run for other tools."""
    from vltk.convert import export as write

    typer.echo(write(kind, run, folder))


@app.command()
def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    gpu: Annotated[str, typer.Option(help="As a100-80g; `cpu` is this machine, to be measured.")] = "a100-80g",
    gpus: Annotated[int, typer.Option(min=1, help="How many.")] = 8,
    mfu: Annotated[float, typer.Option(min=0.01, max=1, help="Share of the dense peak that is reached.")] = 0.4,
    days: Annotated[
        float | None, typer.Option(min=0.01, help="The cheapest number of GPUs that ends within them.")
    ] = None,
    tokens: Annotated[int | None, typer.Option(help="Of the longest text of a batch. Default: as long as any.")] = None,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Measure a few steps of each stream here.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """What training a recipe takes: parameters, FLOPs, memory, traffic, days, and the cheapest layout."""
    from vltk import recipe as recipes
    from vltk.plan import commands

    options = commands.Wishes(gpu=gpu, gpus=gpus, days=days, tokens=tokens)
    commands.tell(recipes.load(recipe, overrides or []), options, mfu, calibrate, as_json)


@app.command()
def bench(
    recipe: RecipeName,
    overrides: Overrides = None,
    stage: Annotated[str | None, typer.Option(help="Which. Default: the last one.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Steps of each stream that are timed.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """What this machine gives a recipe: its ceilings, the step of each stream, the loader, MFU."""
    import json

    from vltk import needs
    from vltk import recipe as recipes
    from vltk.log import console

    needs.require_data(recipes.glance(recipe, overrides or []))
    from vltk.plan import bench as benches  # which imports torch, in seconds

    found = benches.bench(recipes.load(recipe, overrides or []), stage, rounds)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        console.print(benches.table(found))


@app.command()
def doctor() -> None:
    """See whether this machine can train: packages, devices, room, two processes, ten steps."""
    from vltk.doctor import examine

    failed = 0
    for finding in examine():
        finding.show()
        failed += finding.state == "fail"
    if failed:
        raise VltkError(f"{failed} of these checks failed")


@import_app.command("hf")
def import_hf(
    folder: Annotated[Path, typer.Argument(help="A Hugging Face folder: config.json and safetensors.")],
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of the run to make.")],
) -> None:
    """Make a run from a FLAVA, CLIP, BLIP, ViT, BERT or RoBERTa model, two encoders, or FLAVA's image codebook."""
    from vltk.convert import import_hf as read

    typer.echo(read(folder, run))


@recipe_app.command("ls")
def recipe_ls() -> None:
    """The recipes, sweeps and jobs of ./recipes and those that come with vltk."""
    from vltk.recipe import available, headline, is_whole, jobs, sweeps

    for name, path in available().items():
        typer.echo(f"{name:<18} {'' if is_whole(path) else '(to include) '}{headline(path)}")
    for name, path in sweeps().items():
        typer.echo(f"{name:<18} (sweep) {headline(path)}")
    for name, path in jobs().items():
        typer.echo(f"{name:<18} (capfilt) {headline(path)}")


@recipe_app.command("show")
def recipe_show(recipe: RecipeName, overrides: Overrides = None) -> None:
    """The resolved recipe as YAML, each value with the place it comes from; of a sweep: SWEEP [VARIANT]."""
    from vltk.recipe import describe, load
    from vltk.sweep import commands

    if (job := cli_capfilt.loaded(recipe, overrides or [])) is not None:
        typer.echo(cli_capfilt.resolved(job), nl=False)
        return
    is_sweep = commands.is_one(recipe)
    lines = commands.describe(recipe, overrides or []) if is_sweep else describe(load(recipe, overrides or []))
    typer.echo("\n".join(lines))


@recipe_app.command("check")
def recipe_check(recipe: RecipeName, overrides: Overrides = None) -> None:
    """Say every mistake of a recipe, or of every variant of a sweep, without running it."""
    from vltk.recipe import load
    from vltk.sweep import commands
    from vltk.train.check import check_stages

    if (job := cli_capfilt.loaded(recipe, overrides or [])) is not None:
        cli_capfilt.check(job)
        typer.echo(f"{job.path}: no mistakes; {job.options.kind} {job.name}")
        return
    if commands.is_one(recipe):
        typer.echo(commands.check(recipe, overrides or []))
        return
    checked = load(recipe, overrides or [])
    check_stages(checked)
    typer.echo(f"{checked.path}: no mistakes; stages: {', '.join(checked.stages)}")


def _say(message: str, code: int) -> int:
    if message:
        print(message, file=sys.stderr)
    return code
