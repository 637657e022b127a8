"""Says where crops are larger than the images that they are cut from: they would only be enlarged."""

from __future__ import annotations

import numpy as np

from vltk.data.image import DECODE_ERRORS, open_image
from vltk.data.stream import Stream
from vltk.log import warn

LOOKED_AT = 16  # samples, the stream's first ones


def warn_of_enlarged(stream: Stream) -> None:
    """Warns where most images of a stream have fewer pixels than the crops of one of its views (`side` squared)."""
    sides = {view: maker.side for view, maker in stream.makers.items() if hasattr(maker, "side")}
    if not sides:
        return
    view, side = max(sides.items(), key=lambda item: item[1])
    sizes = _sizes(stream)
    small = [size for size in sizes if size[0] * size[1] < side * side]
    if 2 * len(small) > len(sizes):
        width, height = small[0]
        warn(
            f"stream {stream.name}: {len(small)} of the first {len(sizes)} images are smaller than its {view} of "
            f"{side} x {side} pixels (one is {width} x {height}), which only enlarge them; take smaller crops"
        )


def _sizes(stream: Stream) -> list[tuple[int, int]]:
    """Widths and heights by their headers; bad samples are left to the loader."""
    found = []
    for job in stream.reading.jobs(np.arange(LOOKED_AT)):
        try:
            with open_image(job.dataset.read(job.index).image or b"") as image:
                found.append(image.size)
        except DECODE_ERRORS:
            continue
    return found
