"""How tests run: programs are small and run for a moment, so that most of the time would go into compiling them."""

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator

# Set before JAX is imported, and inherited by workers and by the processes that tests start: what one has compiled, the others
# load. How far programs are optimised is left to XLA_FLAGS: `make test` asks for less, `make test-all` for what users have.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxembed-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")  # a missing axis is an error, not a broadcast


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """After each file, compiled programs are let go of: a worker that keeps thousands grows to gigabytes and slows down."""
    yield
    jax.clear_caches()
    gc.collect()
