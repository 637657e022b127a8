"""img2dataset under the watchdog: every row once with its status, whatever hangs, dies, or lies about what it did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.data.pieces import write_piece
from tests.web import Web, good
from vltk.data.fetch import downloader, group
from vltk.data.fetch.downloader import Options, Outcome, Piece, download, outcomes
from vltk.data.fetch.policy import Policy
from vltk.data.lock import locked
from vltk.errors import VltkError

SMALL = Options(processes=2, threads=8, piece=40, stall=60.0)


def listed(folder: Path, urls: list[str | None], first: int = 0) -> Path:
    """The clean parquet of these URLs; rows are numbered from `first`."""
    path = folder / "urls.parquet"
    rows = list(range(first, first + len(urls)))
    pq.write_table(pa.table({"url": pa.array(urls, pa.string()), "caption": ["a"] * len(urls), "row": rows}), path)
    return path


class Taker:
    """Takes pieces as the job does: reads every row, then gives the disk back."""

    def __init__(self, discard: bool = True) -> None:
        self.rows: dict[int, Outcome] = {}
        self.pieces: list[int] = []
        self.discard = discard

    def __call__(self, piece: Piece) -> None:
        for outcome in outcomes(piece):
            assert outcome.row not in self.rows
            self.rows[outcome.row] = outcome
        self.pieces.append(piece.number)
        if self.discard:
            piece.discard()


def test_every_row_of_the_web_ends_once_with_its_status(tmp_path: Path) -> None:
    taker = Taker()
    with Web() as web:
        cases = web.cases()
        urls = [case.url for case in cases] + [web.good(number) for number in range(40)]
        policy = Policy(private_hosts=web.hosts, deadline=2.0, patience=2.0)
        listing = listed(tmp_path, urls, first=1000)
        download(listing, tmp_path / "out", SMALL, policy, taker)
        asked = web.requests.total()
        assert web.agents == {policy.user_agent}
        download(listing, tmp_path / "out", SMALL, policy, taker)  # all done before: nothing is fetched or given again
        assert web.requests.total() == asked
    ends = {case.name: str(taker.rows[1000 + place].status) for place, case in enumerate(cases)}
    assert ends == {case.name: case.status for case in cases}
    assert sorted(taker.rows) == list(range(1000, 1000 + len(urls)))
    assert [taker.rows[1000 + len(cases) + number].data for number in range(40)] == [good(n) for n in range(40)]
    assert not list((tmp_path / "out").glob("*.tar"))


def test_a_piece_that_was_given_back_is_not_fetched_again(tmp_path: Path) -> None:
    taker, out = Taker(), tmp_path / "out"
    out.mkdir()
    write_piece(out, 0).discard()
    with Web() as web:
        listing = listed(tmp_path, [web.good(number) for number in range(6)])
        download(listing, out, Options(processes=1, threads=4, piece=3), Policy(private_hosts=web.hosts), taker)
        assert sorted(web.requests) == [f"/good/{number}.jpg" for number in (3, 4, 5)]
    assert taker.pieces == [1]


# ------------------------------------------------------------------------------------------------ kills


def _processes(out: Path) -> dict[str, list[int]]:
    """Process ids of the child over this folder, of its workers, and of the proxy."""
    found: dict[str, list[int]] = {"child": [], "workers": [], "proxy": []}
    lines = {int(entry.name): _line(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    for pid, line in lines.items():
        if "vltk.data.fetch.child" in line and str(out) in line:
            found["child"].append(pid)
            spawned = sorted(other for other, text in lines.items() if _parent(other) == pid and "spawn_main" in text)
            found["workers"] = spawned[1:]  # the first is img2dataset's logger
            starter = _parent(pid)
            found["proxy"] = [
                other for other, text in lines.items() if "fetch.server" in text and _parent(other) == starter
            ]
    return found


def _line(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return -1


def _wait(condition: Callable[[], Any], seconds: float = 240.0) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < until:
        time.sleep(0.05)
    assert found
    return found


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["workers", "proxy", "child"])
def test_one_that_is_killed_costs_a_restart_and_no_row(victim: str, tmp_path: Path) -> None:
    def kill() -> None:
        _wait(lambda: web.requests.total() > 50)
        killed.append(_processes(out)[victim][0])
        os.kill(killed[0], signal.SIGKILL)

    killed: list[int] = []
    taker, out = Taker(), tmp_path / "out"
    with Web() as web:
        web.slow_down(0.1)
        listing = listed(tmp_path, [web.good(number) for number in range(240)])
        killer = threading.Thread(target=kill)
        killer.start()
        download(listing, out, SMALL, Policy(private_hosts=web.hosts), taker)
        killer.join()
        assert web.requests.total() < 240 + 50 + 2 * 40 + 20  # what was in flight, and no more, is asked for again
    assert killed
    assert sorted(taker.rows) == list(range(240))
    assert {str(outcome.status) for outcome in taker.rows.values()} == {"ok"}


@pytest.mark.slow
def test_a_worker_that_hangs_costs_a_restart_and_no_row(tmp_path: Path) -> None:
    def stop() -> None:
        _wait(lambda: web.requests.total() > 50)
        for pid in _processes(out)["workers"]:
            os.kill(pid, signal.SIGSTOP)

    taker, out = Taker(), tmp_path / "out"
    with Web() as web:
        web.slow_down(0.1)
        listing = listed(tmp_path, [web.good(number) for number in range(160)])
        stopper = threading.Thread(target=stop)
        stopper.start()
        options = Options(processes=2, threads=8, piece=40, stall=30.0)
        download(listing, out, options, Policy(private_hosts=web.hosts), taker)
        stopper.join()
    assert sorted(taker.rows) == list(range(160))


JOB = """
import json, sys
from pathlib import Path
from vltk.data.fetch.downloader import Options, download, outcomes
from vltk.data.fetch.policy import Policy
def take(piece):
    with open(sys.argv[3], "a") as file:
        for outcome in outcomes(piece):
            file.write(f"{outcome.row} {outcome.status}\\n")
    piece.discard()
