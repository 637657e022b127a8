"""Shards behind URLs: fetched once, whole and checked, in a cache that stays below its limit and is shared."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from tests.unit.data.samples import OPTIONS
from vltk.data import remote, skip
from vltk.data.dataset import Dataset, is_on_disk, open_dataset
from vltk.data.foreign import index
from vltk.data.pixels import PixelCache
from vltk.data.remote import Cache, RemoteFile
from vltk.data.stream import Stream
from vltk.errors import Missing, VltkError

Make = Callable[..., Dataset]
REPOSITORY = Path(remote.__file__).parents[2]
VIEWS = {"image": {"maker": "image", "size": 8}}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VLTK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PAUSE", 0.01)
    monkeypatch.setattr(remote, "SPARE", 0)
    fsspec.filesystem("memory").store.clear()
    return tmp_path / "cache"


@pytest.fixture
def uploaded(make: Make, root: Path) -> str:
    """The data set `a` of 20 samples in 3 shards, at memory://bucket/a."""
    make("a", 20)
    upload(root / "a", "memory://bucket/a")
    return "memory://bucket/a"


def upload(folder: Path, url: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            fsspec.filesystem("memory").pipe_file(f"{url}/{path.relative_to(folder)}", path.read_bytes())


def files(cache: Path) -> list[Path]:
    return [path for path in cache.glob("??/*") if path.is_file()]


def file(name: str, data: bytes, sha: bool = True) -> RemoteFile:
    fsspec.filesystem("memory").pipe_file(f"memory://f/{name}", data)
    return RemoteFile(f"memory://f/{name}", len(data), hashlib.sha256(data).hexdigest() if sha else None)


def test_a_data_set_by_url(uploaded: str, cache: Path) -> None:
    there, here = open_dataset(uploaded), open_dataset("a")
    assert is_on_disk(uploaded) and len(there) == 20 and there.digest == here.digest and there.has_texts
    assert files(cache) == []  # no tar before it is read
    assert [there.read(n) for n in range(20)] == [here.read(n) for n in range(20)]
    names = {shard["sha256"] for shard in here.manifest["shards"]}
    assert {path.name for path in files(cache)} == names


def test_a_stream_by_url_fetches_ahead(uploaded: str, cache: Path) -> None:
    options = {"batch_size": 4, "image": OPTIONS, "window": 1}
    there = Stream([open_dataset(uploaded)], VIEWS, pixels=PixelCache(0), **options)  # type: ignore[arg-type]
    here = Stream([open_dataset("a")], VIEWS, pixels=PixelCache(0), **options)  # type: ignore[arg-type]
    for step in range(10):
        keys = [batch.keys for batch in there.micro_batches(step)]
        own = [[key.removeprefix("memory://bucket/") for key in batch] for batch in keys]
        assert own == [batch.keys for batch in here.micro_batches(step)]
    assert len(files(cache)) == 3


def test_manifest_here_and_tars_there(make: Make, root: Path) -> None:
    """As of a mirror whose index is kept: `vltk.data.foreign` over URLs."""
    make("a", 20)
    upload(root / "a", "memory://bucket/a")
    tars = [f"memory://bucket/a/shards/{n:05d}.tar" for n in range(3)]
    assert index(tars, "mirror").samples == 20
    mirror, own = open_dataset("mirror"), open_dataset("a")
    assert [mirror.read(n) for n in range(20)] == [own.read(n) for n in range(20)]


def test_skip_lists_come_along_and_go(uploaded: str, root: Path) -> None:
    skip.write(root / "a", [skip.Skip(3, "k3", "exact", "a/k1", 0)])
    upload(root / "a", uploaded)
    assert len(open_dataset(uploaded)) == 19 and open_dataset(uploaded).read(3).key == "k4"
    fsspec.filesystem("memory").rm("/bucket/a/skip.parquet")
    assert len(open_dataset(uploaded)) == 20


def test_a_wrong_file_is_never_kept(uploaded: str, cache: Path) -> None:
    path = "memory://bucket/a/shards/00000.tar"
    good = fsspec.filesystem("memory").cat_file(path)
    dataset = open_dataset(uploaded)
    for bad in (good[:-1], good[:-1] + b"x", good + b"x", b"<html>"):
        fsspec.filesystem("memory").pipe_file(path, bad)
        with pytest.raises(VltkError, match="00000.tar: not the file that the manifest names"):
            dataset.read(0)
        assert files(cache) == []
    fsspec.filesystem("memory").rm("/bucket/a/shards/00000.tar")
    with pytest.raises(VltkError, match="00000.tar cannot be read"):
        dataset.read(0)
    fsspec.filesystem("memory").pipe_file(path, good)
    assert dataset.read(0).key == "k0"


def test_a_failure_that_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, calls = file("x", b"x" * 100), 0
    whole = remote.opened

    def sometimes(url: str) -> object:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise OSError("connection reset")
        return whole(url)

    monkeypatch.setattr(remote, "opened", sometimes)
    assert Cache().fetch(wanted).read_bytes() == b"x" * 100 and calls == 3
    calls = -10
    with pytest.raises(VltkError, match="memory://f/y: cannot be read: OSError: connection reset"):
        Cache().fetch(file("y", b"y"))


class TestCache:
    def test_the_oldest_goes_first(self, cache: Path) -> None:
        small = Cache(limit=250)
        one, two, three = (file(name, name.encode() * 100) for name in "abc")
        for wanted in (one, two, one, three):
            os.close(small.open(wanted))
            for path in files(cache):  # as if a while ago
                facts = path.stat()
                os.utime(path, (facts.st_atime, facts.st_mtime - 10))
        assert {path.name for path in files(cache)} == {one.name, three.name}
        with pytest.raises(VltkError, match="300 bytes do not fit into the cache: raise VLTK_CACHE_GB"):
            small.fetch(file("large", b"x" * 300))

    def test_an_open_file_outlives_its_name(self, cache: Path) -> None:
        small = Cache(limit=100)
        handle = small.open(file("a", b"a" * 100))
        os.close(small.open(file("b", b"b" * 100)))
        assert os.pread(handle, 100, 0) == b"a" * 100 and len(files(cache)) == 1
        os.close(handle)

    def test_what_a_killed_process_left_is_swept(self, cache: Path) -> None:
        (cache / "ab").mkdir(parents=True)
        (cache / "ab/abc.part").write_bytes(b"x" * 90)
        assert Cache(limit=100).fetch(file("a", b"a" * 50)).exists()
        assert not (cache / "ab/abc.part").exists()

    def test_threads_fetch_once(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wanted, whole, calls = file("a", b"a" * 1000), remote.opened, []

        def counted(url: str) -> object:
            calls.append(url)
            return whole(url)

        monkeypatch.setattr(remote, "opened", counted)
        threads = [threading.Thread(target=Cache().fetch, args=(wanted,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(calls) == 1 and [path.name for path in files(cache)] == [wanted.name]

    def test_processes_share_it(self, cache: Path, tmp_path: Path) -> None:
        source = tmp_path / "big"
        source.write_bytes(b"z" * 3_000_000)
        sha = hashlib.sha256(source.read_bytes()).hexdigest()
        code = (
            "from vltk.data.remote import Cache, RemoteFile; import vltk.data.remote as r; r.SPARE = 0\n"
            f"assert Cache().fetch(RemoteFile({source.as_uri()!r}, 3_000_000, {sha!r})).stat().st_size == 3_000_000"
        )
        runs = [subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY) for _ in range(3)]
        assert [run.wait(60) for run in runs] == [0, 0, 0]
        assert [path.name for path in files(cache)] == [sha]


def test_a_window_that_the_cache_cannot_hold(uploaded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = max(shard["bytes"] for shard in open_dataset("a").manifest["shards"])
    monkeypatch.setenv("VLTK_CACHE_GB", str(2.5 * size / 2**30))
    Stream([open_dataset(uploaded)], VIEWS, batch_size=2, image=OPTIONS, window=1)
    with pytest.raises(VltkError, match="lower loader.window, or raise VLTK_CACHE_GB"):
        Stream([open_dataset(uploaded)], VIEWS, batch_size=2, image=OPTIONS)


def test_wrong_urls() -> None:
    with pytest.raises(VltkError, match="memory://nothing/here: no data set there"):
        open_dataset("memory://nothing/here")
    with pytest.raises(VltkError, match="no ftp:// here; have: s3"):
        open_dataset("ftp://host/a")
    with pytest.raises(VltkError, match="which is not below it"):
        remote.joined("https://host/a", "../../etc/passwd")


def test_an_absent_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(Missing, match=r"pip install 'vltk\[s3\]'"):
        open_dataset("s3://bucket/a")


@pytest.fixture
def site(root: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    root.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_over_http(make: Make, site: str) -> None:
    own = make("a", 20)
    there = open_dataset(f"{site}/a")
    assert [there.read(n) for n in (0, 13)] == [own.read(n) for n in (0, 13)]
    assert index([f"{site}/a/shards/00000.tar"], "mirror").samples == 7
    assert open_dataset("mirror").read(2) == own.read(2)
