"""Several processes that train one run together: how they meet, exchange values, and notice that one is gone."""

import atexit
import ctypes
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np


def initialize(
    coordinator: str | None = None, processes: int | None = None, index: int | None = None, heartbeat: int = 100
) -> None:
    """Joins the processes of a run (`jax.distributed.initialize`), if there are several; call it before anything else.

    Arguments go first, then JAXEMBED_COORDINATOR, JAXEMBED_PROCESSES and JAXEMBED_PROCESS, then what JAX finds out by
    itself in a step of several tasks under SLURM or Open MPI and in TPU slices on Kubernetes, or, with
    JAXEMBED_COORDINATOR=auto, wherever it can (Cloud TPU pods). `heartbeat`: seconds until a silent
    worker counts as dead. On GPUs each process takes those that JAX_LOCAL_DEVICE_IDS names (`0` or `0,1`), by default
    all of its machine. Raises ValueError when only some of the three are given.
    """
    address = coordinator or os.environ.get("JAXEMBED_COORDINATOR")
    given = (
        address if address != "auto" else None,
        processes or _number("JAXEMBED_PROCESSES"),
        index if index is not None else _number("JAXEMBED_PROCESS"),
    )
    if any(value is not None for value in given):
        if any(value is None for value in given):
            raise ValueError("give coordinator (HOST:PORT), processes and index (0 to processes - 1) together, or none")
        # Nothing is left to be found out, and on Kubernetes JAX would look for a package to do it with.
        jax.distributed.initialize(*given, heartbeat_timeout_seconds=heartbeat, cluster_detection_method="deactivate")
    elif address == "auto" or _in_cluster():
        jax.distributed.initialize(heartbeat_timeout_seconds=heartbeat)
    else:
        return
    _say_more_on_abort()


def _in_cluster() -> bool:
    """Whether a launcher has started several processes that JAX can find by itself."""
    several = any((_number(name) or 0) > 1 for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
    return several or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")


def _number(name: str) -> int | None:
    text = os.environ.get(name)
    if text is None:
        return None
    if not text.isdigit():
        raise ValueError(f"{name} must be a whole number, not {text!r}")
    return int(text)


def is_first() -> bool:
    """Whether this is the process that writes: 0 of all, and the only one where there are no others."""
    return jax.process_index() == 0


def alone() -> bool:
    """Whether no other process takes part."""
    return jax.process_count() == 1


def tell(value: Any) -> Any:
    """A JSON value of process 0, in all processes; all must call it, and none goes on before process 0 has come here."""
    if jax.process_count() == 1:
        return value
    from jax.experimental.multihost_utils import broadcast_one_to_all

    text = np.frombuffer(json.dumps(value).encode(), np.uint8) if is_first() else np.zeros(0, np.uint8)
    length = int(broadcast_one_to_all(np.int32(len(text))))
    # Whole blocks, for each length would be compiled anew.
    text = np.pad(text, (0, -(-length // _BLOCK) * _BLOCK - len(text)))
    return json.loads(bytes(np.asarray(broadcast_one_to_all(text))[:length]).decode())


def agree(value: bool) -> bool:
    """What process 0 says, in all processes."""
    if jax.process_count() == 1:
        return value
    from jax.experimental.multihost_utils import broadcast_one_to_all

    return bool(broadcast_one_to_all(np.int32(value)))


def anyone(value: bool) -> bool:
    """Whether any process says so, in all processes."""
    if jax.process_count() == 1:
        return value
    from jax.experimental.multihost_utils import process_allgather

    return bool(process_allgather(np.int32(value)).any())


_BLOCK = 4096


class WorkerLost(ConnectionError):
    """Another process of the run is gone, killed or lost with its machine; nothing more can be trained without it."""


@contextmanager
def together() -> Iterator[None]:
    """Around what processes do together; may decorate a function. One that cannot go on lets the others know by ending.

    Raises WorkerLost where another process is gone. Where anything is raised, this process will not wait for the others at
    its end.
    """
    try:
        yield
    except Exception as error:
        if jax.process_count() == 1 or isinstance(error, FloatingPointError):  # all processes diverge alike
            raise
        atexit.register(_leave)  # goes before JAX's own, which would wait for all processes to come to their end
        if is_loss(error):
            raise WorkerLost(_LOST.format(jax.process_index(), jax.process_count())) from error
        raise


def is_loss(error: Exception) -> bool:
    """Whether this is how it looks when another process of the run is gone."""
    # Collectives raise what they like, ValueError among it; an OSError is a matter of this machine.
    text = "" if isinstance(error, OSError) else str(error).lower()
    return jax.process_count() > 1 and any(sign in text for sign in _SIGNS)


_SIGNS = ("gloo", "nccl", "coordination", "connection", "socket", "heartbeat", "unavailable", "barrier", "preempted")
_LOST = (
    "process {} of {} stops, because another process of the run is gone (its own log says why). Start all of them again: "
    "the same command goes on from the last checkpoint"
)


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _say_more_on_abort() -> None:
    """Prints what to do when JAX aborts the process, as it does when process 0 or a heartbeat is missed.

    JAX gives no other way to hear of it. In C's terms, since Python's own handlers would only run after the abort.
    """
    if sys.platform != "linux":
        return
    text = f"\njaxembed: {_LOST.format(jax.process_index(), jax.process_count())}\n".encode()
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: os.write(2, text) and None)
    ctypes.CDLL(None).signal(int(signal.SIGABRT), handler)
    _kept.append(handler)


_kept: list[Any] = []  # C holds no reference to what it calls
