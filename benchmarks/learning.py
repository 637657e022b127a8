"""Learning against transformers: CLIPModel and FlavaForPreTraining of our sizes, same pairs, same time.

python -m benchmarks.learning --vocab vocab.txt --minutes 20
python -m benchmarks.learning --vocab vocab.txt --steps clip=2157,flava=1749 --run flava-flickr8k
python -m benchmarks.learning --vocab vocab.txt --calibrate
python -m benchmarks.learning --summary clip-0.jsonl flava-0.jsonl --run flava-flickr8k
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

from benchmarks.peers import summary
from benchmarks.peers.calibration import calibrate
from benchmarks.peers.clip import Clip
from benchmarks.peers.courses import of_peer, read_courses, refuse_unlike
from benchmarks.peers.flava import Flava
from benchmarks.peers.ours import read_run
from benchmarks.peers.peer import Peer, Sizes, Words
from benchmarks.peers.photos import Photos, load_photos
from benchmarks.peers.training import Budget, Record, Settings, Trainer, train
from vltk.data.dataset import open_dataset
from vltk.data.text import Tokenizer
from vltk.errors import VltkError

PEERS: dict[str, type[Clip] | type[Flava]] = {"clip": Clip, "flava": Flava}


def main() -> None:
    """Reads the command line, then joins what was measured, or calibrates, or trains every peer; prints the table."""
    options = _options()
    if options.summary:
        print(joined(options.summary, options.run))
        return
    logging.getLogger("transformers").setLevel(logging.ERROR)
    sizes, settings = Sizes(), Settings(lr=options.lr, seed=options.seed, evaluate_every=options.evaluate_every)
    if not options.vocab.is_file():
        raise VltkError(
            f"--vocab {options.vocab}: no such file; give the vocab.txt of a WordPiece tokenizer, as BERT's"
        )
    tokenizer = Tokenizer(options.vocab, sizes.max_length)
    photos = load_photos(open_dataset(options.train), tokenizer, options.side)
    words = Words(tokenizer.size, tokenizer.pad, tokenizer.cls, tokenizer.sep, tokenizer.mask)
    if options.calibrate:
        trainers = {name: Trainer(_peer(name, sizes, words, settings.seed), photos, settings) for name in options.peers}
        _print_calibration(trainers, options)
        return
    dev = load_photos(open_dataset(options.dev), tokenizer, sizes.image)
    _compete(photos, dev, sizes, words, settings, options)


def joined(files: Sequence[Path], runs: Sequence[str]) -> str:
    """The table of the peers' files and of our runs. Raises VltkError where they do not go together."""
    peers = [course for file in files for course in read_courses(file, list(PEERS))]
    data = {key: str(peers[0].shared[key]) for key in ("train", "dev")}
    courses = [*peers, *(read_run(run, **data) for run in runs)]
    refuse_unlike(courses)
    return f"{_legend(data['dev'])}\n\n{summary.table(courses)}"


def _compete(
    photos: Photos, dev: Photos, sizes: Sizes, words: Words, settings: Settings, options: argparse.Namespace
) -> None:
    conditions = _conditions(options, settings, sizes)
    peers = [of_peer(name, conditions, "this command") for name in options.peers]
    courses = [*peers, *(read_run(run, options.train, options.dev) for run in options.run)]
    refuse_unlike(courses)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("a") as out:

        def report(record: Record) -> None:
            print(json.dumps(record), file=out, flush=True)
            print(_line(record), flush=True)

        print(json.dumps({"conditions": conditions}), file=out, flush=True)
        for course in peers:
            trainer = Trainer(_peer(course.model, sizes, words, settings.seed), photos, settings)
            budget = Budget(options.minutes, options.steps.get(course.model))
            course.records.extend(train(trainer, dev, sizes.image, words.pad, budget, report))
    print(f"\n{_legend(options.dev)}\n\n{summary.table(courses)}")


