"""Checks of the arrays that evaluations of dense vectors take: each raises one clear error before anything is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def rows_of(name: str, vectors: ArrayLike, dimensions: int | None = None) -> jax.Array:
    """`vectors` in float32 [n, d]; a ValueError for another shape, for no rows, and for NaN or infinite entries."""
    shape = np.shape(vectors)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{name} must be vectors [n, d] with n and d of at least 1, found the shape {shape}")
    if dimensions is not None and shape[1] != dimensions:
        raise ValueError(f"{name} have {shape[1]} dimensions where {dimensions} are needed: encode both sides alike")
    rows = jnp.asarray(vectors, jnp.float32)
    if bad := np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist():
        raise ValueError(
            f"{name}: {len(bad)} of {shape[0]} rows hold NaN or infinity (first: row {bad[0]}); "
            "the encoder has diverged, or its input was not finite"
        )
    return rows


def labels_of(name: str, labels: ArrayLike, count: int, classes: int | None = None) -> np.ndarray:
    """`labels` in int32 [count]; a ValueError for another length or type, and for a label outside 0 .. classes - 1."""
    values = np.asarray(labels)
    if values.shape != (count,):
        raise ValueError(f"{name} must be one label for each of {count} vectors, found the shape {values.shape}")
    if not np.issubdtype(values.dtype, np.integer):
        raise ValueError(f"{name} must be integers that number the classes from 0, found {values.dtype}")
    if values.min() < 0 or (classes is not None and values.max() >= classes):
        limit = "" if classes is None else f" and go up to {classes - 1}, the greatest of the training labels"
        raise ValueError(f"{name} must number the classes from 0{limit}; found {values.min()} to {values.max()}")
    return values.astype(np.int32)
