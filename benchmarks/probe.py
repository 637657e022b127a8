"""The probe solver against scikit-learn, on the same features: time, objective and accuracy; accuracy beside AdamW's.

python -m benchmarks.probe                                  # 50,000 x 768, 10 classes, the whole sweep
python -m benchmarks.probe --lambdas 1e2,1,1e-2             # both solvers fit these alone, and refit the best
python -m benchmarks.probe --features x.npy --labels y.npy  # real features
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import sklearn
import torch

from benchmarks import _cli
from benchmarks.peers.adamw_probe import Settings, accuracy
from vltk.errors import VltkError
from vltk.eval.probe import scikit
from vltk.eval.probe.examples import Examples, Floats, Ints
from vltk.eval.probe.rows import Rows
from vltk.eval.probe.sweep import Probe, search

SOON = 4  # fits of scikit-learn between two rounds of ours


def main() -> None:
    """Reads the command line, runs both solvers in turns, prints the table or JSON."""
    options = _options()
    features, labels = _given(options) if options.features else drawn(options)
    train, validation, test = _splits(features, labels, options)
    race = Race(train, validation, options)
    race.run()
    result = race.result(test)
    if not options.no_adamw:
        start = time.perf_counter()
        value, decay = accuracy(train, validation, test, Settings(seed=options.seed))
        result["adamw"] = {"accuracy": value, "weight_decay": decay, "seconds": time.perf_counter() - start}
    print("\n".join(_lines(result)))
    _cli.last(result, options.json)


class Race:
    """One sweep by scikit-learn; rounds of ours before it, after every few of its fits, and after it."""

    def __init__(self, train: Examples, validation: Examples, options: argparse.Namespace) -> None:
        self.train, self.validation, self.options = train, validation, options
        self.seconds: list[float] = []
        self.fits = 0
        self.paused = 0.0

    def run(self) -> None:
        self.ours = self._ours()
        start = time.perf_counter()
        self.theirs = self._search("sklearn", watch=self._after_a_fit)
        self.their_seconds = time.perf_counter() - start - self.paused
        self._ours()

    def result(self, test: Examples) -> dict[str, Any]:
        ours, theirs, own = self.ours, self.theirs, median(self.seconds)
        right = {name: 100 * float((probe.predict(test) == test.numbers).mean()) for name, probe in self._both.items()}
        return {
            "conditions": _conditions(self.train, self.validation, test, self.options),
            "seconds": {"ours": self.seconds, "ours_median": own, "sklearn": self.their_seconds},
            "times_faster": self.their_seconds / own,
            "accuracy": right,
            "accuracy_difference": right["ours"] - right["sklearn"],
            "penalty": {name: probe.fit.penalty for name, probe in self._both.items()},
            "refit": {name: probe.record() | {"value": probe.fit.value} for name, probe in self._both.items()},
            "by_penalty": compared(ours, theirs),
            "optimum": self._optimum(),
        }

    def _optimum(self) -> dict[str, float]:
        """The objective at our best penalty in the sweep, where scikit-learn goes on to a small gradient."""
        best = next(tried.fit for tried in self.ours.sweep if tried.fit.penalty == self.ours.fit.penalty)
        rows, tolerance = Rows(self.train, best.centre), self.options.tolerance
        (to_the_end,) = scikit.fit([rows], [best.penalty], [None], max_iterations=20_000, tolerance=tolerance)
        found = {"penalty": best.penalty, "tolerance": tolerance, "ours": best.value, "sklearn": to_the_end.value}
        return found | {"iterations": to_the_end.iterations, "ours_above": best.value / to_the_end.value - 1}

    @property
    def _both(self) -> dict[str, Probe]:
        return {"ours": self.ours, "sklearn": self.theirs}

    def _ours(self) -> Probe:
        start = time.perf_counter()
        probe = self._search("exact")
        self.seconds.append(time.perf_counter() - start)
        return probe

    def _after_a_fit(self, penalty: float, iteration: int, value: float) -> None:
        self.fits += 1
        print(f"scikit-learn: {penalty:.3g} after {iteration} iterations, {value:.6g}", file=sys.stderr, flush=True)
        if self.fits % SOON == 0:
            start = time.perf_counter()
            self._ours()
            self.paused += time.perf_counter() - start

    def _search(self, solver: Any, **more: Any) -> Probe:
        return search(self.train, self.validation, penalties=self.options.lambdas, solver=solver, **more)


def compared(ours: Probe, theirs: Probe) -> list[dict[str, Any]]:
    """The penalties that both sweeps tried: objectives, how far theirs lies above ours, accuracies, iterations."""
    other = {f"{tried.fit.penalty:.6g}": tried for tried in theirs.sweep}
    rows = []
    for tried in ours.sweep:
        if match := other.get(f"{tried.fit.penalty:.6g}"):
            rows.append(
                {
                    "penalty": tried.fit.penalty,
                    "ours": tried.record(),
                    "sklearn": match.record(),
                    "above_ours": match.fit.value / tried.fit.value - 1,
                }
            )
    return rows


def drawn(options: argparse.Namespace) -> tuple[Floats, Ints]:
    """Features like an encoder's: variances by a power law, an offset, some large dimensions, classes of four modes."""
    rng = np.random.default_rng(options.seed)
    size, width, classes = options.samples + options.test, options.width, options.classes
    spread = np.arange(1, width + 1) ** -0.5
    modes = rng.normal(size=(classes, 4, width)) * spread * options.apart
    labels = rng.integers(0, classes, size)
    hidden = rng.standard_normal((size, width), np.float32) * spread.astype(np.float32)
    hidden += modes.astype(np.float32)[labels, rng.integers(0, 4, size)]
    turn = np.linalg.qr(rng.normal(size=(width, width)))[0] * np.exp(rng.normal(0, 0.5, width))
    features = hidden @ turn.astype(np.float32) * np.float32(width**0.5 / 4) + rng.normal(0, 1, width).astype(
        np.float32
    )
    wrong = rng.random(size) < options.mislabelled
    return features, np.where(wrong, rng.integers(0, classes, size), labels)


