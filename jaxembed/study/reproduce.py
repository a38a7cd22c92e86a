"""A recorded run made again from its settings alone, and compared with what was recorded."""

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxembed.report.significance import estimate
from jaxembed.study.environment import environment
from jaxembed.study.options import Options
from jaxembed.study.plan import Planned, Variant
from jaxembed.study.recorded import rebuilt, upgraded
from jaxembed.study.run import Run
from jaxembed.study.train import train_group

_TIMES = ("final/seconds", "_per_second")


@dataclass(frozen=True)
class Figure:
    """A figure of the summary, then and now; `allowed` is the largest difference that counts as the same."""

    name: str
    recorded: float
    now: float
    allowed: float

    @property
    def same(self) -> bool:
        """Whether they agree as far as they should."""
        return abs(self.recorded - self.now) <= self.allowed or (math.isnan(self.recorded) and math.isnan(self.now))

    @property
    def allowed_text(self) -> str:
        """How far they may differ, for people."""
        return "nothing" if self.allowed == 0 else f"± {self.allowed:.3g}"


@dataclass(frozen=True)
class Comparison:
    """exact: whether bit for bit was asked for; vectors: whether they are so (None: not recorded).

    environment: what differs from the recorded one, a line each.
    """

    exact: bool
    figures: list[Figure]
    vectors: bool | None
    environment: list[str]

    @property
    def reproduced(self) -> bool:
        """Whether all agree as far as they should."""
        return all(figure.same for figure in self.figures) and not (self.exact and self.vectors is False)


def reproduce(folder: str | os.PathLike, output: str | os.PathLike | None = None) -> Comparison:
    """Trains the run in `folder` again, into `output` or a folder that is removed, and compares its figures.

    On the same versions and device, figures and vectors must be the same bit for bit. Elsewhere a figure may differ by the
    half-width of the 95 % interval over the seeds of the same variant beside it. Times are not compared.

    Raises FileNotFoundError where there is no run, ValueError where it is not finished, was recorded by an older version
    without what is needed, where its data are not there or not the same.
    """
    run = Run.open(folder)
    if not run.finished:
        raise ValueError(f"{folder} is not finished: start its study again, then reproduce it")
    settings, then = run.settings, run.environment
    if "task" not in settings:
        raise ValueError(f"{folder} does not tell how to read its data: it was recorded by an older version")
    task, method, training = (rebuilt(upgraded(settings)[part]) for part in ("task", "method", "training"))
    if task.found.fingerprint != settings["data_fingerprint"]:
        raise ValueError(
            f"the data are not those of the run: fingerprint {task.found.fingerprint}, recorded "
            f"{settings['data_fingerprint']}"
        )
    variant = Variant(settings["label"], method, training)
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(output or temporary) / "reproduced" / Path(folder).resolve().name
        plan = Planned(target, variant, settings["seed"], settings["data"])
        again = train_group([plan], task, Options(checkpoint_seconds=None), description=f"again: {variant.label}")[0]
        now, summary = again.environment, again.summary
    changed = differences(then, now)
    exact = not changed
    recorded = {name: value for name, value in run.summary.items() if not name.endswith(_TIMES) and value is not None}
    allowed = {name: 0.0 if exact else _half_width(Path(folder), name) for name in recorded}
    figures = [Figure(name, float(old), float(summary[name]), allowed[name]) for name, old in recorded.items()]
    digest = then.get("vectors_digest")
    return Comparison(exact, figures, digest == now["vectors_digest"] if digest else None, changed)


def differences(then: Mapping[str, Any], now: Mapping[str, Any] | None = None) -> list[str]:
    """What of the environment may change a result and is not as it was, a line each."""
    now = now or environment()
    lines = []
    for name in ("versions", "device", "machine", "xla_flags", "commit", "dirty"):
        old, new = then.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            keys = [key for key in {**old, **new} if key != "memory" and old.get(key) != new.get(key)]
            lines += [f"{name}: {key} was {old.get(key)!r}, is {new.get(key)!r}" for key in keys]
        elif old != new:
            lines.append(f"{name} was {old!r}, is {new!r}")
    return lines


def _half_width(folder: Path, name: str) -> float:
    """Of the interval over the finished runs that stand beside a run: the seeds of its variant."""
    values = []
    for path in sorted(folder.resolve().parent.glob("*/summary.json")):
        value = json.loads(path.read_text(encoding="utf-8")).get(name)
        if value is not None:
            values.append(float(value))
    half = estimate(values).half_width
    return 0.02 * abs(values[0]) if math.isnan(half) else half
