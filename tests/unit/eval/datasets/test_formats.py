"""The readers of formats: nothing of a file is run, and what is no whole file says so."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from tests.official import python2
from tests.official.arrays import cifar10
from vltk import parts
from vltk.errors import Missing, VltkError
from vltk.eval.datasets import _hdf5, _idx, _lists, _matlab, _pickles
from vltk.eval.datasets._files import Files


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    cifar10(tmp_path)
    made = tmp_path / "made"
    held = {"data": Malicious(made), "labels": [0]}
    (tmp_path / "cifar-10-batches-py/test_batch").write_bytes(pickle.dumps(held, protocol))
    with pytest.raises(VltkError, match=r"test_batch is refused: it would call (posix|os|nt)\.mkdir"):
        _pickles.unpickled(Files(tmp_path), "cifar-10-batches-py/test_batch")
    assert not made.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "os.system", "numpy.load", "numpy.ndarray.tofile", "_codecs.encode"])
def test_nothing_but_arrays_may_be_asked_for(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.partition(".")
    (tmp_path / "batch").write_bytes(f"c{module}\n{attribute}\n(S'x'\ntR.".encode())
    with pytest.raises(VltkError, match="is refused: it would call"):
        _pickles.unpickled(Files(tmp_path), "batch")


def test_pickles_of_python_2(tmp_path: Path) -> None:
    """Strings are bytes; arrays are arrays; a long one has an opcode of its own."""
    data = np.arange(600, dtype=np.uint8).reshape(2, 300)
    written = python2.dumps({b"data": data, b"labels": [1, 2], b"label": b"testing batch 1 of 1"})
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in written and b"cnumpy\nndarray\n" in written
    assert written.startswith(b"\x80\x02}") and b"U\x06labels" in written and b"T\x58\x02\x00\x00" in written
    (tmp_path / "batch").write_bytes(written)
    held = _pickles.unpickled(Files(tmp_path), "batch")
    assert np.array_equal(held.pop(b"data"), data)
    assert held == {b"labels": [1, 2], b"label": b"testing batch 1 of 1"}


def test_a_pickle_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(python2.dumps([1, 2]))
    with pytest.raises(VltkError, match="holds list, no dictionary"):
        _pickles.unpickled(Files(tmp_path), "batch")
    with pytest.raises(VltkError, match=r"batch has no list 'labels'; it has: b'data'"):
        _pickles.value({b"data": 1}, b"labels", list, "batch")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (struct.pack("<2I", 2049, 3) + bytes(3), "starts with 17301504, but 2049 is expected"),
        (struct.pack(">2I", 2049, 3) + bytes(2), "has 2 bytes of data for 3: it is cut short"),
        (struct.pack(">2I", 2049, 3) + bytes(4), "has 4 bytes of data for 3"),
        (b"\0\0", "starts with 0"),
        (struct.pack(">4I", 2051, 1, 1, 1) + bytes(1), "starts with 2051"),
    ],
)
def test_idx_is_big_endian_and_whole(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "labels").write_bytes(data)
    with pytest.raises(VltkError, match=message):
        _idx.array(Files(tmp_path), "labels", 1)


def test_a_matlab_file_without_the_variable(tmp_path: Path) -> None:
    savemat(tmp_path / "setid.mat", {"other": [1]})
    with pytest.raises(VltkError, match=r"setid.mat has no variable 'trnid'; it has: other"):
        _matlab.variable(Files(tmp_path), "setid.mat", "trnid")


def test_hdf5_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(Missing, match=r"h5py[\s\S]*pip install 'vltk\[eval\]'"):
        _hdf5.dataset(Files(tmp_path), "x.h5", "x")


def test_hdf5_is_unpacked_first(own: Callable) -> None:
    made = own("pcam")
    path = made.root / "camelyonpatch_level_2_split_test_x.h5"
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    with pytest.raises(Missing, match=r"gunzip --keep /.*/camelyonpatch_level_2_split_test_x.h5.gz"):
        made.loader().split("test")


def test_hdf5_of_another_array(own: Callable) -> None:
    made = own("pcam")
    files = Files(made.root)
    with pytest.raises(VltkError, match=r"_y.h5 has no array 'x'; it has: y"):
        _hdf5.dataset(files, "camelyonpatch_level_2_split_test_y.h5", "x")


def test_lines_and_columns(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa 1 x y\r\n\r\n# note\nb 2 z\n")
    files = Files(tmp_path)
    assert _lists.rows(files, "list.txt", ["NAME", "NUMBER", "REST"]) == [["a", "1", "x y"], ["b", "2", "z"]]
    with pytest.raises(VltkError, match=r"list.txt:4: 'b 2 z' is no line of A B C D"):
        _lists.rows(files, "list.txt", ["A", "B", "C", "D"])
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VltkError, match=r"list.txt is no text"):
        _lists.lines(files, "list.txt")
    (tmp_path / "list.txt").write_bytes(b"\n")
    with pytest.raises(VltkError, match=r"list.txt is empty"):
        _lists.lines(files, "list.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"pixels\n1 2 3\n", "fer2013.csv has no column Usage, emotion; it has: pixels"),
        (b"", "it has: none"),
        (b"emotion,pixels,Usage\n\xff\xfe", "fer2013.csv is damaged or cut short"),
        (b"emotion,pixels,Usage\n0,1 2,Training\n", "fer2013.csv, line 2: 2 pixels where 2304"),
        (b"emotion,pixels,Usage\nhappy,1 2,Training\n", "line 2 has 'happy' where a whole number"),
    ],
)
def test_tables_of_faces(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "fer2013.csv").write_bytes(content)
    made = parts.choose("eval/datasets", "fer2013", nonstandard=True).build(files=Files(tmp_path))
    with pytest.raises(VltkError, match=message):
        made.split("train")
