"""Checkpoints of a run: the whole state, saved in the background while training goes on (orbax).

A checkpoint is a folder that gets its name once it is complete, so that a process that is killed while writing leaves the
previous checkpoint intact. The last two are kept. A checkpoint with corrupt content is removed with a warning, and training
continues from the one before it. If a checkpoint cannot be read for another reason (permissions, a failing disk, too little
memory, other shapes), the error is raised and nothing is removed. On a full disk the pieces of a checkpoint that does not fit
are removed at once, and none is started that would leave no room for the result.
"""

import errno
import logging
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jax

from jaxembed.training.mesh import Layout
from jaxembed.training.processes import agree, is_first, is_loss

Extra = Callable[[], Mapping[str, Any]]

_PIECES = "*.orbax-checkpoint-tmp*"  # what is being written, or what was when a write failed


class Unfit(ValueError):
    """A checkpoint is whole, but of arrays of other shapes than those that are to be restored."""


class Checkpoints:
    """Where and how often a run is saved.

    folder: of this run alone. seconds: about how long between two checkpoints.
    extra: what else belongs to the moment of a checkpoint, as JSON values (how far log files had come).
    begin: called once with the `extra` of the checkpoint that training goes on from, or with {} at a fresh start.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        seconds: float = 60.0,
        extra: Extra = dict,
        begin: Callable[[Mapping[str, Any]], None] = lambda extra: None,
    ) -> None:
        if seconds < 0:
            raise ValueError(f"seconds between checkpoints must be at least 0, not {seconds}")
        self.folder, self.seconds = Path(folder).resolve(), seconds
        self.extra, self.begin = extra, begin
        self.blocked, self.count = 0.0, 0  # seconds that training has waited for checkpoints, and how many were begun
        self._saved = time.monotonic()
        self._warned = False
        self._manager: Any = None

    def restore(self, template: Callable[[], Any], layout: Layout) -> tuple[Any, dict[str, Any], dict[str, Any]] | None:
        """The newest checkpoint that can be read, as `(state, position, extra)`, laid out as `template()` and `layout` say.

        None where there is none. One with corrupt content is removed with a warning, and the one before it is taken.
        Raises Unfit where it holds arrays of other shapes, and whatever else keeps it from being read; then nothing is
        removed.
        """
        if not agree(is_first() and self._any()):
            return None
        import orbax.checkpoint as ocp

        manager = self._open()
        like = template()
        restoring = jax.tree.map(
            lambda x: ocp.ArrayRestoreArgs(sharding=x.sharding, global_shape=x.shape, dtype=x.dtype), like
        )
        state = ocp.args.Composite(state=ocp.args.PyTreeRestore(item=like, restore_args=restoring))
        for step in sorted(manager.all_steps(), reverse=True):
            try:
                notes = manager.restore(step, args=ocp.args.Composite(told=ocp.args.JsonRestore()))["told"]
                _check_shapes(self.folder, notes.get("shapes"), like)
                return manager.restore(step, args=state)["state"], notes["position"], notes["extra"]
            except Exception as error:  # whatever a broken file makes orbax raise
                if is_loss(error) or not _is_corrupt(self.folder / str(step), error):
                    raise
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                warnings.warn(
                    f"the checkpoint at step {step} in {self.folder} is damaged ({reason}): going on from the one before it",
                    stacklevel=3,
                )
                manager.delete(step)
        return None

    def due(self) -> bool:
        """Whether it is time for one; the same in all processes."""
        if self._manager is not None:
            try:
                self._manager.check_for_errors()
            except Exception as error:
                self._tell(error)
        return agree(time.monotonic() - self._saved >= self.seconds)

    def save(self, step: int, state: Any, position: Mapping[str, Any]) -> None:
        """Starts to write a checkpoint; `state` must not change after. One that cannot be written is warned of, once."""
        import orbax.checkpoint as ocp

        began = time.monotonic()
        notes = {"position": dict(position), "extra": dict(self.extra()), "shapes": _shapes(state)}
        items = ocp.args.Composite(state=ocp.args.PyTreeSave(state), told=ocp.args.JsonSave(notes))
        try:
            manager = self._open()
            if agree(self._has_room(state)):
                manager.save(step, args=items)
            else:
                self._warn("there would be no room left for the result")
        except Exception as error:  # a full disk comes as many kinds of error, some of them of the checkpoint before
            self._tell(error)
        self._saved = time.monotonic()
        self.blocked, self.count = self.blocked + self._saved - began, self.count + 1

    def wait(self) -> None:
        """Returns when everything is written."""
        if self._manager is None:
            return
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            self._tell(error)

    def make_room(self) -> None:
        """Removes all checkpoints but the newest, for a result that would not fit beside them."""
        self.wait()
        if self._manager is not None:
            for step in sorted(self._manager.all_steps())[:-1]:
                self._manager.delete(step)

    def remove(self) -> None:
        """Ends the checkpoints of a run that has come to its end."""
        self.close()
        if is_first():
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):  # other groups may have theirs beside it
                self.folder.parent.rmdir()

    def close(self) -> None:
        """Waits, and lets go of the folder."""
        self.wait()
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def _open(self) -> Any:
        if self._manager is None:
            import orbax.checkpoint as ocp

            logging.getLogger("absl").setLevel(logging.CRITICAL)  # what matters of a failed write is raised as well
            logging.getLogger("asyncio").addFilter(_is_not_of_orbax)
            options = ocp.CheckpointManagerOptions(max_to_keep=2, cleanup_tmp_directories=True)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        return self._manager

    def _any(self) -> bool:
        try:
            return any(name[0].isdigit() for name in os.listdir(self.folder))
        except FileNotFoundError:
            return False

    def _has_room(self, state: Any) -> bool:
        """Whether a checkpoint would leave room for the result, which is about half as large as the state."""
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        return shutil.disk_usage(self.folder).free > size + size // 2 + (64 << 10)

    def _tell(self, error: Exception) -> None:
        """After a write that failed: its pieces are removed, and a warning is given."""
        if is_loss(error):
            raise error
        with suppress(Exception):  # the failure that is known already
            self._manager.wait_until_finished()
        if is_first():
            for piece in self.folder.glob(_PIECES):
                shutil.rmtree(piece, ignore_errors=True)
        self._warn(" ".join(str(error).split())[:200] or type(error).__name__)

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"a checkpoint could not be written to {self.folder} ({reason}); the one before it stands, and training "
                "goes on. Others that cannot be written are not mentioned",
                stacklevel=4,
            )


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    # It leaves the tasks of a failed write, each with a traceback, although the failure is raised.
    return "orbax" not in record.getMessage()


def _shapes(state: Any) -> dict[str, Any]:
    """Shape and type of each array of a state, by its way."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(way): [list(leaf.shape), leaf.dtype.name] for way, leaf in leaves}


