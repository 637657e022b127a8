"""Bringing official data sets from a server on loopback: checked, continued, put in place, and the rest told."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from vltk.data.fetch import download as downloads
from vltk.data.fetch.policy import Policy
from vltk.errors import RecipeError, VltkError
from vltk.eval import fetch as module
from vltk.eval.datasets import _places as places
from vltk.eval.datasets._card import DataCard, load_card
from vltk.eval.datasets._places import find
from vltk.eval.fetch import fetch

POLICY = Policy(allow_private=True, deadline=5)


class Server:
    """Serves `bodies` by path; the first answers for a path of `cut` end after so many bytes."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        span = to.headers.get("Range", "")
        self.asked.append((to.path, span))
        body = self.bodies.get(to.path)
        if body is None:
            to.send_error(404)
            return
        start = int(span[6:-1]) if span else 0
        to.send_response(206 if start else 200)
        to.send_header("ETag", '"1"')
        to.send_header("Content-Length", str(len(body) - start))
        to.end_headers()
        to.wfile.write(body[start : self.cut.pop(to.path, len(body))])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(downloads, "PAUSE", 0.01)
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


class Cards:
    """Cards of the test in the place of those of vltk; `add` serves the file and makes the card."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.made: dict[str, DataCard] = {}

    def add(self, name: str, *files: tuple[dict[str, Any], bytes | None], **options: Any) -> None:
        written = []
        for file, body in files:
            path = f"/{name}/{file['name']}"
            if body is not None:
                self.server.bodies[path] = body
                file = {"url": self.server.url + path, "md5": hashlib.md5(body).hexdigest(), "bytes": len(body), **file}
            written.append(file)
        facts = {"about": "a test", "licence": {"id": "CC0"}, "counts": {"test": 1}, **options}
        self.made[name] = DataCard.model_validate({"name": name, "files": written, **facts})

    def load(self, name: str) -> DataCard:
        return self.made.get(name) or load_card(name)


@pytest.fixture
def cards(server: Server, monkeypatch: pytest.MonkeyPatch) -> Cards:
    made = Cards(server)
    monkeypatch.setattr(places, "load_card", made.load)
    monkeypatch.setattr(module, "load_card", made.load)
    return made


def tar_of(content: dict[str, bytes], packed: bool = True) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue()) if packed else out.getvalue()


def zip_of(content: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, data in content.items():
            packed.writestr(name, data)
    return out.getvalue()


DTD = {"dtd/labels/test1.txt": b"banded/a.jpg", "dtd/images/banded/a.jpg": b"picture"}
DTD_FILE = {"name": "dtd-r1.0.1.tar.gz", "holds": ["dtd/labels/test1.txt", "dtd/images"]}


def test_a_tar_gz_becomes_a_tar_that_is_read_in_place(cards: Cards, tmp_path: Path) -> None:
    cards.add("dtd", (DTD_FILE, tar_of(DTD)))
    found = fetch(["dtd"], tmp_path, policy=POLICY)
    assert [one.state for one in found] == ["ready"]
    assert [path.name for path in (tmp_path / "dtd").iterdir()] == ["dtd-r1.0.1.tar"]
    assert find("dtd", tmp_path).read("dtd/images/banded/a.jpg") == b"picture"


def test_files_in_every_packing_are_put_in_place(cards: Cards, tmp_path: Path) -> None:
    cards.add("pcam", ({"name": "x.h5.gz", "gunzip": True}, gzip.compress(b"rows")))
    cards.add("mnist", ({"name": "a-ubyte.gz", "holds": ["a-ubyte"]}, gzip.compress(b"digits")))
    cards.add("mrpc", ({"name": "MRPC/dev_ids.tsv"}, b"1\t2\n"))
    inner = {"caltech-101/101_ObjectCategories.tar.gz": tar_of({"101_ObjectCategories/a.jpg": b"a"}), "b.txt": b""}
    file = {"name": "caltech-101.zip", "inner": "101_ObjectCategories.tar.gz", "holds": ["101_ObjectCategories"]}
    cards.add("caltech101", (file, zip_of(inner)))
    found = fetch(["pcam", "mnist", "mrpc", "caltech101"], tmp_path, policy=POLICY)
    assert [one.state for one in found] == ["ready"] * 4
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"pcam/x.h5", "mnist/a-ubyte.gz", "mrpc/MRPC/dev_ids.tsv", "caltech101/101_ObjectCategories.tar"}
    assert find("mnist", tmp_path).read("a-ubyte") == b"digits"
    assert find("caltech101", tmp_path).read("101_ObjectCategories/a.jpg") == b"a"


def test_a_dry_run_says_the_plan_and_asks_for_nothing(
    cards: Cards, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cards.add("dtd", (DTD_FILE, tar_of(DTD)))
    found = fetch(["dtd"], tmp_path, dry_run=True, policy=POLICY)
    assert [one.state for one in found] == ["absent"] and server.asked == [] and list(tmp_path.iterdir()) == []
    said = capsys.readouterr().out
    assert "dtd: a test; licence: CC0" in said and f"md5, from {server.url}/dtd/dtd-r1.0.1.tar.gz" in said
    assert "1 files, " in said and "to download" in said


def test_photos_of_two_data_sets_come_once(cards: Cards, server: Server, tmp_path: Path) -> None:
    photos = {"name": "val2014.zip", "url": f"{server.url}/val2014.zip", "holds": ["val2014"]}
    server.bodies["/val2014.zip"] = zip_of({"val2014/a.jpg": b"picture"})
    cards.add("vqav2", ({"name": "questions.json"}, b"{}"), (photos, None), beside=["coco"])
    cards.add("coco", ({"name": "captions.json"}, b"{}"), (photos, None), beside=["vqav2"])
    found = fetch(["vqav2", "coco"], tmp_path, policy=POLICY)
    assert [one.state for one in found] == ["ready", "ready"]
    assert [path for path, _ in server.asked].count("/val2014.zip") == 1 and len(server.asked) == 3
    assert find("coco", tmp_path).read("val2014/a.jpg") == b"picture"


def test_what_is_there_is_not_brought_again(cards: Cards, server: Server, tmp_path: Path) -> None:
    cards.add("dtd", (DTD_FILE, tar_of(DTD)))
    fetch(["dtd"], tmp_path, policy=POLICY)
    asked = len(server.asked)
    assert [one.state for one in fetch(["dtd"], tmp_path, policy=POLICY)] == ["ready"]
    assert len(server.asked) == asked == 1


def test_an_archive_that_lies_there_is_unpacked_alone(cards: Cards, server: Server, tmp_path: Path) -> None:
    cards.add("dtd", (DTD_FILE, tar_of(DTD)))
    (tmp_path / "dtd").mkdir()
    (tmp_path / "dtd" / "dtd-r1.0.1.tar.gz").write_bytes(tar_of(DTD))
    assert [one.state for one in fetch(["dtd"], tmp_path, policy=POLICY)] == ["ready"]
    assert server.asked == []


def test_a_download_that_broke_off_goes_on(cards: Cards, server: Server, tmp_path: Path) -> None:
    body = tar_of({"dtd/labels/test1.txt": b"", "dtd/images/a.jpg": bytes(range(256)) * 2000}, packed=False)
    cards.add("dtd", ({**DTD_FILE, "name": "dtd.tar"}, body))
    server.cut["/dtd/dtd.tar"] = 200_000
    assert [one.state for one in fetch(["dtd"], tmp_path, policy=POLICY)] == ["ready"]
    assert server.asked == [("/dtd/dtd.tar", ""), ("/dtd/dtd.tar", "bytes=200000-")]


def test_other_bytes_than_the_card_says_are_not_kept_and_the_others_come(
    cards: Cards, server: Server, tmp_path: Path
) -> None:
    cards.add("dtd", ({**DTD_FILE, "md5": "0" * 32}, tar_of(DTD)))
    cards.add("mrpc", ({"name": "MRPC/dev_ids.tsv"}, b"1\t2\n"))
    cards.add("rte", ({"name": "RTE.zip", "url": f"{server.url}/gone.zip"}, None))
    with pytest.raises(VltkError) as failed:
        fetch(["dtd", "rte", "mrpc"], tmp_path, policy=POLICY)
    text = str(failed.value)
    assert "dtd: " in text and "the card says 000" in text and "rte: " in text and "HTTP 404" in text
    assert text.endswith("2 of 3 files are not in place")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")] == ["mrpc/MRPC/dev_ids.tsv"]


def test_a_damaged_archive_is_said_and_leaves_nothing_half_unpacked(cards: Cards, tmp_path: Path) -> None:
    cards.add("dtd", (DTD_FILE, tar_of(DTD)[:-20]))
    with pytest.raises(VltkError, match=r"dtd-r1\.0\.1\.tar\.gz is damaged"):
        fetch(["dtd"], tmp_path, policy=POLICY)
    assert [path.name for path in (tmp_path / "dtd").iterdir()] == ["dtd-r1.0.1.tar.gz"]


def test_free_leaves_out_what_is_gated_and_the_rest_is_a_checklist(
    cards: Cards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cards.add("mrpc", ({"name": "MRPC/dev_ids.tsv"}, b"1\t2\n"))
    steps = ["sign in", "put b.zip into {folder}"]
    cards.add("fer2013", ({"name": "a.txt"}, b"a"), ({"name": "b.zip"}, None), gated="login", by_hand=steps)
    monkeypatch.setattr(module, "all_names", lambda: ["mrpc", "fer2013"])
    assert [one.card.name for one in fetch(["free"], tmp_path, policy=POLICY)] == ["mrpc"]
    capsys.readouterr()
    found = fetch(["fer2013"], tmp_path, policy=POLICY)
    assert [one.state for one in found] == ["partial"] and (tmp_path / "fer2013" / "a.txt").exists()
    said = capsys.readouterr().out
    assert f"fer2013, by hand (b.zip):\n  1. sign in\n  2. put b.zip into {tmp_path / 'fer2013'}\n" in said


def test_files_are_not_put_among_those_of_other_data_sets(cards: Cards, tmp_path: Path) -> None:
    cards.add("dtd", (DTD_FILE, tar_of(DTD)), ({"name": "more.txt"}, b"more"))
    for name, data in DTD.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "elsewhere").mkdir()
    found = fetch(["dtd"], tmp_path, policy=POLICY)
    assert not (tmp_path / "more.txt").exists() and (tmp_path / "dtd" / "more.txt").read_bytes() == b"more"
    assert [one.state for one in found] == ["ready"]
    assert find("dtd", tmp_path).read("more.txt") == b"more"
    assert find("dtd", tmp_path).read("dtd/labels/test1.txt") == DTD["dtd/labels/test1.txt"]


def test_a_disk_that_is_too_small_is_said_before_anything_comes(cards: Cards, server: Server, tmp_path: Path) -> None:
    cards.add("dtd", ({**DTD_FILE, "bytes": 10**18}, tar_of(DTD)))
    with pytest.raises(VltkError, match="the disk of .* is too small: about 3000000"):
        fetch(["dtd"], tmp_path, policy=POLICY)
    assert server.asked == []


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(RecipeError, match="did you mean 'cifar10'"):
        fetch(["cifar"], dry_run=True)
