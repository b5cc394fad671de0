"""Handwritten digits of 8 by 8 pixels: the book's real images, small enough to come with the package.

The file beside this one holds the test set of Optical Recognition of Handwritten Digits by E. Alpaydin and C. Kaynak
(1998), UCI Machine Learning Repository, doi:10.24432/C50P49, licensed under CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/). Its numbers are unchanged; only the file format is ours.
"""

from pathlib import Path

import numpy

__all__ = ["load_digits"]

_FILE = Path(__file__).with_name("digits.npz")  # images (1797, 8, 8) and labels (1797,), both uint8


def load_digits():
    """Return 1,797 images of digits and what they show: images (1797, 8, 8), float64, and labels (1797,), integers.

    A pixel is one of the whole numbers 0 (paper) … 16 (ink): how many of the 4 by 4 cells that it stands for in the
    scanned image hold ink. Each digit is there 174 to 183 times; the writers are 13, and not marked. The order is that
    of the repository, and no model should depend on it. Both arrays are new at each call. Cost: 2 ms.

    Reference: Alpaydin and Kaynak (1998), doi:10.24432/C50P49.

    >>> images, labels = load_digits()
    >>> images.shape, float(images.max()), labels[:5].tolist()
    ((1797, 8, 8), 16.0, [0, 1, 2, 3, 4])
    """
    with numpy.load(_FILE, allow_pickle=False) as file:
        return file["images"].astype(float), file["labels"].astype(int)
