"""The hub, stood in for by a server on loopback: patterns, commits, sha256, resume, and what its errors mean."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.data.cards import fetched
from vltk.data.card import RemoteFile
from vltk.data.dataset import open_dataset
from vltk.data.fetch import hub
from vltk.data.fetch.files import sources
from vltk.data.fetch.policy import Policy
from vltk.errors import VltkError

COMMIT, NEWER = "c" * 40, "d" * 40
FILES = {f"data/train-{n:05d}.parquet": f"train {n} ".encode() * 20_000 for n in range(3)}
FILES |= {"data/test-00000.parquet": b"test", "README.md": b"# readme", "data/deep/train-00009.parquet": b"deep"}


class Hub:
    """`cut`: bytes after which the next body ends; `denied`: the error of everything; `requests`: what was asked."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.requests: list[tuple[str, str, str]] = []
        self.cut: int | None = None
        self.denied = ""
        self.head = COMMIT  # the newest commit
        self.sha: str | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            do_HEAD = do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        to.rfile.read(int(to.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(to.path).path)
        self.requests.append((to.command, path, to.headers.get("Range", "")))
        if self.denied or "/own/set" not in path:
            code = "RepoNotFound" if "/own/set" not in path else self.denied
            self.send(to, 403 if code == "GatedRepo" else 404, b"no", {"X-Error-Code": code, "X-Error-Message": "no"})
        elif path.startswith("/datasets/own/set/resolve/"):
            self.file(to, path.split("/", 6)[6])
        elif "/paths-info/" in path or "/tree/" in path:
            folder = (path + "/").partition(f"{COMMIT}/")[2].rstrip("/") or path.partition(f"{NEWER}/")[2]
            self.send(
                to, 200, json.dumps([self.entry(name) for name in self.files if name.startswith(folder)]).encode()
            )
        else:
            self.send(to, 200, json.dumps({"id": "own/set", "sha": self.asked(path), "siblings": []}).encode())

    def asked(self, path: str) -> str:
        """The commit of a question for a data set, `/api/datasets/own/set/revision/COMMIT` or without one."""
        revision = path.partition("/revision/")[2]
        return revision if revision in (COMMIT, NEWER) else self.head

    def entry(self, name: str) -> dict[str, object]:
        body = self.files[name]
        oid = self.sha or hashlib.sha256(body).hexdigest()
        lfs = {"lfs": {"oid": oid, "size": len(body), "pointerSize": 100}} if name.endswith(".parquet") else {}
        return {"type": "file", "path": name, "size": len(body), "oid": "a" * 40, **lfs}

    def file(self, to: BaseHTTPRequestHandler, name: str) -> None:
        body = self.files[name]
        asked = to.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(body).hexdigest()}"', "Accept-Ranges": "bytes"}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.send(to, 206 if asked else 200, body[start:], headers, to.command == "GET")

    def send(
        self,
        to: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        whole: bool = False,
    ) -> None:
        to.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            to.send_header(name, value)
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        if to.command != "HEAD":
            cut, self.cut = (self.cut, None) if whole else (None, self.cut)
            to.wfile.write(body[:cut])
            to.close_connection = cut is not None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    from huggingface_hub import constants

    found = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", found.url)
    template = f"{found.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield found
    found.http.shutdown()
    found.http.server_close()


def test_pattern_names_files_of_one_commit(server: Hub) -> None:
    files = hub.find("hf://datasets/own/set/data/train-*.parquet")
    assert [file.path for file in files][:3] == [f"data/train-{n:05d}.parquet" for n in range(3)]
    assert files[0].commit == COMMIT and files[0].bytes == len(FILES["data/train-00000.parquet"])
    assert files[0].url == f"hf://datasets/own/set@{COMMIT}/data/train-00000.parquet"
    (one,) = hub.find("hf://datasets/own/set@main/README.md")
    assert one.path == "README.md" and one.sha256 is None
    with pytest.raises(VltkError, match="has no such file"):
        hub.find("hf://datasets/own/set/data/validation-*.parquet")
    with pytest.raises(VltkError, match="expected hf://datasets/OWNER/NAME/PATH"):
        hub.find("hf://datasets/set")


def test_files_come_whole(server: Hub, tmp_path: Path) -> None:
    found = sources([RemoteFile(url="hf://datasets/own/set/data/train-0000?.parquet")], tmp_path, Policy())
    paths = [source.bring() for source in found]
    assert [path.read_bytes() for path in paths] == [FILES[f"data/train-{n:05d}.parquet"] for n in range(3)]
    asked = len(server.requests)
    assert found[0].bring() == paths[0] and len(server.requests) == asked, "there already"
    found[0].remove()
    assert not paths[0].exists()
    assert found[0].bring().read_bytes() == FILES["data/train-00000.parquet"]


def test_a_cut_download_goes_on(server: Hub, tmp_path: Path) -> None:
    (file,) = hub.find("hf://datasets/own/set/data/train-00001.parquet")
    server.cut = 50_000
    try:
        path = hub.bring(file, tmp_path)
    except VltkError:
        path = hub.bring(file, tmp_path)
    assert path.read_bytes() == FILES["data/train-00001.parquet"]
    assert server.cut is None, "it was cut"


def test_other_bytes_than_the_hub_lists(server: Hub, tmp_path: Path) -> None:
    server.sha = "0" * 64
    (file,) = hub.find("hf://datasets/own/set/data/test-00000.parquet")
    with pytest.raises(VltkError, match="other bytes than the hub lists"):
        hub.bring(file, tmp_path)
    assert not (tmp_path / file.path).exists()


def test_paths_that_lead_out(server: Hub) -> None:
    server.files["data/../../train-x.parquet"] = b"x"
    with pytest.raises(VltkError, match="leads out of its folder"):
        hub.find("hf://datasets/own/set/data/*.parquet")


def test_errors_say_what_to_do(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VltkError, match=r"not on the hub, or not for this login \(HF_TOKEN\)"):
        hub.find("hf://datasets/no/one/a.parquet")
    server.denied = "GatedRepo"
    with pytest.raises(VltkError, match=r"accept the terms at https://huggingface.co/datasets/own/set.*HF_TOKEN"):
        hub.find("hf://datasets/own/set/data/*.parquet")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(VltkError, match="hf://datasets/own/set"):
        hub.find("hf://datasets/own/set/data/*.parquet")


def test_a_stopped_fetch_keeps_its_commit(server: Hub, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new commit in between neither throws away what is done, nor mixes two of them."""
    for number in range(3):
        table = pa.table({"text": [f"Document {number} says something. {row}." for row in range(4)]})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        server.files[f"data/train-{number:05d}.parquet"] = sink.getvalue().to_pybytes()
    card = {"kind": "hub", "files": [{"url": "hf://datasets/own/set/data/train-*.parquet"}], "text": "text"}
    del server.files["data/deep/train-00009.parquet"]
    bring, brought = hub.bring, list[str]()

    def stop(file: hub.HubFile, folder: Path) -> Path:
        brought.append(file.url)
        if len(brought) == 2:
            raise KeyboardInterrupt
        return bring(file, folder)

    monkeypatch.setattr(hub, "bring", stop)
    with pytest.raises(KeyboardInterrupt):
        fetched(card)
    server.head = NEWER
    fetched(card)
    assert [url.partition("@")[2][:40] for url in brought] == [COMMIT] * 4, "the first file is not brought again"
    assert open_dataset("mine").manifest["statuses"] == {"ok": 12}
    fetched(card, replace=True)
    assert {url.partition("@")[2][:40] for url in brought[4:]} == {NEWER}
