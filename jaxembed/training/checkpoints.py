"""Checkpoints of a run: the whole state, saved in the background while training goes on (orbax).

A checkpoint is a folder that takes its name when it is whole, so a killed writer leaves the one before. The last two are
kept. One that cannot be read is left for the one before it, with a warning; nothing else is lost by a full disk than the
checkpoint that did not fit.
"""

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
        self._manager: Any = None

    def restore(self, template: Callable[[], Any], layout: Layout) -> tuple[Any, dict[str, Any], dict[str, Any]] | None:
        """The newest checkpoint that can be read, as `(state, position, extra)`, laid out as `template()` and `layout` say.

        None where there is none. A damaged one is told, removed, and the one before it taken.
        """
        if not agree(any(self.folder.glob("[0-9]*"))):
            return None
        import orbax.checkpoint as ocp

        manager = self._open()
        like = template()
        restoring = jax.tree.map(
            lambda x: ocp.ArrayRestoreArgs(sharding=x.sharding, global_shape=x.shape, dtype=x.dtype), like
        )
        items = ocp.args.Composite(
            state=ocp.args.PyTreeRestore(item=like, restore_args=restoring), told=ocp.args.JsonRestore()
        )
        for step in sorted(manager.all_steps(), reverse=True):
            try:
                found = manager.restore(step, args=items)
                told = found["told"]
                return found["state"], told["position"], told["extra"]
            except Exception as error:  # whatever a broken file makes orbax raise
                if is_loss(error):
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
        return agree(time.monotonic() - self._saved >= self.seconds)

    def save(self, step: int, state: Any, position: Mapping[str, Any]) -> None:
        """Starts to write a checkpoint; `state` must not change after. What cannot be written is told, and training goes on."""
        import orbax.checkpoint as ocp

        began = time.monotonic()
        told = {"position": dict(position), "extra": dict(self.extra())}
        items = ocp.args.Composite(state=ocp.args.PyTreeSave(state), told=ocp.args.JsonSave(told))
        try:
            self._open().save(step, args=items)
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

            logging.getLogger("absl").setLevel(logging.ERROR)
            options = ocp.CheckpointManagerOptions(max_to_keep=2, cleanup_tmp_directories=True)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        return self._manager

    def _tell(self, error: Exception) -> None:
        if is_loss(error):
            raise error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        warnings.warn(
            f"a checkpoint could not be written to {self.folder} ({reason}); the one before it stands", stacklevel=4
        )
