"""Bytes that the loopback web serves: good pictures, odd ones, damaged ones, bombs, and what is no picture."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image


def pixels(number: int, width: int = 96, height: int = 72) -> np.ndarray:
    """(H, W, 3) uint8: a smooth picture with some noise, another for each number."""
    noise = np.random.default_rng(number).integers(0, 40, (height, width, 3))
    ramp = np.linspace(0, 180, width)[None, :, None] * np.array([1, 0.5 + (number % 7) / 14, (number % 5) / 5])
    return (ramp + noise).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def good(number: int) -> bytes:
    """The bytes of good picture `number`."""
    return encoded(Image.fromarray(pixels(number)), quality=90)


def png_bomb(width: int, height: int) -> bytes:
    """A small, valid PNG file of that many black pixels; `height` in hundreds."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    # a hundred lines of zeros, flushed so that the same bytes may follow again and again; then an empty last block
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes((width + 1) * 100)) + packer.flush(zlib.Z_FULL_FLUSH)
    adler = ((width + 1) * height % 65521) << 16 | 1
    body = b"\x78\xda" + block * (height // 100) + b"\x03\x00" + struct.pack(">I", adler)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def exif6() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(pixels(6)), exif=exif.tobytes())


HTML = b"<!doctype html><html><body>The picture has moved.</body></html>"
SEEDS = {"pic ture": 20, "bäume/größe": 21, "noai": 22, "noml": 23, "robots-vltk": 24, "robots-other": 25, "tdm": 26}
BODIES: dict[str, Callable[[], bytes]] = {
    "html": lambda: HTML,
    "text": lambda: b"no picture here",
    "empty": lambda: b"",
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"/>',
    "truncated-50": lambda: good(1)[: len(good(1)) // 2],
    "truncated-95": lambda: good(2)[: len(good(2)) * 95 // 100],
    "truncated-99": lambda: good(3)[: len(good(3)) * 99 // 100],
    "bomb-400": lambda: png_bomb(20_000, 20_000),
    "bomb-1296": lambda: png_bomb(36_000, 36_000),
    "alpha": lambda: encoded(Image.fromarray(np.dstack([pixels(10), pixels(11)[..., 0]])), "PNG"),
    "png16": lambda: encoded(Image.fromarray(pixels(12)[..., 0].astype(np.uint16) * 257), "PNG"),
    "palette": lambda: encoded(Image.fromarray(pixels(13)).quantize(32), "PNG"),
    "gif": lambda: encoded(Image.fromarray(pixels(14)).quantize(32), "GIF"),
    "webp": lambda: encoded(Image.fromarray(pixels(15)), "WEBP"),
    "bmp": lambda: encoded(Image.fromarray(pixels(16)), "BMP"),
    "cmyk": lambda: encoded(Image.fromarray(pixels(17)).convert("CMYK")),
    "gray": lambda: encoded(Image.fromarray(pixels(18)[..., 0])),
    "exif6": exif6,
    "pixel": lambda: encoded(Image.new("RGB", (1, 1)), "PNG"),
    "banner": lambda: encoded(Image.fromarray(pixels(19, 2000, 10))),
    "zeros": lambda: gzip.compress(bytes(64 * 2**20), 9),
    **{name: partial(good, seed) for name, seed in SEEDS.items()},
}


def body_of(name: str | int) -> bytes:
    """The bytes of good picture number `name`, or of a named case."""
    return good(name) if isinstance(name, int) else BODIES[name]()