options = Options(processes=2, threads=8, piece=40, stall=60.0)
download(Path(sys.argv[1]), Path(sys.argv[2]), options, Policy(allow_private=True), take)
"""


@pytest.mark.slow
def test_a_job_that_is_killed_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    out, taken = tmp_path / "out", tmp_path / "taken"
    with Web() as web:
        web.slow_down(0.2)
        listing = listed(tmp_path, [web.good(number) for number in range(480)])
        command = [sys.executable, "-c", JOB, str(listing), str(out), str(taken)]
        first = subprocess.Popen(command)
        _wait(lambda: taken.exists() and web.requests.total() > 90)
        found = _processes(out)
        first.kill()
        first.wait()
        every = [pid for pids in found.values() for pid in pids]
        assert len(every) == 4
        _wait(lambda: not any("vltk.data" in _line(Path(f"/proc/{pid}")) for pid in every), 10)
        subprocess.run(command, check=True, timeout=120)
    rows = [line.split() for line in taken.read_text().splitlines()]
    assert sorted(int(row) for row, _ in rows) == list(range(480))
    assert {status for _, status in rows} == {"ok"}


WORKER = """
import sys, urllib.request
from vltk.data.fetch.lean import lean
lean()
import pickle
from vltk.data.fetch import worker
from vltk.data.fetch.policy import Policy
assert pickle.loads(pickle.dumps(worker.Worker)) is worker.Worker
worker.send_through(worker._own_proxy(Policy(private_hosts=(sys.argv[1].split("/")[2],))))
for url in sys.argv[1:]:
    try:
        print(len(urllib.request.urlopen(url, timeout=60).read()))
    except Exception as error:
        print(error)
import os, tempfile
(folder,) = os.scandir(tempfile.gettempdir())
print(oct(folder.stat().st_mode & 0o777))
"""


def test_a_worker_on_a_cluster_has_a_proxy_of_its_own_and_no_other_way_out(tmp_path: Path) -> None:
    with Web() as web:
        urls = [web.good(1), f"{web.url}/bäume/größe", f"{web.url}/404", "http://10.0.0.1/", "https://10.0.0.1/"]
        command = [sys.executable, "-c", WORKER, *urls, "file:///etc/hostname", "data:,x", "ftp://127.0.0.1/x"]
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        said = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    lines = said.stdout.splitlines()
    private = "HTTP Error 403: vltk private_address 10.0.0.1 is 10.0.0.1"
    assert lines[:2] == [str(len(good(1))), str(len(good(21)))], said.stderr
    assert lines[2:5] == ["HTTP Error 404: vltk http_404 HTTP 404", private, private]
    assert [line.split(":")[0] for line in lines[5:8]] == ["<urlopen error unknown url type"] * 3
    assert lines[8] == "0o700" and not list(tmp_path.iterdir())  # its log is nobody else's, and goes with it


# ------------------------------------------------------------------------------------------------ without img2dataset


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`child(code)`: this code runs in the place of img2dataset; its argument is the order."""

    def stand_in(code: str) -> None:
        monkeypatch.setattr(group, "python", lambda module, *arguments: [sys.executable, "-c", code, *arguments])

    return stand_in


