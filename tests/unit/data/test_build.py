"""Raw input to data sets: every layout, and every wrong input with one clear message and nothing written."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.unit.data.samples import caption, picture
from vltk.data.build import fetch, missing, shard
from vltk.data.card import card_names, load_card
from vltk.data.dataset import data_root, open_dataset
from vltk.data.image import ENDINGS
from vltk.data.prepare import Limits
from vltk.data.shard import Record, write_dataset
from vltk.data.shelf import ls
from vltk.data.sources._images import ImageFiles
from vltk.data.sources._raw import record
from vltk.data.sources._tars import tar_rows
from vltk.data.sources.texts import packed, sentences
from vltk.data.text import SPECIAL, Tokenizer
from vltk.data.vocabulary import train_vocabulary
from vltk.errors import Missing, VltkError

NAMES = [f"p{index}.jpg" for index in range(6)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, name in enumerate(NAMES):
        (folder / name).write_bytes(picture(index))
    return folder


@pytest.fixture
def photos_tar(tmp_path: Path, photos: Path) -> Path:
    path = tmp_path / "Images.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(photos, "Images")
    return path


def rows() -> list[tuple[str, str]]:
    return [(name, f'"{caption(index)}, once\u2028more') for index, name in enumerate(NAMES) for _ in range(2)]


def caption_file(folder: Path, layout: str) -> Path:
    """The same captions in each layout."""
    if layout == "csv":
        body = "image,caption\n" + "".join(f'{name},"{text.replace(chr(34), chr(34) * 2)}"\n' for name, text in rows())
    elif layout == "tsv":
        body = "caption\tfile_name\n" + "".join(f"{text}\t{name}\n" for name, text in rows())
    elif layout == "jsonl":
        body = "".join(json.dumps({"image": name, "caption": text}) + "\n" for name, text in rows())
    elif layout == "json":
        body = json.dumps([{"image": name, "captions": [text, text]} for name, text in rows()[::2]])
    elif layout == "coco.json":
        images = [{"id": index, "file_name": name} for index, name in enumerate(NAMES)]
        notes = [{"image_id": NAMES.index(name), "caption": text} for name, text in rows()]
        body = json.dumps({"images": images, "annotations": notes})
    else:
        body = "".join(f"{name}#{number % 2}\t{text}\n" for number, (name, text) in enumerate(rows()))
    path = folder / f"captions.{layout}"
    path.write_text(body, encoding="utf-8")
    return path


@pytest.mark.parametrize("layout", ["csv", "tsv", "jsonl", "json", "coco.json", "token.txt"])
def test_caption_layouts(tmp_path: Path, photos: Path, photos_tar: Path, layout: str) -> None:
    captions = caption_file(tmp_path, layout)
    shard(photos, "folder", captions)
    shard(captions, "tar", images=photos_tar)
    for name in ("folder", "tar"):
        dataset = open_dataset(name)
        assert len(dataset) == 6 and dataset.manifest["texts"] == 12
        for index in range(6):
            sample = dataset.read(index)
            assert sample.image == picture(index) and sample.texts == [" ".join(rows()[2 * index][1].split())] * 2


def test_split_list(tmp_path: Path, photos: Path) -> None:
    chosen = tmp_path / "dev.txt"
    chosen.write_text("p1.jpg\np4.jpg\n")
    manifest = shard(photos, "dev", caption_file(tmp_path, "csv"), split_list=chosen)
    assert manifest.statuses == {"filtered": 4, "ok": 2}
    assert [open_dataset("dev").read(index).key for index in (0, 1)] == ["p1", "p4"]
    chosen.write_text("other.jpg\n")
    with pytest.raises(VltkError, match="do not belong together"):
        shard(photos, "none", caption_file(tmp_path, "csv"), split_list=chosen)


def test_images_with_and_without_classes(tmp_path: Path, photos: Path) -> None:
    assert shard(photos, "plain").samples == 6 and open_dataset("plain").read(0).meta == {}
    for index, name in enumerate(NAMES):
        folder = tmp_path / "train" / ("cat" if index % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(index))
    shard(tmp_path / "train", "classes")
    labels = [open_dataset("classes").read(index).meta["label"] for index in range(6)]
    assert labels == ["cat"] * 3 + ["dog"] * 3 and not open_dataset("classes").has_texts


def test_texts_are_cut_at_sentence_ends(tmp_path: Path) -> None:
    source = tmp_path / "book.txt"
    source.write_bytes(
        "One two three. Four five!\nSix seven\neight? “Nine ten.” Eleven\n\nbroken: \n".encode() + b"\xff\xfe\n"
    )
    manifest = shard(source, "book", max_words=5)
    dataset = open_dataset("book")
    texts = [dataset.read(index).texts for index in range(len(dataset))]
    assert texts == [["One two three. Four five!"], ["Six seven eight? “Nine ten.”"]]
    assert manifest.statuses == {"filtered": 1, "ok": 2, "unreadable_row": 1}
    assert list(sentences(["a b.", "c"])) == ["a b.", "c"]
    assert list(packed(["a b c d e f g", "h"], 3)) == ["a b c", "d e f", "g h"]


def test_undecodable_and_absent_images_get_a_status(tmp_path: Path, photos: Path) -> None:
    (photos / "p2.jpg").write_bytes(picture(2)[:300])
    (photos / "p3.jpg").unlink()
    captions = caption_file(tmp_path, "csv")
    captions.write_text(captions.read_text() + "p5.jpg, \n")
    manifest = shard(photos, "some", captions)
    assert manifest.statuses == {"missing_file": 1, "no_caption": 1, "ok": 4, "undecodable": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "captions.csv is empty"),
        ("image,caption\n", "has a header and no captions"),
        ("photo,words\nx,y\n", "no column 'image' in the first line; have: photo, words"),
        ("image,caption\np0.jpg\n", "captions.csv:2: 1 columns, the header has 2"),
        ("image,caption\np0.jpg,a\np1.jpg\n\np2.jpg\n", r"captions.csv:3: 1 columns.*2 of the 3 rows cannot be read"),
        ("just words\n", "no known layout of captions"),
        (
            "image,caption\nq0.jpg,a\nq1.jpg,b\np0.jpg,c\n",
            "2 of the 3 images .* are not in .*for instance q0.jpg, q1.jpg",
        ),
    ],
)
def test_wrong_caption_files(tmp_path: Path, root: Path, photos: Path, body: str, message: str) -> None:
    path = tmp_path / "captions.csv"
    path.write_text(body)
    with pytest.raises(VltkError, match=message):
        shard(photos, "wrong", path)
    assert not root.exists()


def stored(name: str) -> dict[str, list[str]]:
    dataset = open_dataset(name)
    return {sample.key: sample.texts for sample in map(dataset.read, range(len(dataset)))}


@pytest.mark.parametrize(
    "lines",
    [
        ['p0.jpg,"a dog', "p1.jpg,b", "p2.jpg,c", "p3.jpg,d"],  # never closed
        ['p0.jpg,"a dog', "p1.jpg,b", 'p2.jpg,"c', "p3.jpg,d"],  # two that could hold what is between them
        ['p0.jpg,"a dog', 'p1.jpg,b"', "p2.jpg,c", 'p3.jpg,d"'],
        ['p0.jpg,"a dog', "p1.jpg,b", "p2.jpg,c", '"p3.jpg",d'],
    ],
)
@pytest.mark.parametrize("ending", [".jpg", ""])
def test_an_unclosed_quote_loses_no_row(tmp_path: Path, photos: Path, lines: list[str], ending: str) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("\n".join(["image,caption", *lines, ""]).replace(".jpg", ending))
    manifest = shard(photos, "quotes", path)
    assert manifest.statuses == {"ok": 4}
    assert {key: text.strip('"') for key, (text,) in stored("quotes").items()} == {
        "p0": "a dog", "p1": "b", "p2": "c", "p3": "d",
    }  # fmt: skip


def test_quoted_captions_of_several_lines(tmp_path: Path, photos: Path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text('caption,image\n"one\n\ntwo, ""three"", four",p0.jpg\nfive, six,p1.jpg\n"seven\neight",p2.jpg\n')
    assert shard(photos, "lines", path).statuses == {"ok": 3}
    assert stored("lines") == {"p0": ['one two, "three", four'], "p1": ["five, six"], "p2": ["seven eight"]}


@pytest.mark.parametrize(
    ("ending", "body", "bad"),
    [
        ("csv", b"image,caption\np0.jpg,caf\xe9\np1.jpg\np2.jpg,na\xc3\xafve \x93c\x94\n", "3"),
        ("tsv", b"image\tcaption\np0.jpg\tcaf\xe9\np1.jpg\np2.jpg\tna\xc3\xafve \x93c\x94\n", "3"),
        ("txt", b"p0.jpg#0\tcaf\xe9\np1.jpg#0 caption\np2.jpg#1\tna\xc3\xafve \x93c\x94\n", "2"),
        (
            "jsonl",
            b'{"image": "p0.jpg", "caption": "caf\xe9"}\n{"image": "p1\n'
            b'{"image": "p2.jpg", "caption": "na\xc3\xafve \x93c\x94"}\n',
            "2",
        ),
        (
            "json",
            b'[{"image": "p0.jpg", "caption": "caf\xe9"}, {"image": "p1.jpg"}, '
            b'{"image": "p2.jpg", "caption": "na\xc3\xafve \x93c\x94"}]',
            "2",
        ),
    ],
)
def test_an_odd_byte_or_row_costs_one_row(tmp_path: Path, photos: Path, ending: str, body: bytes, bad: str) -> None:
    path = tmp_path / f"captions.{ending}"
    path.write_bytes(body)
    manifest = shard(photos, "odd", path)
    assert manifest.statuses == {"ok": 2, "unreadable_row": 1} and manifest.rows == 3
    assert stored("odd") == {"p0": ["café"], "p2": ["naïve “c”"]}
    (row,) = [row for row in table_of("odd") if row["status"] == "unreadable_row"]
    assert row["key"] == f"captions.{ending}:{bad}" and "p1" in row["caption"] and row["detail"]


def table_of(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(data_root() / name / "rows").to_pylist()
    return rows


def test_json_that_was_cut_is_refused(tmp_path: Path, root: Path, photos: Path) -> None:
    """Its last line alone would be a caption."""
    path = tmp_path / "captions.json"
    path.write_text('[{"image": "p0.jpg", "caption": "a"},\n{"image": "p1.jpg", "caption": "b"}\n')
    with pytest.raises(VltkError, match="captions.json: no JSON"):
        shard(photos, "cut", path)
    assert not root.exists()


def test_avif_is_found_wherever_images_are(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, ending in enumerate(ENDINGS):
        (folder / f"p{index}{ending}").write_bytes(b"")
    assert len(ImageFiles(folder).names) == len(ENDINGS)
    Image.new("RGB", (40, 40), "red").save(folder / f"p{ENDINGS.index('.avif')}.avif")
    path = tmp_path / "mirror.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(folder / f"p{ENDINGS.index('.avif')}.avif", "a.avif")
        (folder / "a.txt").write_text("a red wall")
        tar.add(folder / "a.txt", "a.txt")
    (raw,) = tar_rows(path, "", ["txt"], Limits())
    assert isinstance(record(raw, Limits()), Record)
    assert shard(path, "in_place").images == 1
    captions = tmp_path / "b.txt"
    captions.write_text("a.avif,a red wall\n")
    with pytest.raises(VltkError, match="captions of images"):
        shard(captions, "avif")
    assert shard(path, "pictures", kind="images").statuses == {"ok": 1}


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_a_tar_cut_in_half(photos_tar: Path, root: Path, share: float) -> None:
    whole = photos_tar.read_bytes()
    photos_tar.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(VltkError, match="Images.tar is no whole tar(.|\n)*tar -tf"):
        shard(photos_tar, "cut")
    assert not root.exists()


def test_a_tar_cut_between_members(photos_tar: Path) -> None:
    with tarfile.open(photos_tar) as tar:
        end = tar.getmembers()[3].offset
    photos_tar.write_bytes(photos_tar.read_bytes()[:end])
    with pytest.raises(VltkError, match="no whole tar"):
        shard(photos_tar, "cut")


def test_packed_tar_and_wrong_sources(tmp_path: Path, photos: Path) -> None:
    packed_tar = tmp_path / "photos.tar.gz"
    with tarfile.open(packed_tar, "w:gz") as tar:
        tar.add(photos, "photos")
    for source, message in (
        (packed_tar, "is compressed: unpack it"),
        (tmp_path / "nowhere", "is not there"),
        (caption_file(tmp_path, "csv"), "holds captions of images, and the images are not named"),
    ):
        with pytest.raises(VltkError, match=message):
            shard(source, "wrong")
    with pytest.raises(VltkError, match="is no name of a data set"):
        shard(photos, "../up")
    (photos / "note.txt").write_text("hello there you")
    with pytest.raises(
        VltkError, match=r"holds images and 1 text files \(note.txt\)(.|\n)*photos mixed --captions FILE"
    ):
        shard(photos, "mixed")
    with pytest.raises(VltkError, match="pairs: leave out --kind images"):
        shard(photos, "mixed", tmp_path / "captions.csv", kind="images")
    with pytest.raises(VltkError, match="at least 8 pixels, or 0 to keep"):
        shard(photos, "small", kind="images", limits=Limits(short_side=4))
    assert shard(photos, "kept", kind="images", limits=Limits(short_side=0)).samples == 6


def test_a_folder_of_images_and_captions_is_pairs(
    tmp_path: Path, photos_tar: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Flickr8k comes: a tar, the captions twice, split lists."""
    folder = tmp_path / "Flickr8k"
    folder.mkdir()
    photos_tar.rename(folder / "Images.tar")
    caption_file(folder, "csv").rename(folder / "captions.txt")
    caption_file(folder, "token.txt").rename(folder / "Flickr8k.token.txt")
    (folder / "Flickr_8k.devImages.txt").write_text("p1.jpg\np4.jpg\n")
    (folder / "readme.txt").write_text("Photos with captions.\n")
    manifest = shard(folder, "dev", split_list=folder / "Flickr_8k.devImages.txt")
    assert manifest.statuses == {"filtered": 4, "ok": 2} and manifest.texts == 4
    assert manifest.source["source"] == "Images.tar" and manifest.source["captions"] == "captions.txt"
    assert "Images.tar, captions of" in capsys.readouterr().out.replace("\n", " ")
    assert shard(folder, "again", kind="pairs").samples == 6
    assert shard(folder, "given", folder / "captions.txt").samples == 6
    assert shard(folder, "photos", kind="images").texts == 0
    (folder / "Flickr8k.token.txt").write_text("p0.jpg#0\tsomething else\n")
    with pytest.raises(VltkError, match=r"say different things(.|\n)*Images.tar two --captions \S*captions.txt"):
        shard(folder, "two")
    (folder / "Images").mkdir()
    (folder / "Images" / "p0.jpg").write_bytes(picture(0))
    with pytest.raises(VltkError, match=r"in several places(.|\n)*data shard \S*Images.tar twice"):
        shard(folder, "twice")


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("captions.txt", "image,caption\np0.jpg,a wall\n", r"captions of images(.|\n)*--images FOLDER_OR_TAR"),
        ("some.txt", "image,caption\np0.jpg,a wall\n", r"captions of images(.|\n)*--kind texts"),
        ("a.token.txt", "p0.jpg#0\ta wall\n", r"captions of images(.|\n)*--images FOLDER_OR_TAR"),
        ("b.txt", "p0.jpg,a wall\n", "captions of images"),
        ("train.txt", "p0.jpg\np1.jpg\n", r"names of images(.|\n)*--kind texts"),
    ],
)
def test_captions_and_lists_are_not_running_text(
    tmp_path: Path, root: Path, name: str, body: str, message: str
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / name).write_text(body)
    (folder / "book.txt").write_text("It was a long day. Nothing else happened, as far as p0.jpg goes.\n")
    for source in (folder, folder / name):
        with pytest.raises(VltkError, match=message):
            shard(source, "wrong")
    assert not root.exists()
    assert shard(folder, "meant", kind="texts").samples
    (folder / name).unlink()
    assert shard(folder, "right").samples


