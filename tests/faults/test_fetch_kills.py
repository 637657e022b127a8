"""A fetch that is killed at random moments goes on to a data set without a lost, doubled or unaccounted row."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.harness import start
from tests.web import Web
from vltk.data.dataset import open_dataset
from vltk.data.shard import INDEX

ROWS, SHARD = 160, 24
BAD = {5: "404", 17: "html", 30: "500", 44: "truncated-50", 90: "noai"}
KEYS = [f"shard_size={SHARD}", "processes=2", "threads=2", "rounds=2", "pause=0", "deadline=5", "stall=30"]


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Web, Path]]:
    """A server that takes its time, and a list of good and bad addresses of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLTK_DATA", str(tmp_path / "data"))
    with Web() as web:
        web.slow_down(0.15)
        urls = [f"{web.url}/{BAD[row]}" if row in BAD else web.good(row) for row in range(ROWS)]
        path = tmp_path / "pairs.tsv"
        path.write_text("".join(f"caption {row}\t{url}\n" for row, url in enumerate(urls)) + "no address here\n")
        yield web, path


def fetching(web: Web, path: Path) -> subprocess.Popen[str]:
    return start("data", "fetch", str(path), *KEYS, f"private_hosts={json.dumps(list(web.hosts))}")


def processes() -> list[tuple[int, int, str]]:
    """(process, parent, command line) of everything that runs."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append((int(folder.name), parent, command))
    return found


def below(process: int) -> list[tuple[int, str]]:
    """All descendants of a process with their command lines."""
    every, found, ahead = processes(), [], [process]
    while ahead:
        parent = ahead.pop()
        children = [(pid, command) for pid, of, command in every if of == parent]
        found += children
        ahead += [pid for pid, _ in children]
    return found


def victim(job: subprocess.Popen[str], kind: str, chance: random.Random) -> int | None:
    """The process of that kind that is there now: the job itself is the watchdog of img2dataset."""
    if kind == "job":
        return job.pid
    words = {"child": "vltk.data.fetch.child", "proxy": "vltk.data.fetch.server", "worker": "multiprocessing.spawn"}
    fitting = [pid for pid, command in below(job.pid) if words[kind] in command]
    return chance.choice(fitting) if fitting else None


def until(happened: Callable[[], bool], seconds: float = 240) -> None:
    limit = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < limit
        time.sleep(0.01)


def _busy(job: subprocess.Popen[str], web: Web) -> Callable[[], bool]:
    """Whether the job has asked for something more since now, or has ended."""
    before = web.requests.total()
    return lambda: job.poll() is not None or web.requests.total() > before


def _has(job: subprocess.Popen[str], kind: str, chance: random.Random) -> Callable[[], bool]:
    return lambda: job.poll() is not None or victim(job, kind, chance) is not None


def killed(web: Web, path: Path, kinds: list[str], chance: random.Random) -> int:
    """Kills one process of each kind in turn, a random time after the server saw something new; how many died.

    A job that was killed itself is started again, and waited for at the end.
    """
    job, died = fetching(web, path), 0
    try:
        for kind in kinds:
            until(_busy(job, web))
            time.sleep(chance.uniform(0, 3))
            until(_has(job, kind, chance))
            pid = victim(job, kind, chance) if job.poll() is None else None
            if pid is not None:
                with suppress(ProcessLookupError):  # a worker that has just done its last piece
                    os.kill(pid, signal.SIGKILL)
                    died += 1
            if kind == "job":
                job.wait(30)
                job = fetching(web, path)
        said, complained = job.communicate(timeout=240)
        assert job.returncode == 0, said + complained
    finally:
        job.kill()
    return died


def check_whole(web: Web, deaths: int) -> None:
    """Every row has one status, every sample is there once, and little was asked for twice."""
    dataset = open_dataset("pairs")
    tables = [pq.read_table(path) for path in sorted((dataset.folder / "rows").glob("*.parquet"))]
    rows = [row for table in tables for row in table.to_pylist()]
    assert sorted(row["row"] for row in rows) == list(range(ROWS + 1))
    expected = {5: "http_404", 17: "not_an_image", 30: "http_5xx", 44: "undecodable", 90: "opted_out"}
    expected[ROWS] = "unreadable_row"
    assert {row["row"]: row["status"] for row in rows if row["status"] != "ok"} == expected
    keys = [dataset.read(position).key for position in range(len(dataset))]
    assert len(keys) == len(set(keys)) == ROWS - len(BAD) == dataset.manifest["samples"]
    assert [dataset.read(position).texts for position in (0, 1)] == [["caption 0"], ["caption 1"]]
    assert sum(dataset.manifest["statuses"].values()) == dataset.manifest["rows"] == ROWS + 1
    for shard in dataset.manifest["shards"]:
        index = (dataset.folder / shard["file"]).with_suffix(".idx")
        assert index.stat().st_size == shard["samples"] * INDEX.itemsize
    twice = Counter({path: count - 1 for path, count in web.requests.items() if path.startswith("/good/")})
    asked = Counter(f"/good/{row}.jpg" for row in range(ROWS) if row not in BAD)
    assert set(twice) == set(asked)
    assert twice.total() <= deaths * SHARD, f"{twice.total()} rows fetched again after {deaths} kills"
    assert not (dataset.folder / ".fetch").exists()


def test_the_job_and_a_worker_are_killed(listed: tuple[Web, Path]) -> None:
    deaths = killed(*listed, ["job", "worker"], random.Random(1))
    assert deaths >= 1
    check_whole(listed[0], deaths)


@pytest.mark.slow
def test_ten_kills_at_random_moments(listed: tuple[Web, Path]) -> None:
    kinds = ["job", "worker", "child", "job", "proxy", "job", "worker", "job", "child", "job"]
    listed[0].slow_down(0.4)
    deaths = killed(*listed, kinds, random.Random(2))
    assert deaths == len(kinds)
    check_whole(listed[0], deaths)
