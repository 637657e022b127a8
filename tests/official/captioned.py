"""Flickr30k and COCO as Karpathy's JSON and in their older files: two photos of train, one of val, two of test."""

from __future__ import annotations

import json
from pathlib import Path

from tests.official.photo import write_photo
from tests.official.vqav2 import write

SPLITS = {1000: "train", 1001: "restval", 1002: "val", 1003: "test", 1004: "test"}
FLICKR = {number: "train" if split == "restval" else split for number, split in SPLITS.items()}


def captions(number: int, count: int = 5) -> list[str]:
    return [f"caption {at} of {number} , as it stands ." for at in range(count)]


def make_flickr30k(root: Path, form: str = "json") -> None:
    """`form`: json (Karpathy's), csv (a photo a row), pairs (a caption a row, of a split), token (and lists)."""
    for number in FLICKR:
        write_photo(root / "flickr30k-images" / f"{number}.jpg", number)
    if form == "json":
        photos = [_karpathy(f"{number}.jpg", split, captions(number)) for number, split in FLICKR.items()]
        write(root / "dataset_flickr30k.json", {"images": photos, "dataset": "flickr30k"})
    if form == "csv":
        rows = [f'"{_quoted(captions(number))}",{split},{number}.jpg' for number, split in FLICKR.items()]
        (root / "flickr_annotations_30k.csv").write_text("\n".join(["raw,split,filename", *rows]), encoding="utf-8")
    if form == "pairs":
        test = [number for number, split in FLICKR.items() if split == "test"]
        rows = [f'{number}.jpg,"{caption}"' for number in test for caption in captions(number)]
        (root / "flickr30k_test_karpathy.txt").write_text("\n".join(["image,caption", *rows]), encoding="utf-8")
    if form == "token":
        lines = [f"{number}.jpg#{at}\t{text}" for number in FLICKR for at, text in enumerate(captions(number))]
        (root / "results_20130124.token").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for split in ("train", "val", "test"):
            names = [f"{number}.jpg" for number, own in FLICKR.items() if own == split]
            (root / f"{split}.txt").write_text("\n".join(names), encoding="utf-8")


def make_coco(root: Path, form: str = "json") -> None:
    """`form`: json (Karpathy's), official (captions_val2014.json and a list). One photo has six captions."""
    names = {number: f"COCO_{_part(split)}_{number:012d}.jpg" for number, split in SPLITS.items()}
    said = {number: captions(number, 6 if number == 1004 else 5) for number in SPLITS}
    for number, split in SPLITS.items():
        write_photo(root / _part(split) / names[number], number)
    if form == "json":
        photos = [
            {**_karpathy(names[number], split, said[number]), "filepath": _part(split), "cocoid": number}
            for number, split in SPLITS.items()
        ]
        write(root / "dataset_coco.json", {"images": photos, "dataset": "coco"})
    if form == "official":
        val = [number for number, split in SPLITS.items() if split != "train"]
        images = [{"id": number, "file_name": names[number], "height": 32} for number in val]
        texts = [
            {"image_id": number, "id": at, "caption": text} for number in val for at, text in enumerate(said[number])
        ]
        write(root / "annotations" / "captions_val2014.json", {"images": images, "annotations": texts})
        test = [f"{names[number]}\n" for number, split in SPLITS.items() if split == "test"]
        (root / "coco_test.txt").write_text("".join(test), encoding="utf-8")


def _part(split: str) -> str:
    return "train2014" if split == "train" else "val2014"


def _karpathy(name: str, split: str, texts: list[str]) -> dict[str, object]:
    return {"filename": name, "split": split, "sentences": [{"raw": text, "tokens": text.split()} for text in texts]}


def _quoted(texts: list[str]) -> str:
    return json.dumps(texts).replace('"', '""')
