"""The runs of a job: what they are, whether they were trained for their part, and loading them once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vltk import run
from vltk.capfilt.job import RECIPES, Job
from vltk.data.hashes import file_sha256
from vltk.errors import VltkError
from vltk.identity import digest
from vltk.log import warn
from vltk.recipe import Stage
from vltk.run import HfFolder, RunFolder, Source
from vltk.train.sources import require_finished

if TYPE_CHECKING:
    from vltk.run import Trained

TRAINED_FOR = {"captioner": {"lm"}, "filter": {"itm", "itm_hard"}}  # by one of these objectives


class Model:
    """A run in its part (`captioner` or `filter`). Its weights are read when they are first needed.

    Raises Missing and VltkError where it is absent, not finished, or was not trained for its part.
    """

    def __init__(self, role: str, spec: str, job: Job) -> None:
        self.role, self.spec, self.job = role, spec, job
        self.source: Source = run.find_source(spec)
        require_finished(self.source, spec)
        self.stage = run.load_stage(self.source)
        self._trained: Trained | None = None
        check_role(self, job.force)
        model = _without_weights(self.stage)
        self._require_verbs(model)
        if isinstance(self.source, HfFolder) and self.source.tokenizer() is None:
            told = "put its vocab.txt or tokenizer.json beside the weights"
            raise VltkError(f"the {role} {spec} has no tokenizer that vltk reads: {told}")
        if role == "captioner":
            self._require_length(model)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What it is, for provenance: equal facts, equal outputs."""
        return {
            "run": self.spec,
            "weights": weights_digest(self.source),
            "model": digest({"model": self.stage.model.model_dump(mode="json")}),
            "tokenizer": None if (own := self._tokenizer()) is None else own.digest,
            "image_size": self.stage.image.size,
        }

    def _tokenizer(self) -> Any:
        from vltk.data.text import load_tokenizer

        if isinstance(self.source, HfFolder):
            return self.source.tokenizer()
        return None if self.stage.tokenizer is None else load_tokenizer(self.stage.tokenizer, self.source.path)

    @property
    def trained(self) -> Trained:
        """On this process's device, in evaluation mode."""
        if self._trained is None:
            from vltk import dist

            self._trained = run.load(self.source)
            self._trained.model.to(dist.device()).eval()
        return self._trained

    def _require_verbs(self, model: Any) -> None:
        from vltk.models import inference

        by = self.job.rule.by
        if self.role == "captioner" and not inference.can_write(model):
            raise VltkError(f"the captioner {self.spec} does not write texts, it has no decoder: give another run")
        if self.role == "filter" and by == "itm" and not inference.can_match(model):
            other = "or choose by similarity alone, as select={part: topk, by: itc}"
            raise VltkError(f"the filter {self.spec} has no matching head (ITM): give another run, {other}")
        if self.role == "filter" and by == "itc" and not inference.can_embed(model):
            raise VltkError(f"the filter {self.spec} has no contrastive embeddings (ITC): give another run")

    def _require_length(self, model: Any) -> None:
        from vltk.caption.generate import misfit

        if wrong := misfit(model, self._tokenizer(), self.job.options.caption):
            raise VltkError(f"the captioner {self.spec}: caption.{wrong}")

    @contextmanager
    def computing(self) -> Iterator[Any]:
        """The model, without gradients, in the precision of the job."""
        import torch

        model = self.trained.model
        device = next(model.parameters()).device.type
        bf16 = self.job.options.precision == "bf16"
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=bf16):
            yield model


def _without_weights(stage: Stage) -> Any:
    """Its model, to see what it can do before any weights are read."""
    import torch

    with torch.device("meta"):
        return stage.model.build()


def weights_digest(source: Source) -> str:
    """sha256 of the file of weights; of several the hash of theirs."""
    files = _files(source)
    found = [_sha256(path, path.stat().st_mtime_ns) for path in files]
    return found[0] if len(found) == 1 else digest({path.name: one for path, one in zip(files, found, strict=True)})


@cache
def _sha256(path: Path, written: int) -> str:
    """Read once in a process, as long as the file is the same."""
    return file_sha256(path)


def named(spec: str) -> dict[str, Any]:
    """What the name of a run tells without loading it: part of `Model.facts`, the name alone where it is gone."""
    try:
        source = run.find_source(spec)
        sealed = source.facts().get("weights") if isinstance(source, RunFolder) and source.step is None else None
        return {"run": spec, "weights": sealed["sha256"] if sealed else weights_digest(source)}
    except (VltkError, OSError):
        return {"run": spec}


def _files(source: Source) -> list[Path]:
    if isinstance(source, HfFolder):
        from vltk.models.weights import files_of

        return files_of(source.path)
    if source.step is None:
        return [source.weights]
    return sorted(run.checkpoint_at(source, source.step).glob("*.safetensors"))


def objectives(stage: Stage) -> set[str]:
    """The parts that it was trained by."""
    return {choice.part for stream in stage.streams.values() for choice in stream.objectives.values()}


def check_role(model: Model, force: bool) -> None:
    """Raises VltkError where the run was not fine-tuned for its part; with `force` that is a warning.

    Fine-tuned is what began from trained weights and was trained for its part alone (BLIP section 3.3: a captioner by
    language modelling, a filter by contrast and matching). Of a Hugging Face folder its class says it, where it is
    one of BLIP's.
    """
    if wrong := _unfit(model):
        if not force:
            raise VltkError(f"the {model.role} {model.spec} {wrong}; --force takes it all the same")
        warn(f"the {model.role} {model.spec} {wrong}; taken as --force was given")


def _unfit(model: Model) -> str | None:
    if model.role == "filter" and model.job.rule.by != "itm":
        return None
    if isinstance(model.source, HfFolder):
        from vltk.models.hf import blip

        given = model.source.model.architecture
        published = {"captioner": blip.CAPTIONS, "filter": blip.RETRIEVAL}[model.role]
        told = f"is a {given}, which does not say what it was fine-tuned for: give a {published}"
        return None if given == published else told
    if model.source.facts().get("imported"):
        return None
    own = objectives(model.stage)
    wanted = TRAINED_FOR[model.role]
    other = set().union(*TRAINED_FOR.values()) - wanted
    again = f"fine-tune one: vltk train {RECIPES[model.role]}"
    if not wanted & own:
        return f"was never trained by {' or '.join(sorted(wanted))}, but by {', '.join(sorted(own))}: {again}"
    if not model.stage.init or other & own:
        return f"was pretrained, not fine-tuned for its part: {again}"
    return None
