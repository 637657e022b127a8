"""What a trained stage makes of examples. A gallery says what it is for; it is drawn from the newest weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from vltk.errors import VltkError
from vltk.report.galleries import masked_patches, masked_words, reconstructions, retrieval
from vltk.report.page import notice, section
from vltk.report.record import StageRecord

if TYPE_CHECKING:
    from vltk.run import Trained

Load = Callable[[str], Any]


class Gallery(Protocol):
    """A module of this folder."""

    def sources(self, recipe: dict[str, Any]) -> list[Any]:
        """What the gallery is drawn for in a stage with this (resolved) recipe; empty: it has no such gallery."""

    def title(self, source: Any) -> str:
        """The heading."""

    def draw(self, trained: Trained, source: Any) -> tuple[str, str]:
        """A note (HTML: what is seen, on which data) and the gallery (HTML). Raises VltkError when data is missing."""


GALLERIES: tuple[Gallery, ...] = (reconstructions, masked_patches, masked_words, retrieval)


def load_trained(spec: str) -> Any:
    """The newest good weights of a stage folder."""
    from vltk import run

    return run.load(spec)


def draw_all(stage: StageRecord, load: Load) -> str:
    """Every gallery of the stage, in sections; where one could not be drawn, the reason in its place."""
    wanted = [(gallery, source) for gallery in GALLERIES for source in gallery.sources(stage.recipe)]
    if not wanted:
        return ""
    titles = "; ".join(gallery.title(source) for gallery, source in wanted)
    if not stage.has_weights:
        told = f"No checkpoint yet. With the first one (step {_first_checkpoint(stage)}) this page can show: {titles}."
        return section("Examples", notice(told))
    try:
        trained = _loaded(stage, load)
    except VltkError as error:
        return section("Examples", notice(f"Not drawn ({titles}): the weights could not be loaded. {error}"))
    return "".join(_drawn(gallery, trained, source) for gallery, source in wanted)


def _loaded(stage: StageRecord, load: Load) -> Any:
    """The weights asked for, else the newest: found again where training deletes a checkpoint while it is read."""
    from safetensors import SafetensorError

    spec = str(stage.folder) if stage.chosen is None else f"{stage.folder}@{stage.chosen}"
    try:
        return load(spec)
    except (OSError, SafetensorError, VltkError):
        try:
            return load(spec)
        except (OSError, SafetensorError) as error:
            raise VltkError(f"They went or changed while they were read, twice ({error}); try again.") from error


def _drawn(gallery: Gallery, trained: Any, source: Any) -> str:
    try:
        note, body = gallery.draw(trained, source)
    except VltkError as error:
        return section(gallery.title(source), notice(f"Not drawn: {error}"))
    return section(gallery.title(source), body, note=f"{note} Weights of step {trained.step:,}.")


def _first_checkpoint(stage: StageRecord) -> str:
    every, last = (stage.recipe.get("checkpoint") or {}).get("every"), stage.steps
    known = [step for step in (every, last) if step]
    return f"{min(known):,}" if known else "unknown"