def _given(options: argparse.Namespace) -> tuple[Floats, Ints]:
    if options.labels is None:
        raise VltkError("--features needs --labels: a .npy of as many class numbers")
    return np.load(options.features, mmap_mode="r"), np.load(options.labels)


def _splits(features: Floats, labels: Ints, options: argparse.Namespace) -> tuple[Examples, Examples, Examples]:
    """Test rows from the end, and of the others one in five for validation, drawn by the seed."""
    if len(labels) <= options.test:
        raise VltkError(f"--test {options.test} leaves nothing of {len(labels)} samples to train on")
    order = np.random.default_rng(options.seed).permutation(len(labels) - options.test)
    whole = Examples(features, np.asarray(labels, np.int64))
    cut = len(order) // 5
    last = np.arange(len(order), len(labels))
    return whole.part(order[cut:]), whole.part(order[:cut]), whole.part(last)


def _conditions(train: Examples, validation: Examples, test: Examples, options: argparse.Namespace) -> dict[str, Any]:
    versions = {"torch": torch.__version__, "scikit-learn": sklearn.__version__, "numpy": np.__version__}
    sizes = {"train": len(train), "validation": len(validation), "test": len(test), "width": train.width}
    machine = {"threads": torch.get_num_threads(), "load": os.getloadavg()[0], "machine": platform.machine()}
    given = {key: getattr(options, key) for key in ("classes", "apart", "mislabelled", "lambdas", "seed")}
    return versions | sizes | machine | (given if options.features is None else {"features": str(options.features)})


def _lines(result: dict[str, Any]) -> list[str]:
    lines = [
        f"{result['conditions']}",
        "",
        f"{'lambda':>10} {'ours':>12} {'scikit-learn':>12} {'above ours':>10}   val %",
    ]
    for row in result["by_penalty"]:
        ours, theirs = row["ours"], row["sklearn"]
        marks = "".join("" if one["converged"] else " *" for one in (ours, theirs))
        lines.append(
            f"{row['penalty']:>10.3g} {ours['value']:>12.6g} {theirs['value']:>12.6g} {row['above_ours']:>10.1e}"
            f"   {ours['accuracy']:.2f} {theirs['accuracy']:.2f}   {ours['iterations']} {theirs['iterations']}{marks}"
        )
    seconds, right = result["seconds"], result["accuracy"]
    lines += ["(last: iterations; * not converged)", ""]
    lines.append(f"seconds: ours {seconds['ours_median']:.1f}, scikit-learn {seconds['sklearn']:.1f}")
    lines.append(f"times faster: {result['times_faster']:.1f}")
    lines.append(f"test accuracy: ours {right['ours']:.2f}, scikit-learn {right['sklearn']:.2f}")
    one = result["optimum"]
    lines.append(
        f"optimum at {one['penalty']:.3g}: ours {one['ours']:.7g}, scikit-learn to a gradient of {one['tolerance']:g} "
        f"{one['sklearn']:.7g} ({one['iterations']} iterations); ours above by {one['ours_above']:.1e}"
    )
    if "adamw" in result:
        one = result["adamw"]
        lines.append(f"AdamW: {one['accuracy']:.2f} at decay {one['weight_decay']:g} in {one['seconds']:.1f} s")
    return lines


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _options() -> argparse.Namespace:
    parser = _cli.parser(__doc__)
    add = parser.add_argument
    add("--samples", type=_cli.positive, default=50_000, help="train and validation together")
    add("--test", type=_cli.positive, default=10_000)
    add("--width", type=_cli.positive, default=768)
    add("--classes", type=_cli.positive, default=10)
    add("--apart", type=float, default=1.0, help="how far the drawn classes lie apart")
    add("--mislabelled", type=float, default=0.02, help="share of the drawn labels that are of another class")
    add("--features", type=Path, help=".npy (N, D) instead of drawn ones")
    add("--labels", type=Path, help=".npy (N,) of class numbers")
    add("--lambdas", type=_numbers, help="fit these alone, as 1e2,1,1e-2, instead of the sweep")
    add("--tolerance", type=float, default=1e-6, help="of scikit-learn's gradient, for its fit to the end")
    add("--no-adamw", action="store_true")
    add("--seed", type=int, default=0)
    _cli.json_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    _cli.run(main)
