"""Large files over http: they go on where they stopped, and nothing that is not what the card says is kept."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vltk.data.card import RemoteFile
from vltk.data.fetch import download as module
from vltk.data.fetch.download import download
from vltk.data.fetch.files import bring
from vltk.data.fetch.policy import Policy
from vltk.errors import VltkError

BODY = np.random.default_rng(0).bytes(300_000)
OPEN = Policy(allow_private=True, deadline=5)


class Server:
    """Serves BODY at every path; `faults` are taken from the front, one a request."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []  # path, Range
        self.agents: list[str] = []
        self.faults: list[str] = []
        self.body, self.tag, self.ranges = BODY, '"1"', True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        asked = to.headers.get("Range", "")
        self.requests.append((to.path, asked))
        self.agents.append(to.headers["User-Agent"])
        fault = self.faults.pop(0) if self.faults else ""
        if fault.isdigit():
            self._plain(to, int(fault), {"Retry-After": "0"})
        elif fault.startswith("to "):
            self._plain(to, 302, {"Location": fault[3:]})
        else:
            self._file(to, asked, fault)

    @staticmethod
    def _plain(to: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
        to.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            to.send_header(name, value)
        to.end_headers()

    def _file(self, to: BaseHTTPRequestHandler, asked: str, fault: str) -> None:
        start = int(asked[6:-1]) if asked and self.ranges and to.headers.get("If-Range") == self.tag else 0
        if start >= len(self.body):
            self._plain(to, 416, {"Content-Range": f"bytes */{len(self.body)}"})
            return
        to.send_response(206 if start else 200)
        to.send_header("ETag", self.tag)
        to.send_header("Content-Length", str(len(self.body) - start))
        to.end_headers()
        to.wfile.write(self.body[start : start + 100_000] if fault == "cut" else self.body[start:])
        if fault == "cut":
            to.wfile.flush()
            to.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


def of(server: Server, **facts: object) -> RemoteFile:
    return RemoteFile.model_validate({"url": f"{server.url}/a/list.tar", **facts})


def test_whole_file_with_an_honest_name(server: Server, tmp_path: Path) -> None:
    path = download(of(server, bytes=len(BODY), sha256=hashlib.sha256(BODY).hexdigest()), tmp_path / "new", OPEN)
    assert path.read_bytes() == BODY and [file.name for file in path.parent.iterdir()] == ["list.tar"]
    assert server.agents[0].startswith("vltk/")
    download(of(server, bytes=len(BODY)), tmp_path / "new", OPEN)
    assert len(server.requests) == 1, "there already"


def test_goes_on_after_a_cut(server: Server, tmp_path: Path) -> None:
    server.faults = ["cut", "cut"]
    assert download(of(server), tmp_path, OPEN).read_bytes() == BODY
    assert [asked for _, asked in server.requests] == ["", "bytes=100000-", "bytes=200000-"]


def test_goes_on_in_another_process(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIES", 1)
    server.faults = ["503"]
    with pytest.raises(VltkError, match=r"HTTP 503, 1 times in a row; 0 bytes are kept"):
        download(of(server), tmp_path, OPEN)
    (tmp_path / "list.tar.part").write_bytes(BODY[:1234])
    (tmp_path / "list.tar.part.tag").write_text('"1"')
    assert download(of(server), tmp_path, OPEN).read_bytes() == BODY
    assert server.requests[-1][1] == "bytes=1234-"


def test_another_version_on_the_server_starts_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "list.tar.part").write_bytes(b"old" * 1000)
    (tmp_path / "list.tar.part.tag").write_text('"0"')
    assert download(of(server), tmp_path, OPEN).read_bytes() == BODY


@pytest.mark.parametrize("tag", ['"1"', ""])
def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path, tag: str) -> None:
    server.ranges, server.tag = False, tag
    server.faults = ["cut"]
    assert download(of(server), tmp_path, OPEN).read_bytes() == BODY