def _peer(name: str, sizes: Sizes, words: Words, seed: int) -> Peer:
    torch.manual_seed(seed)
    return PEERS[name](sizes, words)


def _print_calibration(trainers: dict[str, Trainer], options: argparse.Namespace) -> None:
    recipe = None if options.peers_only else options.recipe
    pace, minutes = calibrate(trainers, recipe, options.calibrate_steps, options.rounds)
    for name, seconds in pace.items():
        steps_in_time = 60 * options.minutes / seconds
        print(f"{name}: {seconds:.3f} s a step, {steps_in_time:.0f} steps in {options.minutes:g} minutes")
    if minutes is not None:
        steps = ",".join(f"{name}={60 * minutes / seconds:.0f}" for name, seconds in pace.items())
        print(f"{options.recipe}: {minutes:.1f} minutes of training steps, all stages\nsame time: --steps {steps}")


def _line(record: Record) -> str:
    """What is shown of an evaluation as it is made."""
    recalls = "  ".join(f"{metric} {float(str(record[metric])):.1f}" for metric in summary.METRICS)
    minutes = float(str(record["seconds"])) / 60
    return f"{record['model']} step {record['step']}  {minutes:.1f} min  loss {record['loss']}  {recalls}"


def _legend(dev: str) -> str:
    return (
        f"Recall in % on {dev}, mean ± standard deviation over seeds; best: of all evaluations, by the sum of the six."
    )


def _conditions(options: argparse.Namespace, settings: Settings, sizes: Sizes) -> Record:
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    versions["threads"] = str(torch.get_num_threads())
    given = {key: getattr(options, key) for key in ("minutes", "steps", "train", "dev", "side")}
    return versions | given | vars(settings) | vars(sizes)


def _steps(text: str) -> dict[str, int]:
    steps = {name: int(count) for name, count in (part.split("=") for part in text.split(","))}
    if set(steps) - set(PEERS):
        raise argparse.ArgumentTypeError(f"have: {', '.join(PEERS)}")
    return steps


def _names(text: str) -> list[str]:
    if set(text.split(",")) - set(PEERS):
        raise argparse.ArgumentTypeError(f"have: {', '.join(PEERS)}")
    return text.split(",")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--peers", type=_names, default=list(PEERS), help="which to train, e.g. clip,flava")
    add("--minutes", type=float, default=20.0, help="training time of each peer, evaluation not counted")
    add("--steps", type=_steps, default={}, help="steps instead of minutes, e.g. clip=2740,flava=1486")
    add("--calibrate", action="store_true", help="only measure step times, and the steps of equal time")
    add("--calibrate-steps", type=int, default=10, help="steps of each peer and of each stream of ours in a round")
    add("--rounds", type=int, default=3)
    add("--recipe", default="flava-flickr8k", help="our recipe, for --calibrate")
    add("--peers-only", action="store_true", help="calibrate without our recipe")
    add("--summary", type=Path, nargs="+", metavar="FILE", help="no training: the table of these files of --out")
    add("--run", nargs="+", default=[], metavar="NAME", help="finished runs of ours, one a seed, beside the peers")
    add("--train", default="flickr8k/train", help="data set")
    add("--dev", default="flickr8k/dev", help="data set")
    add("--vocab", type=Path, help="WordPiece vocab.txt, BERT's for 30522 words")
    add("--side", type=int, default=128, help="pixels of the photos in RAM, before cropping")
    add("--lr", type=float, default=Settings.lr)
    add("--seed", type=int, default=Settings.seed)
    add("--evaluate-every", type=int, default=Settings.evaluate_every, help="steps")
    add("--out", type=Path, default=Path("benchmarks/results/learning.jsonl"))
    options = parser.parse_args()
    if options.vocab is None and not options.summary:
        parser.error("--vocab is needed to train and to calibrate")
    return options


if __name__ == "__main__":
    try:
        main()
    except VltkError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
