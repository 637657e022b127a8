"""Unpacking what nobody vouches for."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vltk.data.fetch.archives import unpack
from vltk.errors import VltkError


def zipped(path: Path, members: dict[str, bytes], link: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, body in members.items():
            packed.writestr(name, body)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            packed.writestr(info, "/etc/passwd")
    return path


def tarred(path: Path, members: dict[str, bytes], link: str = "", kind: bytes = tarfile.SYMTYPE) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    return path


@pytest.fixture(params=["a.zip", "a.tar", "a.tar.gz"])
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Path]:
    make = zipped if request.param.endswith("zip") else tarred
    return lambda *args, **options: make(tmp_path / request.param, *args, **options)


def test_unpack(packed: Callable[..., Path], tmp_path: Path) -> None:
    archive = packed({"in/a.json": b"1", "in/b.txt": b"2", "c.json": b"3"})
    out = tmp_path / "out"
    paths = unpack(archive, out, "*.json")
    assert {path.relative_to(out).as_posix(): path.read_bytes() for path in paths} == {
        "in/a.json": b"1",
        "c.json": b"3",
    }
    archive.unlink()
    assert unpack(archive, out, "*.json") == paths, "a folder that stands is complete"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/tmp/x", "a\\..\\..\\x", ".."])
def test_names_that_lead_out(packed: Callable[..., Path], tmp_path: Path, name: str) -> None:
    before = {path.name for path in tmp_path.parent.iterdir()}
    with pytest.raises(VltkError, match="leads out|nothing in it"):
        unpack(packed({"ok": b"", name: b"bad"}), tmp_path / "deep" / "out")
    assert not (tmp_path / "deep" / "out").exists() and not (tmp_path / "deep" / "out.part").exists()
    assert {path.name for path in tmp_path.parent.iterdir()} == before


def test_links_and_devices(packed: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(VltkError, match="link or device"):
        unpack(packed({"ok": b"1"}, link="evil"), tmp_path / "out")
    for kind in (tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        with pytest.raises(VltkError, match="link or device"):
            unpack(tarred(tmp_path / "b.tar", {}, link="evil", kind=kind), tmp_path / "out")


def test_bombs(packed: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(VltkError, match="more than 1,000,000 bytes when unpacked"):
        unpack(packed({"a": bytes(900_000), "b": bytes(900_000)}), tmp_path / "out", max_bytes=1_000_000)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_damage(tmp_path: Path) -> None:
    whole = tarred(tmp_path / "a.tar.gz", {"a": bytes(range(256)) * 3000, "b": b"2"}).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VltkError, match="is damaged"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    plain = tarred(tmp_path / "b.tar", {"a": b"1" * 512, "b": b"2"})
    plain.write_bytes(plain.read_bytes()[:1024])  # between two members
    with pytest.raises(VltkError, match="is damaged: no end mark"):
        unpack(plain, tmp_path / "out")
    (tmp_path / "b.zip").write_bytes(b"<html>not for you</html>")
    with pytest.raises(VltkError, match="is damaged"):
        unpack(tmp_path / "b.zip", tmp_path / "out")
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        for body in (b"1", b"2"):
            info = tarfile.TarInfo("twice")
            info.size = 1
            tar.addfile(info, io.BytesIO(body))
    with pytest.raises(VltkError, match="is damaged"):
        unpack(tmp_path / "c.tar", tmp_path / "out")
    assert not list(tmp_path.glob("out*")), "no .part either"
    with pytest.raises(VltkError, match=r"nothing in it is named \*\.json"):
        unpack(zipped(tmp_path / "d.zip", {"a": b""}), tmp_path / "out", "*.json")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flag", "method", "said"),
    [(1, zipfile.ZIP_STORED, "a.zip: a is encrypted"), (0, 99, "a.zip: .*compression")],
)
def test_zips_that_python_does_not_unpack(tmp_path: Path, flag: int, method: int, said: str) -> None:
    archive = zipped(tmp_path / "a.zip", {"a": b"secret"})
    data = bytearray(archive.read_bytes())
    listed = data.index(b"PK\x01\x02")  # the headers before the file, and in the list at the end
    for flags, methods in ((6, 8), (listed + 8, listed + 10)):
        data[flags] |= flag
        data[methods : methods + 2] = method.to_bytes(2, "little")
    archive.write_bytes(data)
    with pytest.raises(VltkError, match=said):
        unpack(archive, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
