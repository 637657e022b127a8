"""The tree over the folder and the archives of an official data set."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vltk.errors import Missing, VltkError
from vltk.eval.datasets._files import Files

CONTENT = {"dtd/labels/test1.txt": b"banded/a.jpg\n", "dtd/images/banded/a.jpg": b"picture", "dtd/images/b.jpg": b""}


def as_folder(root: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def as_tar(root: Path, content: dict[str, bytes], name: str = "data.tar") -> None:
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / name, "w") as tar:
        for member, data in content.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def as_zip(root: Path, content: dict[str, bytes], way: int = zipfile.ZIP_DEFLATED) -> None:
    root.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(root / "data.zip", "w", way) as packed:
        for member, data in content.items():
            packed.writestr(member, data)


def as_stored_zip(root: Path, content: dict[str, bytes]) -> None:
    as_zip(root, content, zipfile.ZIP_STORED)


@pytest.fixture(params=[as_folder, as_tar, as_zip, as_stored_zip])
def made(request: pytest.FixtureRequest) -> Callable[[Path, dict[str, bytes]], None]:
    form: Callable[[Path, dict[str, bytes]], None] = request.param
    return form


@pytest.mark.parametrize("inside", ["", "dtd", "deeper/dtd"])
def test_a_folder_and_archives_are_one_tree(
    tmp_path: Path, made: Callable[[Path, dict[str, bytes]], None], inside: str
) -> None:
    """As the official layout says, with its first folder as the root, and one folder deeper."""
    cut = "dtd/" if inside == "dtd" else ""
    added = "deeper/" if inside.startswith("deeper") else ""
    root = tmp_path / (inside if inside == "dtd" else "root")
    made(root, {added + name.removeprefix(cut): data for name, data in CONTENT.items()})

    files = Files(root)

    assert files.names("dtd/images/*") == ["dtd/images/b.jpg", "dtd/images/banded/a.jpg"]
    assert {name: files.read(name) for name in files.names("dtd/*")} == CONTENT
    assert files.exists("dtd/images/banded") and not files.exists("dtd/images/striped")
    assert files.names("images/*.png") == []


def test_a_member_can_be_read_in_pieces_and_from_the_middle(
    tmp_path: Path, made: Callable[[Path, dict[str, bytes]], None]
) -> None:
    data = bytes(range(256)) * 100
    made(tmp_path, {"a.bin": data, "b.bin": b"other"})
    with Files(tmp_path).open("a.bin") as file:
        assert file.read(300) == data[:300]
        file.seek(20_000)
        assert file.read(7) == data[20_000:20_007]
        file.seek(-5, io.SEEK_END)
        assert file.read() == data[-5:]


def test_many_threads_read_the_right_bytes(tmp_path: Path, made: Callable[[Path, dict[str, bytes]], None]) -> None:
    content = {f"images/{number}.bin": bytes([number]) * (1000 + number) for number in range(60)}
    made(tmp_path, content)
    files = Files(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        wanted = list(content) * 5
        assert list(pool.map(files.read, wanted)) == [content[name] for name in wanted]


def test_the_root_may_be_named_otherwise_where_that_is_said(tmp_path: Path) -> None:
    as_folder(tmp_path, {"images/b.jpg": b"x"})
    assert not Files(tmp_path).exists("dtd/images/b.jpg")
    assert Files(tmp_path, inside="dtd").names("dtd/*.jpg") == ["dtd/images/b.jpg"]


def test_what_lies_on_disk_goes_before_an_archive(tmp_path: Path) -> None:
    as_tar(tmp_path, {"labels.txt": b"official"})
    as_folder(tmp_path, {"labels.txt": b"mended"})
    assert Files(tmp_path).read("labels.txt") == b"mended"


def test_an_archive_in_a_folder_opens_there(tmp_path: Path) -> None:
    as_tar(tmp_path / "train", {"images/0.png": b"0"}, "images.tar")
    assert Files(tmp_path).names("*.png") == ["train/images/0.png"]


def test_two_places_for_one_path_are_named(tmp_path: Path) -> None:
    as_folder(tmp_path, {"new/labels.txt": b"", "old/labels.txt": b""})
    with pytest.raises(VltkError, match=r"more than once: new/labels\.txt, old/labels\.txt"):
        Files(tmp_path).read("labels.txt")


def test_only_some_entries_of_a_shared_folder_are_seen(tmp_path: Path) -> None:
    as_folder(tmp_path, {"dtd/labels/test1.txt": b"", "other/broken.zip": b"no zip"})
    assert Files(tmp_path, only=["dtd"]).names("*.txt") == ["dtd/labels/test1.txt"]


def test_a_single_compressed_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"labels"))
    files = Files(tmp_path)
    assert files.read("t10k-labels-idx1-ubyte") == b"labels"
    assert files.exists("t10k-labels-idx1-ubyte.gz")


def test_a_single_compressed_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(range(256)))[:-12])
    with pytest.raises(VltkError, match=r"/a\.gz is damaged or cut short"):
        Files(tmp_path).read("a")


def test_all_absent_paths_are_listed_at_once(tmp_path: Path) -> None:
    as_folder(tmp_path, {"there.txt": b""})
    with pytest.raises(Missing) as missing:
        Files(tmp_path, get="vltk eval --fetch dtd").require("a.txt", "there.txt", "b/c.txt")
    assert [command for _, command in missing.value.steps] == ["vltk eval --fetch dtd"] * 2
    assert "a.txt" in str(missing.value) and "b/c.txt" in str(missing.value) and "there.txt" not in str(missing.value)


def test_an_absent_folder_has_nothing(tmp_path: Path) -> None:
    files = Files(tmp_path / "nowhere")
    assert files.names("*") == []
    with pytest.raises(Missing, match="nowhere"):
        files.read("a.txt")


@pytest.mark.parametrize(
    ("name", "command"), [("a.tar.gz", "gunzip"), ("a.tgz", "gunzip"), ("UCF101.rar", "unrar x"), ("a.tar.xz", "unxz")]
)
def test_an_archive_compressed_as_a_whole_is_refused_with_the_command(tmp_path: Path, name: str, command: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(Missing) as missing:
        Files(tmp_path).read("images/a.jpg")
    assert missing.value.steps[0][1] == f"{command} {tmp_path / name}"


def test_an_unpacked_archive_is_not_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(b"")
    as_tar(tmp_path, {"x": b""}, "a.tar")
    with pytest.raises(Missing) as missing:
        Files(tmp_path).read("images/a.jpg")
    assert len(missing.value.steps) == 1


@pytest.mark.parametrize("kept", [700, 1024, 1536, 2100])
def test_a_tar_that_is_cut_short_is_named(tmp_path: Path, kept: int) -> None:
    """In the bytes of a member, at the end of a member, in a header: members are (512 + 512) bytes each."""
    as_tar(tmp_path, {name: bytes(500) for name in "abc"})
    whole = (tmp_path / "data.tar").read_bytes()
    (tmp_path / "data.tar").write_bytes(whole[:kept])
    with pytest.raises(VltkError, match=r"data\.tar is damaged or cut short"):
        Files(tmp_path).names("*")


def test_a_zip_that_is_cut_short_is_named(tmp_path: Path) -> None:
    as_zip(tmp_path, CONTENT)
    (tmp_path / "data.zip").write_bytes((tmp_path / "data.zip").read_bytes()[:-30])
    with pytest.raises(VltkError, match=r"data\.zip is damaged or cut short"):
        Files(tmp_path).exists("a")


def test_a_damaged_member_of_a_zip_is_named(tmp_path: Path) -> None:
    as_zip(tmp_path, {"a.txt": b"all work and no play " * 50})
    data = bytearray((tmp_path / "data.zip").read_bytes())
    data[40] ^= 0xFF
    (tmp_path / "data.zip").write_bytes(data)
    with pytest.raises(VltkError, match=r"a\.txt is damaged"):
        Files(tmp_path).read("a.txt")


def test_names_that_lead_out_of_an_archive_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_bytes(b"secret")
    hostile = {"../secret.txt": b"1", "/etc/passwd": b"2", "a/../../b": b"3", "c\\..\\d": b"4", "good.txt": b"5"}
    as_zip(tmp_path / "root", hostile)
    as_tar(tmp_path / "root", hostile)
    files = Files(tmp_path / "root")
    assert files.names("*") == ["good.txt"]
    with pytest.raises(Missing):
        files.read("../secret.txt")


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "data.tar", "w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert not Files(tmp_path).exists("link")


def test_a_folder_that_links_to_itself_is_walked_once(tmp_path: Path) -> None:
    as_folder(tmp_path, {"a/b.txt": b""})
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert Files(tmp_path).names("*.txt") == ["a/b.txt"]


def test_droppings_of_macos_and_hidden_files_are_not_there(tmp_path: Path) -> None:
    as_zip(tmp_path, {"__MACOSX/images/._a.jpg": b"", "images/._a.jpg": b"", "images/a.jpg": b""})
    as_folder(tmp_path, {".cache/b.jpg": b""})
    assert Files(tmp_path).names("*.jpg") == ["images/a.jpg"]
