"""A recorded run is trained again from its settings alone, and compared with the record.

If versions, device, machine and flags are those of the record, figures and vectors should be the same bit for bit. If
only the commit differs, this is tried first. Otherwise rounding differs, and training amplifies the difference. A
figure may then differ by three standard deviations over the finished seeds beside the run, or by 2 % if there are no
other seeds; and always by a millionth, for figures that do not depend on the seed.
"""

import json
import math
import os
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxembed.study.environment import environment
from jaxembed.study.options import Options
from jaxembed.study.plan import Planned, Variant
from jaxembed.study.recorded import check_data, rebuilt, upgraded
from jaxembed.study.run import Run
from jaxembed.study.train import train_group

_TIMES = ("final/seconds", "_per_second")
# of the seeds beside a run; of a figure without other seeds; of any figure
_DEVIATIONS, _ALONE, _ROUNDING = 3.0, 0.02, 1e-6
_CODE = ("commit", "dirty")  # entries of an environment


@dataclass(frozen=True)
class Figure:
    """A figure of the summary as recorded and as now; `allowed` is the largest difference that counts as the same."""

    name: str
    recorded: float
    now: float
    allowed: float

    @property
    def same(self) -> bool:
        """Whether both values agree within what is allowed."""
        return abs(self.recorded - self.now) <= self.allowed or (math.isnan(self.recorded) and math.isnan(self.now))

    @property
    def allowed_text(self) -> str:
        """The allowed difference in words."""
        return "nothing" if self.allowed == 0 else f"± {self.allowed:.3g}"


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    exact: whether figures were compared bit for bit. vectors: whether the vectors are the same bit for bit (None: not
    recorded). environment: the differences from the recorded environment, one line for each. tried: whether only the
    commit differs, so that a comparison bit for bit was tried; `exact` then says whether it succeeded.
    """

    exact: bool
    figures: list[Figure]
    vectors: bool | None
    environment: list[str]
    tried: bool = False

    @property
    def reproduced(self) -> bool:
        """Whether everything agrees within what is allowed."""
        return all(figure.same for figure in self.figures) and not (self.exact and self.vectors is False)


def reproduce(folder: str | os.PathLike, output: str | os.PathLike | None = None) -> Comparison:
    """Trains the run in `folder` again, into `output` or a temporary folder, and compares its figures.

    With the same versions, device and commit, figures and vectors must be the same bit for bit. Otherwise a figure may
    differ as the docstring of this module says; if only the commit differs, bit for bit is tried first. Times are not
    compared.

    Raises FileNotFoundError if there is no run; ValueError if the run is not finished, was recorded by an older version
    without the necessary settings, or if its data are missing or have changed.
    """
    run = Run.open(folder)
    if not run.finished:
        raise ValueError(f"{folder} is not finished: start its study again, then reproduce it")
    settings, then = run.settings, run.environment
    if "task" not in settings:
        raise ValueError(f"{folder} does not record how to read its data: it was recorded by an older version")
    task, method, training = (rebuilt(upgraded(settings)[part]) for part in ("task", "method", "training"))
    check_data(task, settings)
    if (then_start := settings.get("start_fingerprint")) and then_start != method.start_fingerprint:
        raise ValueError(f"the weights of {method.start} are not those that the run started from")
    variant = Variant(settings["label"], method, training)
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(output or temporary) / "reproduced" / Path(folder).resolve().name
        plan = Planned(target, variant, settings["seed"], settings["data"])
        again = train_group([plan], task, Options(checkpoint_seconds=None), description=f"again: {variant.label}")[0]
        now, summary = again.environment, again.summary
    changed = differences(then, now)
    recorded = {name: value for name, value in run.summary.items() if not name.endswith(_TIMES) and value is not None}
    found = {name: math.nan if summary.get(name) is None else float(summary[name]) for name in recorded}
    bits = [Figure(name, float(old), found[name], 0.0) for name, old in recorded.items()]
    digest = then.get("vectors_digest")
    vectors = digest == now["vectors_digest"] if digest else None
    tried = bool(changed) and all(line.startswith(_CODE) for line in changed)
    if not changed or (tried and all(figure.same for figure in bits) and vectors is not False):
        return Comparison(True, bits, vectors, changed, tried)
    apart = [replace(figure, allowed=_allowed(Path(folder), figure)) for figure in bits]
    return Comparison(False, apart, vectors, changed, tried)


def differences(then: Mapping[str, Any], now: Mapping[str, Any] | None = None) -> list[str]:
    """Returns the differences between environments that may change a result, one line for each."""
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


def _allowed(folder: Path, figure: Figure) -> float:
    """Returns how far a figure may differ elsewhere, from the spread over the finished runs beside it (other seeds)."""
    values = []
    for path in sorted(folder.resolve().parent.glob("*/summary.json")):
        value = json.loads(path.read_text(encoding="utf-8")).get(figure.name)
        if value is not None and math.isfinite(float(value)):
            values.append(float(value))
    size = abs(figure.recorded)
    return max(_DEVIATIONS * statistics.stdev(values) if len(values) > 1 else _ALONE * size, _ROUNDING * size)
