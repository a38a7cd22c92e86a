"""How a process is set up: compiled programs kept between runs, programs that start where they are called, large pages."""

import ctypes
import os
import sys
from typing import Any

import jax

from jaxembed.data.cache import cache_folder, can_be_written

_LARGE = 2 << 20
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25


def start(deterministic: bool = False) -> None:
    """Sets JAX up for a script, which calls it before anything else.

    Compiled programs are kept between runs, in the cache folder if it can be written (JAX_COMPILATION_CACHE_DIR names
    another). On a CPU a program runs on the thread that calls it, so that lanes on threads of their own do not share one queue.
    `deterministic` makes XLA take operations on a GPU that give the same bits each time; on a CPU they always do.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    programs = cache_folder() / "programs"
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None and can_be_written(programs):
        jax.config.update("jax_compilation_cache_dir", str(programs))
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def use_large_pages(arrays: Any) -> None:
    """Lets Linux back the arrays of a pytree with 2 MiB pages; a hint, which changes no value and never fails.

    JAX reuses a donated buffer for the state of the next step, so once is enough for a run. NumPy does the same for its
    own arrays. Elsewhere than on a Linux CPU it does nothing.
    """
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for array in jax.tree.leaves(arrays):
        for shard in getattr(array, "addressable_shards", ()):
            if shard.device.platform != "cpu" or shard.data.nbytes < 2 * _LARGE:
                continue
            start = shard.data.unsafe_buffer_pointer()
            first, last = -(-start // _LARGE) * _LARGE, (start + shard.data.nbytes) // _LARGE * _LARGE
            for advice in (_MADV_HUGEPAGE, _MADV_COLLAPSE):
                advise(first, last - first, advice)