def test_an_image_of_another_folder_is_never_taken(tmp_path: Path, photos: Path) -> None:
    """`train/p1.jpg` is not `val/p1.jpg`, though no other image has that name."""
    folder = tmp_path / "all"
    (folder / "val").mkdir(parents=True)
    for name in NAMES:
        (photos / name).rename(folder / "val" / name)
    captions = tmp_path / "captions.csv"
    named = ["p0.jpg", "val/p1.jpg", "./val/p2.jpg", "all/val/p3.jpg", "val/p4", "train/p5.jpg", ""]
    captions.write_text("image,caption\n" + "".join(f"{name},words of it\n" for name in named))
    assert shard(folder, "some", captions).statuses == {"missing_file": 2, "ok": 5}


def test_cards() -> None:
    needed = "coco sbu localized_narratives cc3m cc12m visual_genome wit redcaps yfcc100m ccnews books imagenet shapes"
    assert set(needed.split()) | {"flickr8k"} <= set(card_names())
    for name in card_names():
        card = load_card(name)
        assert card.name == name and (card.kind == "shapes") == (not card.bring)
        assert all(step.command.startswith("vltk data shard ") for step in card.bring)


def test_fetch_and_missing(root: Path) -> None:
    with pytest.raises(Missing, match=r"1\. Flickr8k, train split(.|\n)*vltk data shard Images.tar") as caught:
        fetch("flickr8k")
    assert caught.value.exit_code == 3
    with pytest.raises(VltkError, match="no card 'cc4m'.*cc3m"):
        fetch("cc4m")
    write_dataset(root / "coco", [Record("a", None, ["t"])], source={})
    steps = missing(["coco", "shapes/train", "shapes/dev", "mine"])
    assert [command for _, command in steps] == ["vltk data fetch shapes"] * 2 + ["vltk data shard SOURCE mine"]
    listed = {row.name: row.on_disk for row in ls()}
    assert listed["coco"] and not listed["cc3m"] and list(listed).count("coco") == 1


def test_vocabulary_is_deterministic(tmp_path: Path, root: Path) -> None:
    texts = [f"{caption(index, 20)} Playing, played." for index in range(40)]
    write_dataset(root / "t", [Record(f"k{i}", None, [text]) for i, text in enumerate(texts)], source={})
    for name in ("a", "b"):
        train_vocabulary(["t"], 80, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    tokenizer = Tokenizer(tmp_path / "a")
    assert tokenizer.tokens[:5] == list(SPECIAL) and tokenizer.size <= 80
    ids, _ = tokenizer.encode(texts[0])
    assert tokenizer.unk not in ids and tokenizer.decode(ids) == texts[0].lower().replace(", played.", ", played.")
    with pytest.raises(VltkError, match="too small"):
        train_vocabulary(["t"], 10, tmp_path / "c")
    with pytest.raises(Missing, match="vltk data fetch shapes"):
        train_vocabulary(["shapes/text"], 80, tmp_path / "c")
    assert not (tmp_path / "c").exists()
