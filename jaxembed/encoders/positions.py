"""Where a token stands: fixed sine-cosine codes, rotary angles, and learned grids brought to another size.

The fixed codes are NumPy constants of the shape alone, computed in float64, so a compiled program holds them as they are.
"""

import jax
import jax.numpy as jnp
import numpy as np


def sinusoidal(length: int, size: int, base: float = 1e4) -> np.ndarray:
    """Codes of positions on a line, `[length, size]`: sines at even places, cosines at odd ones.

    Vaswani et al. 2017, section 3.5. Raises ValueError where `size` is odd.
    """
    if size % 2:
        raise ValueError(f"sinusoidal positions need an even hidden_size, not {size}")
    angles = _angles(np.arange(length), size // 2, base)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, size).astype(np.float32)


def sincos_2d(rows: int, columns: int, size: int, base: float = 1e4) -> np.ndarray:
    """Codes of the places of a grid, `[rows * columns, size]`, row by row: the column in the first half, the row in the second.

    A half is all its sines, then all its cosines (MAE, He et al. 2022; MoCo v3, Chen et al. 2021). Raises ValueError
    where `size` is no multiple of 4.
    """
    if size % 4:
        raise ValueError(f"positions='sincos2d' needs a hidden_size that is a multiple of 4, not {size}")
    row, column = _grid(rows, columns)
    angles = [_angles(place, size // 4, base) for place in (column, row)]
    halves = [np.concatenate([np.sin(angle), np.cos(angle)], axis=1) for angle in angles]
    return np.concatenate(halves, axis=1).astype(np.float32)


def rotary(length: int, head_size: int, base: float = 1e4) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines for `rotate` of positions on a line, each `[length, head_size / 2]` (Su et al. 2021, eq. 15).

    Raises ValueError where `head_size` is odd.
    """
    if head_size % 2:
        raise ValueError(f"positions='rotary' needs hidden_size / heads to be even, not {head_size}")
    angles = _angles(np.arange(length), head_size // 2, base)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def axial_rotary(rows: int, columns: int, head_size: int, base: float = 100.0) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines for `rotate`, each `[rows * columns, head_size / 2]`: half the angles by row, half by column.

    RoPE-Axial (Heo et al. 2024, section 3.1). Raises ValueError where `head_size` is no multiple of 4.
    """
    if head_size % 4:
        raise ValueError(f"positions='rotary' needs hidden_size / heads to be a multiple of 4, not {head_size}")
    angles = np.concatenate([_angles(place, head_size // 4, base) for place in _grid(rows, columns)], axis=1)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotate(x: jax.Array, cosine: jax.Array | np.ndarray, sine: jax.Array | np.ndarray) -> jax.Array:
    """Turns `x [N, L, d]` by the angles of its places, `cosine` and `sine` `[L, d / 2]`; place i is paired with i + d / 2.

    Products of two turned vectors depend on the difference of their places alone (Su et al. 2021, eq. 16).
    """
    cosine, sine = jnp.asarray(cosine, x.dtype)[None], jnp.asarray(sine, x.dtype)[None]
    left, right = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([left * cosine - right * sine, right * cosine + left * sine], axis=-1)


def resized_grid(grid: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """A learned grid `[rows, columns, d]` at another size, bilinear, smoothed where it shrinks; unchanged at its own size."""
    if grid.shape[:2] == shape:
        return grid
    return jax.image.resize(grid, (*shape, grid.shape[-1]), "bilinear")


def _angles(places: np.ndarray, count: int, base: float) -> np.ndarray:
    return np.outer(places, base ** -(np.arange(count, dtype=np.float64) / count))


def _grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    places = np.indices((rows, columns)).reshape(2, -1)
    return places[0], places[1]
