"""Options of training and recording that do not change the result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from jaxembed.study.run import Run
from jaxembed.tracking import Tracker
from jaxembed.training.mesh import Layout, make_mesh


@dataclass(frozen=True)
class Asked:
    """Options of every command that trains."""

    overwrite: bool = False  # Train finished runs anew. The old ones are kept until the new ones have finished.
    # Seconds between checkpoints, from which the same command continues after it was killed. 0 saves after every dispatch,
    # and none turns checkpoints off.
    checkpoint_seconds: float | None = 60.0
    mesh: tuple[int, int] | None = (
        None  # Number of devices for data and for columns of tables: 4 2. By default one device is used.
    )
    deterministic: bool = False  # Make a GPU give the same bits each time, at a cost; a CPU always does.
    profile: bool = False  # Write a trace of some steps for TensorBoard's profiler (pip install jaxembed[profile]).


@dataclass(frozen=True)
class Options(Asked):
    """How runs are trained and recorded. Nothing here changes the result, except for `layout` within float tolerance."""

    keep_checkpoints: bool = False  # Keep the checkpoints of finished runs.
    seeds_by: str | None = None  # See `fit`.
    layout: Layout | None = None  # See `fit`.
    console: bool = True  # Show a progress bar.
    trackers: Sequence[
        Callable[[Run], Tracker]
    ] = ()  # Called with each run; they return further trackers besides TensorBoard and JSON lines.

    @classmethod
    def of(cls, command: Asked) -> "Options":
        """Returns the options of a command."""
        own = {one.name: getattr(command, one.name) for one in fields(Asked)}
        return cls(**own, layout=Layout(make_mesh(*command.mesh)) if command.mesh else None)