def _check_shapes(folder: Path, there: Mapping[str, Any] | None, like: Any) -> None:
    here = _shapes(like)
    if there is not None and dict(there) != here:  # checkpoints of older versions do not say
        ways = sorted(way for way in {*there, *here} if there.get(way) != here.get(way))
        differences = "; ".join(f"{way} is {there.get(way)} there and {here.get(way)} now" for way in ways[:3])
        raise Unfit(
            f"the checkpoint in {folder} does not fit: {differences}. Start the same command in the same environment as before, "
            "or remove that folder to begin anew"
        )


# How errors of tensorstore and XLA begin that say nothing of the content, and what the system calls such errors.
_NOT_CONTENT = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")
_SYSTEM = (errno.EACCES, errno.EPERM, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE)


def _is_corrupt(folder: Path, error: Exception) -> bool:
    """Whether a checkpoint could not be restored because of its content: all else fits, and each of its bytes can be read.

    Raises the OSError of a file or folder that cannot be read.
    """
    if isinstance(error, Unfit | MemoryError):
        return False
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        return False
    if any(sign in str(error) for sign in (*_NOT_CONTENT, *map(os.strerror, _SYSTEM))):
        return False

    def refuse(error: OSError) -> None:
        raise error

    for place, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            with open(os.path.join(place, name), "rb") as file:
                while file.read(1 << 20):
                    pass
    return True
