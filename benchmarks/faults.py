"""Random faults in a run over two hosts: how long until all knew, and what was lost.

    python -m benchmarks.faults [--faults 30] [--seed 0] [--steps 6000] [--folder DIR]

The hosts are two network namespaces of this machine joined by a cable, each with its own address and sshd (see
`tests/hosts.py`; needs root, iproute2 and openssh-server). `clip-tiny` trains over both with `--hostfile` and
`--max-restarts`; a launcher whose host dies is started again by hand, as its user would. At random moments a rank is
killed or frozen, the cable is cut, or all of a host dies as when its power goes. At the end the losses are compared
with those of two processes without faults: bit-equal as long as both hosts take part, else they differ by rounding.
The learning rate is low, as at a usual one rounding grows to percents of the loss within some hundred steps.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import _cli
from tests import harness
from tests.hosts import Hosts, missing
from vltk.errors import VltkError

OPTIONS = ["clip-tiny", "include=debug.yaml", "checkpoint={every: 20, keep: 2}", "log_every=10", "evaluate=null"]
OPTIONS += ["optimizer.lr=1e-5"]
KINDS = ("kill a rank", "freeze a rank", "cut the cable", "kill the other host", "kill the launcher's host")
LIMIT = 60.0  # seconds within which all have to know


@dataclass
class Trial:
    """One run, and the faults it meets."""

    hosts: Hosts
    steps: int
    chance: random.Random
    rows: list[dict[str, Any]] = field(default_factory=list)
    output: Path = Path("faulty.out")
    launcher: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        options = ["train", *OPTIONS, "name=faulty", f"steps={self.steps}", "--max-restarts", "1000"]
        given = [*options, "--hostfile", str(self.hosts.hostfile())]
        self.launcher = self.hosts.vltk(0, *given, output=self.output)

    def run(self, faults: int) -> None:
        self.start()
        while len(self.rows) < faults and self.launcher.poll() is None:
            self.wait_until_it_trains()
            time.sleep(self.chance.uniform(0, 4))
            if self.launcher.poll() is None and any(self.hosts.ranks(host) for host in range(2)):
                self.rows.append(self.fault())
                print(json.dumps(self.rows[-1]), flush=True)
        if len(self.rows) < faults:
            print(f"the run ended after {len(self.rows)} faults: give it more --steps", flush=True)
        assert self.launcher.wait() == 0, self.output.read_text()[-3000:]

    def wait_until_it_trains(self) -> None:
        """Until a step was logged by the ranks that run now."""
        before, deadline = len(self.logged()), time.monotonic() + 300
        while len(self.logged()) == before and self.launcher.poll() is None:
            assert time.monotonic() < deadline, self.output.read_text()[-3000:]
            time.sleep(0.1)

    def logged(self) -> list[str]:
        return re.findall(r"^faulty/train \d+/", self.output.read_text(), re.MULTILINE) if self.output.exists() else []

    def fault(self) -> dict[str, Any]:
        """What happened, how long each host's ranks of that time lived on, and how far back the next start went."""
        ranks = [self.hosts.ranks(host) for host in range(2)]
        kinds = [kind for kind in KINDS if ranks[1] or not kind.startswith(("cut", "kill the"))]
        kind = self.chance.choice(kinds)
        saved, starts = self.saved(), len(self.went_on())
        began = time.monotonic()
        self.do(kind, ranks)
        ended = self.until_all_ended(ranks, began)
        if kind in KINDS[2:]:
            self.mended(kind)
        if kind == KINDS[4]:
            self.launcher.wait()
            self.start()
        row = {"fault": len(self.rows), "kind": kind, "ranks": [len(some) for some in ranks], "known_s": ended}
        row |= {"saved": saved, "went_on_from": self.next_start(starts), "in_time": max(ended) <= LIMIT}
        return row | {"lost_nothing": row["went_on_from"] >= saved}

    def do(self, kind: str, ranks: list[list[int]]) -> None:
        if kind in KINDS[:2]:
            victim = self.chance.choice([pid for some in ranks for pid in some])
            os.kill(victim, signal.SIGKILL if kind == KINDS[0] else signal.SIGSTOP)
        elif kind == KINDS[2]:
            self.hosts.cut()
        else:
            self.hosts.kill(1 if kind == KINDS[3] else 0)

    def mended(self, kind: str) -> None:
        """After a while; a launcher that has gone on with one host takes both again at its next start."""
        if kind == KINDS[2]:
            self.hosts.mend()
        else:
            self.hosts.revive(1 if kind == KINDS[3] else 0)

    def until_all_ended(self, ranks: list[list[int]], began: float) -> list[float]:
        ended = [0.0, 0.0]
        while True:
            alive = [[pid for pid in some if Path(f"/proc/{pid}").exists()] for some in ranks]
            now = time.monotonic() - began
            ended = [round(now, 1) if some else when for some, when in zip(alive, ended, strict=True)]
            if not any(alive):
                return ended
            assert now < 5 * LIMIT, f"still alive: {alive}"
            time.sleep(0.1)

    def saved(self) -> int:
        folder = Path("runs/faulty/train/checkpoints")
        return max((int(path.name[5:]) for path in folder.glob("step-*") if path.suffix != ".part"), default=0)

    def went_on(self) -> list[int]:
        return [int(step) for step in re.findall(r"going on from step (\d+)", self.output.read_text())]

    def next_start(self, before: int) -> int:
        deadline = time.monotonic() + 300
        while len(self.went_on()) <= before:
            assert time.monotonic() < deadline, self.output.read_text()[-3000:]
            time.sleep(0.1)
        return self.went_on()[before]


