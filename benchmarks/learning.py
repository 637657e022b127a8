"""Learning against transformers: CLIPModel and FlavaForPreTraining of our sizes, same photos, same time.

python -m benchmarks.learning --vocab vocab.txt --minutes 20
python -m benchmarks.learning --vocab vocab.txt --steps clip=2740,flava=1486 --run flava-flickr8k
python -m benchmarks.learning --vocab vocab.txt --calibrate
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import torch
import transformers

from benchmarks.peers.calibration import calibrate
from benchmarks.peers.clip import Clip
from benchmarks.peers.flava import Flava
from benchmarks.peers.ours import evaluate_run
from benchmarks.peers.peer import Peer, Sizes, Words
from benchmarks.peers.photos import Photos, load_photos
from benchmarks.peers.training import Budget, Record, Settings, Trainer, train
from vltk.data.dataset import open_dataset
from vltk.data.text import Tokenizer
from vltk.errors import VltkError

PEERS: dict[str, type[Clip] | type[Flava]] = {"clip": Clip, "flava": Flava}
METRICS = [f"{way} R@{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)]


def main() -> None:
    """Reads the command line, then calibrates, or trains every peer and prints the table."""
    options = _options()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    sizes, settings = Sizes(), Settings(lr=options.lr, seed=options.seed, evaluate_every=options.evaluate_every)
    tokenizer = Tokenizer(options.vocab, sizes.max_length)
    photos = load_photos(open_dataset(options.train), tokenizer, options.side)
    words = Words(tokenizer.size, tokenizer.pad, tokenizer.cls, tokenizer.sep, tokenizer.mask)
    if options.calibrate:
        trainers = {name: Trainer(_peer(name, sizes, words, settings.seed), photos, settings) for name in options.peers}
        _print_calibration(trainers, options)
        return
    dev = load_photos(open_dataset(options.dev), tokenizer, sizes.image)
    _compete(photos, dev, sizes, words, settings, options)


def _compete(
    photos: Photos, dev: Photos, sizes: Sizes, words: Words, settings: Settings, options: argparse.Namespace
) -> None:
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table: dict[str, Record] = {}
    with options.out.open("a") as out:

        def report(record: Record) -> None:
            print(json.dumps(record), file=out, flush=True)
            print(_line(f"{record['model']} step {record['step']}", record), f"  loss {record['loss']}", flush=True)

        print(json.dumps(_conditions(options, settings, sizes)), file=out, flush=True)
        for name in options.peers:
            trainer = Trainer(_peer(name, sizes, words, settings.seed), photos, settings)
            budget = Budget(options.minutes, options.steps.get(name))
            records = train(trainer, dev, sizes.image, words.pad, budget, report)
            table |= {f"{name}, last": records[-1], f"{name}, best": max(records, key=_sum_of_recalls)}
        if options.run:
            table["ours"] = evaluate_run(options.run, options.dev)
            print(json.dumps(table["ours"]), file=out, flush=True)
    _print_table(table, len(dev), len(dev.all_captions()[0]))


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


def _sum_of_recalls(record: Record) -> float:
    return sum(float(str(record[metric])) for metric in METRICS)


def _line(title: str, record: Record) -> str:
    cells = "  ".join(f"{float(str(record[metric])):5.1f}" for metric in METRICS)
    return f"{title:<20} {record['step']:>6}  {float(str(record['seconds'])) / 60:7.1f}  {cells}"


def _print_table(table: dict[str, Record], photos: int, captions: int) -> None:
    print(f"\n{photos} photos, {captions} captions; recall in %, ties against; best: by the sum of the six")
    print(f"{'':<20} {'steps':>6}  {'minutes':>7}  image to text R@1/5/10   text to image R@1/5/10")
    for title, record in table.items():
        print(_line(title, record))


def _conditions(options: argparse.Namespace, settings: Settings, sizes: Sizes) -> Record:
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    versions["threads"] = str(torch.get_num_threads())
    given = {key: getattr(options, key) for key in ("minutes", "steps", "train", "dev", "side")}
    return {"conditions": versions | given | vars(settings) | vars(sizes)}


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
    add("--run", help="a finished run of ours, evaluated beside the peers")
    add("--train", default="flickr8k/train", help="data set")
    add("--dev", default="flickr8k/dev", help="data set")
    add("--vocab", type=Path, required=True, help="WordPiece vocab.txt, BERT's for 30522 words")
    add("--side", type=int, default=128, help="pixels of the photos in RAM, before cropping")
    add("--lr", type=float, default=Settings.lr)
    add("--seed", type=int, default=Settings.seed)
    add("--evaluate-every", type=int, default=Settings.evaluate_every, help="steps")
    add("--out", type=Path, default=Path("benchmarks/results/learning.jsonl"))
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except VltkError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
