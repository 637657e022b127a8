"""Images on their way into a shard: every odd file is upright, small and stored, or refused with one status."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.unit.data.samples import picture
from vltk.data.hashes import dhash, distance, sha256
from vltk.data.image import decode
from vltk.data.prepare import Limits, NotAdmitted, admit
from vltk.errors import VltkError


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A whole grey PNG of that size, a few hundred kilobytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    line = b"\0" * (width + 1)
    body = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def header_only(kind: str, width: int, height: int) -> bytes:
    """The first bytes of a file that announces this size and has no pixels."""
    if kind == "PNG":
        body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n"
            + struct.pack(">I", 13)
            + body
            + struct.pack(">I", zlib.crc32(body))
            + b"\0\0\0\x64IDAT"
        )
    if kind == "GIF":
        return b"GIF89a" + struct.pack("<HH", width, height) + b"\0\0\0" + b"," + b"\0" * 20
    if kind == "BMP":
        sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + sizes
    return bytes.fromhex("ffd8ffc0001108") + struct.pack(">HH", height, width) + bytes.fromhex("03012200021101031101")


def refused(data: bytes, **limits: object) -> tuple[str, str]:
    with pytest.raises(NotAdmitted) as caught:
        admit(data, Limits(**limits))  # type: ignore[arg-type]
    assert caught.value.row["bytes"] == len(data) and caught.value.row["sha256"] == sha256(data)
    return str(caught.value.status), caught.value.detail


def test_good_bytes_are_kept() -> None:
    made = admit(picture(0), Limits())
    assert made.image == picture(0) and (made.width, made.height) == (48, 40)
    assert made.sha256 == sha256(picture(0)) and made.bytes == len(picture(0))
    assert made.dhash == dhash(decode(picture(0))) and set(made.row) == {
        "width", "height", "original_width", "original_height", "sha256", "dhash", "bytes",
    }  # fmt: skip
    clear = encoded(Image.fromarray(decode(picture(0))), "PNG")
    assert admit(clear, Limits()).image == clear


@pytest.mark.parametrize(
    ("size", "expected"),
    [((90, 120), (30, 40)), ((400, 300), (40, 30)), ((31, 30), (31, 30)), ((3000, 400), (225, 30))],
)
def test_images_are_shrunk_and_never_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    made = admit(picture(0, size[1], size[0]), Limits(short_side=30))
    assert (made.width, made.height) == expected and (made.original_width, made.original_height) == size
    assert decode(made.image).shape == (expected[1], expected[0], 3)


def test_a_scaled_decode_looks_like_a_full_one() -> None:
    smooth = np.asarray(Image.fromarray(decode(picture(3, 30, 40))).resize((1600, 1200), Image.Resampling.BICUBIC))
    data = encoded(Image.fromarray(smooth), "JPEG", quality=92)
    made = admit(data, Limits(short_side=150, quality=95))
    reference = np.asarray(Image.fromarray(decode(data)).resize((200, 150), Image.Resampling.LANCZOS))
    assert np.abs(decode(made.image).astype(int) - reference).mean() < 2


def test_colours_of_every_kind() -> None:
    cmyk = decode(admit(encoded(Image.new("CMYK", (20, 10)), "JPEG"), Limits()).image)
    assert cmyk.shape == (10, 20, 3) and cmyk.min() > 240
    for mode, kind in (("RGBA", "PNG"), ("RGBA", "WEBP"), ("LA", "PNG"), ("RGBA", "AVIF")):
        clear = decode(admit(encoded(Image.new(mode, (20, 10), 0), kind), Limits()).image)
        assert clear.shape == (10, 20, 3) and clear.min() > 240, (mode, kind)
    masked = Image.new("P", (20, 600), 3)  # more rows than a strip
    masked.putpalette([0, 0, 0] * 256)
    for kind in ("GIF", "PNG"):
        clear = decode(admit(encoded(masked, kind, transparency=3), Limits(max_aspect=30)).image)
        assert clear.shape == (600, 20, 3) and clear.min() > 240, kind
    ramp = np.linspace(0, 65535, 400).astype(np.uint16).reshape(20, 20)
    for kind in ("PNG", "TIFF"):
        deep = decode(admit(encoded(Image.fromarray(ramp), kind), Limits()).image)
        assert np.abs(deep[..., 0].astype(int) - (ramp >> 8)).mean() < 3, kind
    palette = Image.fromarray(decode(picture(1))).quantize(16)
    for kind in ("PNG", "GIF"):
        found = decode(admit(encoded(palette, kind), Limits(quality=95)).image)
        assert np.abs(found.astype(int) - np.asarray(palette.convert("RGB"))).mean() < 12, kind
    grey = admit(encoded(Image.new("L", (20, 10), 100), "JPEG"), Limits())
    assert abs(int(decode(grey.image).mean()) - 100) <= 1


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        pixels = decode(admit(data, Limits()).image)
        assert pixels[..., 0].min() > 240 and pixels[..., 2].max() < 20, kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(kind: str, orientation: int) -> None:
    pixels = np.zeros((40, 24, 3), np.uint8)
    pixels[:16, :8] = 255  # a corner tells every orientation apart
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = encoded(Image.fromarray(pixels), kind, exif=exif, quality=95)
    with Image.open(io.BytesIO(stored)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    made = admit(stored, Limits(quality=95))
    found = decode(made.image)
    assert found.shape == expected.shape and np.abs(found.astype(int) - expected).mean() < 3
    assert (made.width, made.height) == (expected.shape[1], expected.shape[0])
    assert (made.original_width, made.original_height) == (made.width, made.height)


def test_a_broken_exif_costs_nothing() -> None:
    junk = b"\xff\xe1" + struct.pack(">H", 40) + b"Exif\0\0" + b"MM\0*\xff\xff\xff\xff" + b"\xff" * 24
    data = picture(0)[:2] + junk + picture(0)[2:]
    assert admit(data, Limits()).image == data


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", "not_an_image"),
        (b"<!DOCTYPE html><html><body>Please log in</body></html>", "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_an_image"),
        (b"BMW is a maker of cars, and these are words", "not_an_image"),
        (b"\0" * 100_000, "not_an_image"),
        (b"\xff\xd8\xff\xe0", "undecodable"),
        (b"\x89PNG\r\n\x1a\n", "undecodable"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "undecodable"),
        (b"GIF89a", "undecodable"),
    ],
)
def test_what_is_no_image(data: bytes, status: str) -> None:
    found, detail = refused(data)
    assert found == status and "0x" not in detail.replace("\\x", "") and "\n" not in detail


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_images(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 90, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert refused(data[: int(len(data) * share)])[0] == "undecodable"


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    assert refused(picture(0)[:-2] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" * 600)[0] == "undecodable"


def test_large_images_on_many_threads() -> None:
    data = encoded(Image.new("L", (4001, 4001), 70), "PNG")
    with ThreadPoolExecutor(3) as pool:
        for made in pool.map(lambda _: admit(data, Limits(short_side=20)), range(3)):
            assert (made.width, made.height) == (20, 20) and abs(int(decode(made.image).mean()) - 70) <= 1


def test_limits() -> None:
    assert refused(encoded(Image.new("RGB", (1, 1)), "PNG"))[0] == "too_small"
    assert refused(encoded(Image.new("RGB", (1, 1)), "GIF"))[0] == "too_small"
    assert refused(picture(0, 40, 60), min_side=41) == ("too_small", "60 x 40 pixels, the smallest side allowed is 41")
    assert refused(encoded(Image.new("RGB", (2000, 10)), "PNG"))[0] == "too_long_side"
    assert refused(picture(0, 40, 90), max_aspect=2) == ("too_long_side", "90 x 40 pixels, more than 2 to 1")
    assert refused(picture(0), max_bytes=100)[0] == "too_large"
    assert admit(picture(0, 40, 80), Limits(max_aspect=2, min_side=40, max_pixels=3200)).width == 80


@pytest.mark.parametrize("size", [(8000, 7000), (20000, 20000), (36000, 36000)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_pixels_are_counted_in_the_header(kind: str, size: tuple[int, int]) -> None:
    assert refused(header_only(kind, *size))[0] == "too_many_pixels"


def test_other_headers() -> None:
    for kind in ("WEBP", "AVIF", "TIFF"):
        assert refused(encoded(Image.new("RGB", (300, 200)), kind), max_pixels=59_999)[0] == "too_many_pixels"


def test_a_decompression_bomb_needs_no_memory() -> None:
    """400 million pixels in 400 KB are refused from the header; decoded they take over a gigabyte."""
    script = (
        "import resource, sys\n"
        "from vltk.data.prepare import Limits, NotAdmitted, admit\n"
        "data = sys.stdin.buffer.read()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    admit(data, Limits())\n"
        "except NotAdmitted as reason:\n    print(reason.status.value)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], input=bomb(20000, 20000), stdout=subprocess.PIPE, check=True)
    status, kilobytes = done.stdout.split()
    assert status == b"too_many_pixels" and int(kilobytes) < 20_000


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_bytes", 0),
        ("max_pixels", 0),
        ("max_pixels", 10**9),
        ("min_side", 0),
        ("max_aspect", 0.5),
        ("short_side", 4),
        ("short_side", -1),
        ("quality", 0),
        ("quality", 101),
    ],
)
def test_wrong_limits(option: str, value: float) -> None:
    with pytest.raises(VltkError, match=f"--{option.replace('_', '-')} {value}: "):
        Limits(**{option: value})  # type: ignore[arg-type]


def test_difference_hashes() -> None:
    pixels = decode(picture(5, 300, 360))
    small = decode(admit(picture(5, 300, 360), Limits(short_side=64)).image)
    assert distance(dhash(pixels), dhash(small)) <= 4
    assert distance(dhash(pixels), dhash(decode(picture(6, 300, 360)))) > 12
    assert dhash(np.tile(np.arange(0, 250, dtype=np.uint8)[None, :, None], (90, 1, 3))) == -1
    assert dhash(np.zeros((9, 9, 3), np.uint8)) == 0 and distance(-1, 0) == 64
    assert -(2**63) <= dhash(pixels) < 2**63
