"""`vltk capfilt ...`: captions for images, and a filter for all captions. Each command loads, calls, prints."""

from __future__ import annotations

import os
from collections.abc import Collection
from copy import copy
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

DEFAULT = "capfilt"  # the recipe where none is given


class _Chain(TyperGroup):
    """What names no command is what `run` is given: `vltk capfilt`, `vltk capfilt mine.yaml seed=1`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            _refuse_unknown(args[:1], self.commands)
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*self.commands["run"].collect_usage_pieces(ctx), "or", self.subcommand_metavar]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """With what `run` takes, which may stand here."""
        shown = copy(self)
        shown.params = [*self.commands["run"].params, *self.params]
        super(_Chain, shown).format_help(ctx, formatter)


def _refuse_unknown(words: list[str], commands: Collection[str]) -> None:
    """Raises RecipeError for a word that is neither a command nor a recipe, as `captoin`."""
    from vltk.errors import RecipeError
    from vltk.recipe_files import jobs, locate
    from vltk.strict import suggest

    for word in words:
        if "=" in word or word.startswith("-"):
            continue
        try:
            locate(word)
        except RecipeError:
            known = suggest(word, {*commands, *jobs("capfilt")})
            raise RecipeError(f"{word}: neither a command of vltk capfilt nor a recipe{known}") from None


capfilt_app = typer.Typer(
    cls=_Chain,
    help="Caption images and filter captions. Without a command: all steps, by default of recipes/capfilt.yaml.",
)

Given = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RECIPE] [KEY=VALUE]...", help="By default recipes/capfilt.yaml; as select.threshold=0.4."),
]
Force = Annotated[bool, typer.Option("--force", help="Take runs that were not fine-tuned for their part.")]
Redo = Annotated[bool, typer.Option("--redo", help="Make again what was made of something else.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace a data set of the output's name.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes that share the shards.")]


@capfilt_app.command("run")
def run(
    given: Given = None, force: Force = False, redo: Redo = False, replace: Replace = False, jobs: Jobs = 1
) -> None:
    """All steps: caption, score, select, report, pack. The same command goes on where it was stopped."""
    from vltk.capfilt import steps

    steps.run(_job(given, force), redo, replace, _shares(jobs), _report)


@capfilt_app.command("caption")
def caption(given: Given = None, force: Force = False, redo: Redo = False, jobs: Jobs = 1) -> None:
    """Write texts for the images of each shard."""
    from vltk.capfilt import steps

    steps.captions(_job(given, force), redo, _shares(jobs))


@capfilt_app.command("score")
def score(given: Given = None, force: Force = False, redo: Redo = False, jobs: Jobs = 1) -> None:
    """Read every text beside its image: probability of a match, and similarity."""
    from vltk.capfilt import steps

    steps.scores(_job(given, force), redo, _shares(jobs))


@capfilt_app.command("select")
def select(given: Given = None) -> None:
    """Decide which texts are kept, by their scores; no model is run."""
    job = _required(given)
    from vltk.capfilt import select as step

    step.select(job)


@capfilt_app.command("pack")
def pack(given: Given = None, replace: Replace = False) -> None:
    """Write the kept texts with their images as a data set."""
    job = _required(given)
    from vltk.capfilt import pack as step

    typer.echo(step.pack(job, replace))


@capfilt_app.command("report")
def report(given: Given = None) -> None:
    """Write report.html of the job, and print its path."""
    _report(_required(given))


@capfilt_app.command("bootstrap")
def bootstrap(
    given: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RECIPE] [KEY=VALUE]...", help="By default recipes/blip/bootstrap.yaml; as rounds=2."),
    ] = None,
    redo: Redo = False,
    jobs: Jobs = 1,
    gpus: Annotated[int | None, typer.Option(min=1, help="Processes of each training. Default: every GPU.")] = None,
) -> None:
    """The whole cycle: pretrain, fine-tune both, caption and filter, pretrain a new model on the result."""
    from vltk.bootstrap import cycle, recipe

    name, overrides = _split(given, "blip/bootstrap")
    typer.echo(cycle.run(recipe.load(name, overrides), lambda path: _train(str(path), redo, gpus), redo, _shares(jobs)))


def loaded(recipe: str, overrides: list[str]) -> Any:
    """The job or bootstrap that a recipe is, checked; None where it trains."""
    from vltk.recipe_files import kind_of, locate

    kind = kind_of(locate(recipe))
    if kind is None:
        return None
    from vltk.bootstrap import recipe as bootstraps
    from vltk.capfilt import job

    return (bootstraps if kind == "bootstrap" else job).load(recipe, overrides)


def check(job: Any) -> None:
    """Raises RecipeError with what `loaded` did not look at: the models of a bootstrap's stages."""
    from vltk.bootstrap import recipe

    if isinstance(job, recipe.Bootstrap):
        recipe.check(job)


def resolved(job: Any) -> str:
    """As YAML, defaults included."""
    import yaml

    text: str = yaml.safe_dump(job.options.model_dump(mode="json") | {"name": job.name}, sort_keys=False)
    return text


def _train(path: str, redo: bool, gpus: int | None) -> None:
    """As `vltk train` does it."""
    from vltk import launch

    if hosts := launch.places(gpus):
        from vltk.launch.spread import spread

        if code := spread(hosts, ["train", path, *(["--redo"] if redo else [])]):
            raise typer.Exit(code)
        return
    from vltk import pipeline
    from vltk import recipe as recipes

    pipeline.train(recipes.load(path), redo=redo)


def _split(given: list[str] | None, default: str) -> tuple[str, list[str]]:
    """The recipe, which is the one word without `=`, and the overrides."""
    from vltk.errors import VltkError

    names = [word for word in given or [] if "=" not in word]
    if len(names) > 1:
        raise VltkError(f"one recipe at a time; given: {', '.join(names)}")
    return names[0] if names else default, [word for word in given or [] if "=" in word]


def _job(given: list[str] | None, force: bool) -> Any:
    from vltk.capfilt import job

    name, overrides = _split(given, DEFAULT)
    return job.load(name, overrides, force)


def _required(given: list[str] | None) -> Any:
    """The job, whose data is there; no run is needed any more."""
    from vltk.capfilt.job import require

    job = _job(given, True)
    require(job, ())
    return job


def _shares(jobs: int) -> list[dict[str, str]]:
    """The environment of each further process; that of this one is taken over here."""
    if jobs == 1:
        return []
    from vltk.sweep.devices import slots

    shares = slots(jobs)
    os.environ.update(shares[0])
    return shares[1:]


def _report(job: Any) -> None:
    from vltk.report.capfilt import build

    typer.echo(build(job))
