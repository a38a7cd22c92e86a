"""How runs are trained and recorded, which changes nothing of what comes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxembed.study.run import Run
from jaxembed.tracking import Tracker
from jaxembed.training.mesh import Layout, make_mesh


@dataclass(frozen=True)
class Asked:
    """What every command that trains can be asked for."""

    overwrite: bool = False  # Train finished runs anew. The old ones are kept until the new ones have finished.
    checkpoint_seconds: float = 60  # Time between checkpoints, from which the same command goes on after it was killed.
    mesh: tuple[int, int] | None = None  # Devices for data and for columns of tables: 4 2. Default: one device.
    deterministic: bool = False  # Ask a GPU for the same bits each time, at a cost; a CPU always gives them.
    profile: bool = False  # Write a trace of some steps for TensorBoard's profiler (pip install jaxembed[profile]).


@dataclass(frozen=True)
class Options:
    """How runs are trained and recorded; none of it changes what comes out, but for `layout` within float tolerance.

    checkpoint_seconds: time between checkpoints; 0 after every dispatch, None never. keep_checkpoints: also of finished runs.
    seeds_by, layout: as `fit` takes them. overwrite: finished runs are made anew. console: a progress bar.
    profile: writes a trace of some steps into the first run's folder, for TensorBoard's profiler.
    trackers: called with each run, give more trackers than TensorBoard and JSON lines.
    """

    checkpoint_seconds: float | None = 60.0
    keep_checkpoints: bool = False
    seeds_by: str | None = None
    layout: Layout | None = None
    overwrite: bool = False
    console: bool = True
    profile: bool = False
    trackers: Sequence[Callable[[Run], Tracker]] = ()

    @classmethod
    def of(cls, settings: Asked) -> "Options":
        """From a command's settings: `overwrite`, `checkpoint_seconds`, `mesh` and `profile`."""
        return cls(
            checkpoint_seconds=settings.checkpoint_seconds,
            layout=Layout(make_mesh(*settings.mesh)) if settings.mesh else None,
            overwrite=settings.overwrite,
            profile=settings.profile,
        )
