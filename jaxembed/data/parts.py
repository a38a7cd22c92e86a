"""Which examples are trained on, and which are set apart to choose settings on."""

import math
import sys

import numpy as np


def set_apart(n: int, share: float, most: int = sys.maxsize) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the examples to train on, and of those to choose settings on.

    The latter are a `share` of `n`, and at most `most`. They are spread evenly, so that data sorted by class lose some
    examples of each class, and they are the same in every run.
    """
    count = min(int(n * share), most)
    dev = np.arange(count) * n // max(count, 1)
    return np.delete(np.arange(n), dev), dev


def with_dev(wanted: int, share: float, most: int = sys.maxsize) -> int:
    """Returns how many examples to read so that `wanted` are left after a `share` is set apart; 0 stands for all."""
    return wanted and wanted + min(math.ceil(wanted * share / (1 - share)), most)
