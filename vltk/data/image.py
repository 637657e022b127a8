"""Images: decode, check, crop, resize, jitter.

Pixels are `(H, W, 3)` uint8 RGB until `to_planes` makes them `(3, H, W)`.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

cv2.setNumThreads(1)  # threads are the loader's
warnings.filterwarnings("ignore", module=r"PIL\.")  # of odd EXIF data, and of sizes: pixels are counted here
MAX_PIXELS = 64_000_000  # of a stored image; looked up in the header, before decoding
MAX_SCANS = 500  # of a progressive JPEG: each costs a pass over all pixels
STRIP = 256  # rows
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF", "TIFF", "PPM")  # not EPS and the like, which run programs
ENDINGS = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".avif", ".tif", ".tiff", ".ppm", ".pgm")
DECODE_ERRORS = (ValueError, OSError, SyntaxError, struct.error, cv2.error, Image.DecompressionBombError)
CUBIC, LINEAR = 1.25, 2.2  # up to these factors of shrinking (at 2, linear is the mean of 2 x 2 pixels); area beyond


class BadSample(Exception):
    """A stored sample that cannot be used; its text is the reason that is counted and listed."""


class BadImage(BadSample):
    """Bytes that are no image we can decode."""


class CropLike(Protocol):
    """How a random crop is drawn."""

    @property
    def crop(self) -> tuple[float, float]: ...
    @property
    def ratio(self) -> tuple[float, float]: ...
    @property
    def flip(self) -> bool: ...


class ImageLike(CropLike, Protocol):
    """The recipe's `image` options."""

    @property
    def size(self) -> int: ...
    @property
    def color(self) -> float: ...
    @property
    def randaugment(self) -> tuple[int, float] | None: ...
    @property
    def crops(self) -> int | None: ...


class Box(NamedTuple):
    """A rectangle in pixels of the stored image, and whether it is mirrored."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False


def decode(data: bytes, max_pixels: int = MAX_PIXELS, at_least: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Encoded bytes to pixels `(H, W, 3)`. Raises BadImage with the reason.

    With `at_least` (height, width) a JPEG of twice that or more comes out smaller, which is faster and needs less
    memory, but never smaller than that.
    """
    try:
        if data.startswith(b"\xff\xd8"):
            return _decode_jpeg(data, max_pixels, at_least)
        with open_image(data) as image:
            check_pixels(image.height, image.width, max_pixels)
            return to_rgb(image)
    except DECODE_ERRORS as error:
        raise undecodable(data, error) from None


def open_image(data: bytes) -> Image.Image:
    """The header, read by Pillow; pixels are decoded when they are asked for. Raises what Pillow raises."""
    return Image.open(io.BytesIO(data), formats=FORMATS)


def undecodable(data: bytes, error: Exception) -> BadImage:
    reason = "its header cannot be read" if isinstance(error, UnidentifiedImageError) else str(error).split("\n")[0]
    return BadImage(f"undecodable image ({len(data)} bytes): {reason or type(error).__name__}")


def _decode_jpeg(data: bytes, max_pixels: int, at_least: tuple[int, int]) -> np.ndarray:
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    check_pixels(height, width, max_pixels)
    if not _one_scan(data) and data.count(b"\xff\xda") > MAX_SCANS:
        raise BadImage(f"more than {MAX_SCANS} scans")
    if colours in ("CMYK", "YCCK"):
        with open_image(data) as image:
            return to_rgb(image)
    high, wide = at_least
    pixels: np.ndarray = simplejpeg.decode_jpeg(
        data, colorspace="RGB", min_height=high, min_width=wide, min_factor=2 if high else 1
    )
    return pixels


def _one_scan(data: bytes) -> bool:
    """Whether the first scan of a JPEG holds all of it, as in most: counting scans costs a look at every byte."""
    at, frame = 2, 0
    while at + 5 <= len(data):
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in (0xC0, 0xC1) and at + 9 < len(data):  # a sequential frame, and how many components it has
            frame = data[at + 9]
        elif marker == 0xDA:  # the first scan, and how many of them it holds
            return frame == data[at + 4]
        at += 2 + size
    return False


def to_rgb(image: Image.Image) -> np.ndarray:
    """The first frame of an opened image as `(H, W, 3)`, transparent parts over white, 16 bits to 8."""
    image.load()
    shift = 8 if image.mode.startswith("I") and image.getextrema()[1] > 255 else 0  # type: ignore[operator]
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, STRIP):  # in strips: a copy of it all in each mode takes memory
        strip = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        pixels[top : top + STRIP] = np.asarray(_strip(strip, shift))
    return pixels


