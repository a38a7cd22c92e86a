"""What a CPU wants: large pages for tables whose rows are met at random, and programs that start where they are called."""

import ctypes
import sys
from typing import Any

import jax

_LARGE = 2 << 20
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25


def dispatch_inline() -> None:
    """Runs a program on the thread that calls it, so that lanes on threads of their own do not share one queue.

    A setting of JAX's CPU client, which must be chosen before its first use: scripts call this first thing.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def use_large_pages(arrays: Any) -> None:
    """Asks Linux to back the arrays of a pytree with 2 MiB pages; a hint, which changes no value and never fails.

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
