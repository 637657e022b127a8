"""How near reconstructed images are to their originals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def psnr(images: Pixels, others: Pixels) -> NDArray[np.float64]:
    """(n, 3, S, S) uint8, two of them -> (n,) dB of each image: 10 log10 of 255 squared over its mean square error."""
    error = np.square(images.astype(np.float64) - others).mean((1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(error, 1e-9))