QUICK = Options(piece=3, stall=0.5, restarts=1)


def test_a_hang_without_any_progress_is_an_error_in_the_end(
    tmp_path: Path, child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloader, "START", 1.0)
    child("import time; print('busy with nothing', flush=True); time.sleep(60)")
    begun = time.monotonic()
    with pytest.raises(VltkError, match=r"no progress: nothing arrived for 1 s\n.*busy with nothing"):
        download(listed(tmp_path, ["http://a.example/"]), tmp_path / "out", QUICK, Policy(), Taker())
    assert time.monotonic() - begun < 20


def test_a_child_that_fails_is_an_error_with_its_last_words(tmp_path: Path, child: Callable[[str], None]) -> None:
    child("raise SystemExit('no such luck')")
    with pytest.raises(VltkError, match=r"exit code 1\)\n.*no such luck"):
        download(listed(tmp_path, ["http://a.example/"]), tmp_path / "out", QUICK, Policy(), Taker())


def test_what_on_piece_raises_ends_the_download_and_the_child(tmp_path: Path, child: Callable[[str], None]) -> None:
    def refuse(piece: Piece) -> None:
        raise VltkError("enough")

    out, pid = tmp_path / "out", tmp_path / "pid"
    write_piece(tmp_path, rows=3)  # this is what the child "fetches"
    child(
        f"""
import os, shutil, time
open({str(pid)!r}, "w").write(str(os.getpid()))
for name in ("00000.tar", "00000.parquet", "00000_stats.json"):
    shutil.copy({str(tmp_path)!r} + "/" + name, {str(out)!r})
time.sleep(60)"""
    )
    with pytest.raises(VltkError, match="enough"):
        download(listed(tmp_path, ["http://a.example/"] * 3), out, QUICK, Policy(), refuse)
    assert not Path(f"/proc/{pid.read_text()}").exists()


def test_no_piece_is_begun_while_one_is_being_taken(tmp_path: Path, child: Callable[[str], None]) -> None:
    def take(piece: Piece) -> None:
        pids.append(pid.read_text())
        _wait(lambda: ") T " in Path(f"/proc/{pids[-1]}/stat").read_text(), 5)  # stopped
        time.sleep(0.3)

    out, pid, pids = tmp_path / "out", tmp_path / "pid", list[str]()
    for number in range(2):
        write_piece(tmp_path, number)
    child(
        f"""
import os, shutil, time
open({str(pid)!r}, "w").write(str(os.getpid()))
for number in range(2):
    for name in (".tar", ".parquet", "_stats.json"):
        shutil.copy(f"{tmp_path}/0000{{number}}{{name}}", {str(out)!r})
    time.sleep(0.5)
time.sleep(60)"""
    )
    options = Options(piece=3, stall=30.0, restarts=0)
    download(listed(tmp_path, ["http://a.example/"] * 6), out, options, Policy(), take)
    assert len(pids) == 2 and len(set(pids)) == 1  # it went on after the first, and was not started again


def test_another_list_in_the_same_folder_is_refused(tmp_path: Path, child: Callable[[str], None]) -> None:
    child("raise SystemExit(1)")
    for urls in (["http://a.example/"], ["http://a.example/"] * 4):
        with pytest.raises(VltkError) as caught:
            download(listed(tmp_path, list(urls)), tmp_path / "out", QUICK, Policy(), Taker())
    assert "another list of URLs" in str(caught.value)


def test_two_downloads_into_one_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloader, "LOCK_WAIT", 0.1)
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"), pytest.raises(VltkError, match="another process is writing"):
        download(listed(tmp_path, ["http://a.example/"]), tmp_path / "out", QUICK, Policy(), Taker())


def test_the_child_knows_our_python_and_no_foreign_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://upstream.example:3128")
    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)
    told = group._environment("http://127.0.0.1:9")
    assert told["PYSPARK_PYTHON"] == sys.executable and told["https_proxy"] == "http://127.0.0.1:9"
    monkeypatch.setenv("PYSPARK_PYTHON", "/opt/cluster/python")
    told = group._environment(None)
    assert told["PYSPARK_PYTHON"] == "/opt/cluster/python" and "https_proxy" not in told


def test_no_rows_are_no_work(tmp_path: Path, child: Callable[[str], None]) -> None:
    child("raise SystemExit(1)")
    download(listed(tmp_path, []), tmp_path / "out", QUICK, Policy(), Taker())


def test_a_distributor_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloader.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(VltkError, match="pip install ray"):
        download(tmp_path, tmp_path, Options(distributor="ray"), Policy(), Taker())