def test_all_bytes_there_but_not_renamed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "list.tar.part").write_bytes(BODY)
    (tmp_path / "list.tar.part.tag").write_text('"1"')
    assert download(of(server), tmp_path, OPEN).read_bytes() == BODY


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"bytes": len(BODY) - 1}, {"bytes": len(BODY) + 1}])
def test_other_bytes_than_the_card_says(server: Server, tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(VltkError, match=f"the card says|{len(BODY):,}"):
        download(of(server, **wrong), tmp_path, OPEN)
    assert not (tmp_path / "list.tar").exists()


@pytest.mark.parametrize("status", ["404", "403", "410", "401"])
def test_what_is_gone_is_not_asked_for_again(server: Server, tmp_path: Path, status: str) -> None:
    server.faults = [status]
    with pytest.raises(VltkError, match=f"HTTP {status}"):
        download(of(server), tmp_path, OPEN)
    assert len(server.requests) == 1


def test_busy_servers_get_several_tries(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.faults = ["503", "429", "500"]
    assert download(of(server), tmp_path, OPEN).read_bytes() == BODY
    said = capsys.readouterr().out.splitlines()
    wait = 2 * module.PAUSE
    assert said[0] == f"list.tar: HTTP 503; again in {wait:g} s, try 2 of 6" and said[2].endswith("try 4 of 6")
    assert len(said) == 3
    server.faults = ["503"] * 50
    with pytest.raises(VltkError, match="6 times in a row"):
        download(RemoteFile(url=f"{server.url}/b"), tmp_path, OPEN)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "/a/list.tar"])
def test_redirects_stay_on_the_web(server: Server, tmp_path: Path, target: str) -> None:
    server.faults = [f"to {target}"]
    if target.startswith("/"):
        assert download(of(server), tmp_path, OPEN).read_bytes() == BODY
    else:
        with pytest.raises(VltkError):
            download(of(server), tmp_path, OPEN)
        assert not (tmp_path / "list.tar").exists()


def test_private_addresses_are_refused(server: Server, tmp_path: Path) -> None:
    for url in (f"{server.url}/a", server.url.replace("127.0.0.1", "localhost") + "/a", "http://169.254.169.254/a"):
        with pytest.raises(VltkError, match="private_address"):
            download(RemoteFile(url=url), tmp_path, Policy())
    assert not server.requests
    only = Policy(private_hosts=(server.url.removeprefix("http://"),))
    assert download(of(server), tmp_path, only).read_bytes() == BODY
    server.faults = ["to http://localhost:1/x"]
    with pytest.raises(VltkError, match="private_address"):
        download(RemoteFile(url=f"{server.url}/r"), tmp_path, only)


def test_no_room_is_said_before_the_bytes_come(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(VltkError, match="300,000 bytes to come, 1,000 bytes free"):
        download(of(server), tmp_path, OPEN)


def test_ranges_and_paths(server: Server, tmp_path: Path) -> None:
    here = tmp_path / "here.tsv"
    here.write_text("x")
    files = [RemoteFile(url=f"{server.url}/a-{{08..11}}.tar"), RemoteFile(url=str(here))]
    paths = bring(files, tmp_path / "to", OPEN)
    assert [path.name for path in paths] == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar", "here.tsv"]
    assert paths[-1] == here
    with pytest.raises(VltkError, match="names a file twice: a.tar"):
        bring([RemoteFile(url=f"{server.url}/{place}/a.tar") for place in "xy"], tmp_path, OPEN)
    with pytest.raises(VltkError, match="absent.tsv is not there"):
        bring([RemoteFile(url=str(tmp_path / "absent.tsv"))], tmp_path, OPEN)
    with pytest.raises(VltkError, match="another sha256"):
        bring([RemoteFile(url=str(here), sha256="0" * 64)], tmp_path, OPEN)
    with pytest.raises(VltkError, match=re.escape("not s3://")):
        bring([RemoteFile(url="s3://b/x")], tmp_path, OPEN)