def _strip(image: Image.Image, shift: int) -> Image.Image:
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> shift).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        clear = image.convert("RGBA")
        image = Image.new("RGB", clear.size, "white")
        image.paste(clear, mask=clear.getchannel("A"))
    return image.convert("RGB")


def check_pixels(height: int, width: int, max_pixels: int = MAX_PIXELS) -> None:
    if height * width > max_pixels:
        raise BadImage(f"{width} x {height} pixels, more than {max_pixels / 10**6:g} million")


def is_whole(height: int, width: int, options: CropLike) -> bool:
    """Whether `crop_box` gives all of such an image, not mirrored, whatever is drawn."""
    return height == width and not options.flip and options.crop == options.ratio == (1.0, 1.0)


def crop_box(height: int, width: int, options: CropLike, rng: np.random.Generator) -> Box:
    """A random resized crop: area and log aspect ratio uniform, ten tries, then the largest box in the middle."""
    flip = options.flip and rng.random() < 0.5
    low, high = math.log(options.ratio[0]), math.log(options.ratio[1])
    area = height * width
    for scale, shape, down, right in rng.random((10, 4)).tolist():
        target = area * (options.crop[0] + scale * (options.crop[1] - options.crop[0]))
        ratio = math.exp(low + shape * (high - low))
        w, h = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(down * (height - h + 1)), int(right * (width - w + 1)), h, w, flip)
    ratio = min(max(width / height, options.ratio[0]), options.ratio[1])
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    return Box((height - h) // 2, (width - w) // 2, max(h, 1), max(w, 1), flip)


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels to `(height, width, 3)`; the aspect ratio is not kept."""
    shrink = max(pixels.shape[0] / height, pixels.shape[1] / width)
    how = cv2.INTER_CUBIC if shrink <= CUBIC else cv2.INTER_LINEAR if shrink <= LINEAR else cv2.INTER_AREA
    resized: np.ndarray = cv2.resize(pixels, (width, height), interpolation=how)
    return resized


def take(pixels: np.ndarray, box: Box, size: int) -> np.ndarray:
    """The box of the pixels, resized to `(size, size, 3)` and mirrored if the box says so."""
    part = pixels[box.top : box.top + box.height, box.left : box.left + box.width]
    resized = resize(part, size, size)
    return cv2.flip(resized, 1) if box.flip else resized


def take_lanczos(pixels: np.ndarray, box: Box, size: int) -> np.ndarray:
    """As `take`, by an antialiased Lanczos filter: what the visual tokenizer sees (flava.md section 4.3).

    A box of three times the size or more is first averaged to twice the size, which is faster and looks the same.
    """
    part = pixels[box.top : box.top + box.height, box.left : box.left + box.width]
    if min(box.height, box.width) >= 3 * size:  # as Pillow's reducing_gap=2, but faster
        part = cv2.resize(part, (2 * size, 2 * size), interpolation=cv2.INTER_AREA)
    resized = np.asarray(Image.fromarray(part).resize((size, size), Image.Resampling.LANCZOS))
    return cv2.flip(resized, 1) if box.flip else resized


def jitter(pixels: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation, each scaled by uniform(1 - strength, 1 + strength), as one colour matrix."""
    brightness, contrast, saturation = (1 + strength * (2 * rng.random(3) - 1)).tolist()
    grey = np.array([0.299, 0.587, 0.114])
    mean = brightness * float(grey @ cv2.mean(pixels)[:3])
    matrix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * grey)  # (3, 3)
    shift = np.full((3, 1), mean * (1 - contrast))
    mixed: np.ndarray = cv2.transform(pixels, np.hstack([matrix, shift]).astype(np.float32))
    return mixed


def to_planes(pixels: np.ndarray) -> np.ndarray:
    """`(H, W, 3)` -> `(3, H, W)`, in one piece of memory."""
    planes = np.empty((3, *pixels.shape[:2]), np.uint8)
    cv2.split(pixels, [planes[0], planes[1], planes[2]])
    return planes


def evaluation_image(data: bytes | np.ndarray, size: int, crop: bool = False) -> np.ndarray:
    """Encoded bytes, or pixels, to `(3, size, size)` uint8. Raises BadImage.

    The whole image squashed, as FLAVA's processors do; with `crop` the square in its middle, as CLIP's.
    """
    pixels = decode(data) if isinstance(data, bytes) else data
    return to_planes(resize(middle(pixels) if crop else pixels, size, size))


def middle(pixels: np.ndarray) -> np.ndarray:
    """The largest square in the middle."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]
