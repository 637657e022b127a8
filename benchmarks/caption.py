"""Captions and scores a second against transformers' BLIP classes: equal weights, equal images, in turns in one run.

    python -m benchmarks.caption [--width 384] [--depth 6] [--size 224] [--images 32] [--batch 16] [--texts 3]
        [--rounds 3] [--bf16 ours|both]

Captions of 20 tokens, prompt included, by 3 beams and by sampling from the nucleus; scores of `--texts` texts an image.
Texts go on to their full length on both sides, so that both do the same work. In fp32 beams have to give equal texts.
`--bf16 ours`: ours as a job with `precision: bf16`, theirs as it comes; `both`: both under autocast. Below the table
stands how our time divides.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import _cli
from vltk.caption import beam, nucleus
from vltk.caption.contract import Start
from vltk.caption.decoding import Decoding
from vltk.errors import VltkError
from vltk.models import inference
from vltk.models.hf.reading import read_model
from vltk.models.tokens import Text
from vltk.run import take_weights

VOCAB, SEP, LENGTH = 30524, 102, 20
DEC, ENC = VOCAB - 2, VOCAB - 1
PROMPT = [DEC, 1037, 3861, 1997]  # a picture of
PEAKED = 0.05  # temperature at which random weights prefer some tokens to others, as trained ones do
PARTS = ("images", "decoder", "choice of tokens")


def main() -> None:
    parser = _cli.parser(__doc__)
    for name, default in (("width", 384), ("depth", 6), ("size", 224), ("images", 32), ("batch", 16), ("texts", 3)):
        parser.add_argument(f"--{name}", type=_cli.positive, default=default)
    parser.add_argument("--rounds", type=_cli.positive, default=3)
    parser.add_argument("--bf16", choices=["ours", "both"])
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.randn(given.images, 3, given.size, given.size, generator=torch.Generator().manual_seed(0)).to(device)
    batches = images.split(given.batch)
    writers, readers = (pair(kind, given, device) for kind in ("ForConditionalGeneration", "ForImageTextRetrieval"))
    works: dict[str, tuple[Callable[[], Any], Callable[[], Any], int]] = {
        "captions, 3 beams": (*captions(writers, batches, "beam"), given.images),
        "captions, nucleus": (*captions(writers, batches, "nucleus"), given.images),
        f"scores, {given.texts} texts an image": (*scores(readers, batches, given.texts), given.images * given.texts),
    }
    told = f"bf16: {given.bf16 or 'none'}"
    print(f"width {given.width}, depth {given.depth}, {given.size} px, batches of {given.batch}, {device}, {told}\n")
    print("| | vltk a second | transformers | ratio |\n|---|---:|---:|---:|")
    with torch.no_grad():
        for name, (ours, theirs, count) in works.items():
            ours = partial(in_bf16, ours, device) if given.bf16 else ours
            theirs = partial(in_bf16, theirs, device) if given.bf16 == "both" else theirs
            seconds = in_turns(ours, theirs, given.rounds, given.bf16 is None, "beams" in name)
            one, other = (count / statistics.median(times) for times in seconds)
            print(f"| {name} | {one:.2f} | {other:.2f} | {one / other:.2f} |", flush=True)
        pieces = partial(list, divided(writers[0], batches))
        print(f"\nour time, 3 beams: {', '.join(in_bf16(pieces, device) if given.bf16 else pieces())}")


def in_bf16(work: Callable[[], Any], device: str) -> Any:
    with torch.autocast(device, torch.bfloat16):
        return work()


def pair(kind: str, given: argparse.Namespace, device: str) -> tuple[Any, Any]:
    """Ours and theirs with the same random weights."""
    import transformers

    tower = {"num_hidden_layers": given.depth, "num_attention_heads": given.width // 64}
    tower |= {"hidden_size": given.width, "intermediate_size": 4 * given.width}
    text = tower | {"vocab_size": VOCAB, "encoder_hidden_size": given.width, "bos_token_id": DEC, "sep_token_id": SEP}
    config = transformers.BlipConfig(
        text_config=text | {"pad_token_id": 0}, vision_config=tower | {"image_size": given.size, "patch_size": 16}
    )
    torch.manual_seed(0)
    theirs = getattr(transformers, f"Blip{kind}")(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        words = [f"w{number}" for number in range(VOCAB - 2)]
        words[:5], words[101:104] = ["[PAD]", "[UNK]", "w2", "w3", "w4"], ["[CLS]", "[SEP]", "[MASK]"]
        (Path(folder) / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
        read = read_model(Path(folder))
        ours: Any = read.model.build().eval()
        take_weights(ours, read.weights(), kind)
    return ours.to(device), theirs.to(device)


def captions(both: tuple[Any, Any], batches: Any, method: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    ours, theirs = both
    said: dict[str, Any] = {"repetition_penalty": 1.0} if method == "beam" else {"temperature": PEAKED}
    decoding = Decoding(method=method, min_length=LENGTH - 1, max_length=LENGTH, **said)
    start = Start(PROMPT, SEP)
    options: dict[str, Any] = {"min_length": LENGTH, "max_length": LENGTH}
    options |= {"num_beams": 3, "do_sample": False} if method == "beam" else {}
    if method != "beam":
        options |= {"do_sample": True, "top_p": 0.9, "top_k": 0, "repetition_penalty": 1.1, "temperature": PEAKED}

    def here() -> Any:
        return [text.ids for images in batches for (text, *_) in written(ours, images, start, decoding)]

    def there() -> Any:
        found = []
        for images in batches:
            prompt = torch.tensor([[*PROMPT, SEP]] * len(images), device=images.device)
            out = theirs.generate(pixel_values=images, input_ids=prompt, **options)
            found += [tuple(row[len(PROMPT) :].tolist()) for row in out]
        return found

    return here, there


def written(model: Any, images: Tensor, start: Start, decoding: Decoding) -> Any:
    state = model.begin_captions(images)
    if decoding.method == "beam":
        return beam.search(model, state, start, decoding, len(images))
    return nucleus.sample(model, state, start, decoding, 0, [str(number) for number in range(len(images))])


def scores(both: tuple[Any, Any], batches: Any, texts: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    ours, theirs = both
    ids = torch.randint(1000, 30000, (len(batches[0]) * texts, 16), generator=torch.Generator().manual_seed(1))
    ids[:, 0] = ENC
    ids = ids.to(batches[0].device)
    lengths = torch.full((len(ids),), 16, device=ids.device)

    def here() -> Any:
        found = []
        for images in batches:
            own = torch.arange(len(images), device=ids.device).repeat_interleave(texts)
            every = torch.arange(len(own), device=ids.device)
            found.append(inference.match_pairs(ours, images, Text(ids[: len(own)], lengths[: len(own)]), own, every))
        return torch.cat(found).cpu()

    def there() -> Any:
        found = []
        for images in batches:
            repeated = images.repeat_interleave(texts, 0)
            logits = theirs(input_ids=ids[: len(repeated)], pixel_values=repeated, use_itm_head=True).itm_score
            found.append(logits[:, 1] - logits[:, 0])
        return torch.cat(found).cpu()

    return here, there


def in_turns(
    ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int, exact: bool, beams: bool
) -> tuple[list[float], list[float]]:
    """Seconds of each round of both; the first round, which is not counted, compares what they give."""
    check(ours(), theirs(), exact, beams)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, times in zip((ours, theirs), seconds, strict=True):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    return seconds


def check(one: Any, other: Any, exact: bool, beams: bool) -> None:
    """Whether both did the same: equal texts of beams in one precision, equally long ones of samplers, near scores."""
    if isinstance(one, Tensor):
        near = 1e-3 if exact else 0.1
        torch.testing.assert_close(one.float(), other.float(), atol=near, rtol=near)
    elif exact and beams and one != other or len({len(ids) for ids in (*one, *other)}) != 1:
        raise VltkError("the texts differ: the work was not the same")


def divided(model: Any, batches: Any) -> Iterator[str]:
    """The share of each part of one pass of beam search."""
    spent = dict.fromkeys(PARTS, 0.0)
    begin, forward = model.begin_captions, model.next_logits

    @contextmanager
    def watched(part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        spent[part] += time.perf_counter() - start

    def begun(images: Tensor) -> Any:
        with watched("images"):
            return begin(images)

    def stepped(ids: Tensor, state: Any) -> Tensor:
        with watched("decoder"):
            return forward(ids, state)

    model.begin_captions, model.next_logits = begun, stepped
    start = time.perf_counter()
    captions((model, None), batches, "beam")[0]()
    whole = time.perf_counter() - start
    model.begin_captions, model.next_logits = begin, forward
    spent["choice of tokens"] = whole - spent["images"] - spent["decoder"]
    yield from (f"{part} {100 * seconds / whole:.0f} %" for part, seconds in spent.items())


if __name__ == "__main__":
    _cli.run(main)