def largest_difference(steps: int) -> float:
    """Of the losses, relatively, from those of a run without faults."""
    done = harness.vltk_process("train", *OPTIONS, "name=whole", f"steps={steps}", "--gpus", "2", timeout=3600)
    assert done.returncode == 0, done.stderr
    whole = {step: losses for step, _, losses in harness.losses("whole/train")}
    found = {step: losses for step, _, losses in harness.losses("faulty/train")}
    assert whole.keys() == found.keys()
    return max(abs(found[step][name] / whole[step][name] - 1) for step in whole for name in whole[step])


def main() -> None:
    parser = _cli.parser(__doc__)
    parser.add_argument("--faults", type=_cli.positive, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=_cli.positive, default=6000)
    parser.add_argument("--folder", type=Path, help="Where the run is to lie. Default: a new one.")
    given = parser.parse_args()
    if reason := missing():
        raise VltkError(reason)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="vltk-faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {"PYTHONPATH": str(harness.ROOT), "OMP_NUM_THREADS": "1", "VLTK_DATA": str(folder / "data")}
    os.chdir(folder)
    if not (folder / "data").exists():
        harness.make_data(folder / "data")
    (folder / "keys").mkdir(exist_ok=True)
    trial = Trial(Hosts(Path(tempfile.mkdtemp(dir=folder / "keys"))), given.steps, random.Random(given.seed))
    try:
        trial.hosts.open()
        trial.run(given.faults)
    finally:
        trial.hosts.close()
    print_table(trial.rows)
    print(f"largest relative difference of a loss from the run without faults: {largest_difference(given.steps):.1e}")


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"{'fault':<26}{'times':>6}{'longest until all knew':>26}{'in a minute':>13}{'nothing lost':>14}")
    for kind in KINDS:
        some = [row for row in rows if row["kind"] == kind]
        if some:
            longest = max(max(row["known_s"]) for row in some)
            in_time = sum(row["in_time"] for row in some)
            kept = sum(row["lost_nothing"] for row in some)
            print(f"{kind:<26}{len(some):>6}{longest:>24.1f} s{in_time:>13}{kept:>14}")


if __name__ == "__main__":
    _cli.run(main)
