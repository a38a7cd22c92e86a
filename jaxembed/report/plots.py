"""Pictures of a study: quality against time, learning curves with bands, scaling."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxembed.files import replacing
from jaxembed.report.significance import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colours of Okabe and Ito, which colour-blind readers can distinguish, without the yellow that is faint on white. Seven
# colours and eight markers make 56 styles.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "os^DvPX*"
_LINES = ("-", "--", "-.", ":")


class Curve(NamedTuple):
    """A line with its band: `x`, `mean` and `half_width` (NaN: no band) have the same length."""

    x: np.ndarray
    mean: np.ndarray
    half_width: np.ndarray


def plot_quality(path: Path, panels: Mapping[str, Mapping[str, tuple[float, Estimate]]], title: str) -> None:
    """Draws one panel per benchmark and one point per label: quality and its 95 % interval against seconds per run (log scale).

    `panels` is `{benchmark: {label: (seconds, estimate)}}`; estimates without seeds are not drawn.
    """
    figure, axes = _panels(len(panels))
    labels = _labels(panels.values())
    for axis, (benchmark, points) in zip(axes, panels.items(), strict=True):
        drawn = {label: point for label, point in points.items() if point[1].seeds and math.isfinite(point[0])}
        for label, (seconds, value) in drawn.items():
            half, style = None if math.isnan(value.half_width) else value.half_width, _style(labels[label])
            axis.errorbar(seconds, value.mean, half, fmt=style["marker"], color=style["color"], ms=7, capsize=3)
        axis.set(xlabel="training time of a run (s)", ylabel=_plain(benchmark))
        _log_axis(axis.xaxis, [seconds for seconds, _ in drawn.values()])
        _tell_when_empty(axis, not drawn)
    _finish(figure, path, title, labels)


def plot_curves(
    path: Path, panels: Mapping[str, Mapping[str, Curve]], x_label: str, title: str, *, log: bool = False
) -> None:
    """Draws one panel per metric and one line per label: the mean over seeds with the band of its 95 % interval.

    `panels` is `{metric: {label: curve}}`; curves without points are not drawn. log: whether x is drawn on a logarithmic scale.
    """
    figure, axes = _panels(len(panels))
    labels = _labels(panels.values())
    for axis, (metric, curves) in zip(axes, panels.items(), strict=True):
        drawn = {label: curve for label, curve in curves.items() if len(curve.x)}
        for label, (x, mean, half) in drawn.items():
            style = _style(labels[label])
            axis.plot(x, mean, **style, ms=4, markevery=max(1, len(x) // 12))
            axis.fill_between(x, mean - half, mean + half, color=style["color"], alpha=0.2, lw=0)
        axis.set(xlabel=x_label, ylabel=_plain(metric))
        if log:
            _log_axis(axis.xaxis, [float(x) for curve in drawn.values() for x in curve.x])
        _keep_in_view(axis, list(drawn.values()))
        _tell_when_empty(axis, not drawn)
    _finish(figure, path, title, labels)


def plot_scaling(
    path: Path,
    series: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    ideal: bool = True,
    title: str = "",
) -> None:
    """Draws one line per label on logarithmic axes: throughput (or time) against devices, batch, seeds or another size.

    With `ideal`, a dotted line from the first point of each label shows growth in proportion to x.
    """
    from matplotlib.ticker import EngFormatter, FixedLocator

    figure, (axis,) = _panels(1, width=6.4, height=4.2)
    labels = {label: place for place, label in enumerate(series)}
    for label, points in series.items():
        x, y = np.array(sorted(points), np.float64).reshape(-1, 2).T
        if not len(x):
            continue
        style = _style(labels[label])
        axis.plot(x, y, ms=6, **style)
        if ideal and len(x) > 1:
            axis.plot(x, y[0] * x / x[0], ls=":", lw=1.2, color=style["color"])
    axis.set(xlabel=_plain(x_label), ylabel=_plain(y_label))
    _log_axis(axis.xaxis, sizes := sorted({x for points in series.values() for x, _ in points}))
    if 0 < len(sizes) <= 10:
        axis.xaxis.set_major_locator(FixedLocator(sizes))
    _log_axis(axis.yaxis, [y for points in series.values() for _, y in points], EngFormatter(sep=""))
    _tell_when_empty(axis, not any(series.values()))
    _finish(figure, path, title, labels, extra={"in proportion": {"color": "0.4", "ls": ":"}} if ideal else {})


def plot_plane(path: Path, panels: Mapping[str, np.ndarray], groups: Mapping[str, np.ndarray], title: str) -> None:
    """Draws one panel per label with a point for each object, in the colour of its group; what is of no group is grey.

    `panels` is `{label: places in the plane [n, 2]}`; `groups` is `{group: which objects are of it, bool [n]}`.
    """
    figure, axes = _panels(len(panels))
    styles = {group: {**_style(place), "ls": "", "marker": "o"} for place, group in enumerate(groups)}
    none = ~np.any(list(groups.values()), axis=0)
    for axis, (label, places) in zip(axes, panels.items(), strict=True):
        axis.scatter(*places[none].T, s=3, color="0.8", lw=0)
        for group, of in groups.items():
            axis.scatter(*places[of].T, s=4, color=styles[group]["color"], lw=0)
        axis.set(xticks=[], yticks=[])
        axis.set_title(_plain(label), fontsize=9)
        axis.grid(visible=False)
    _finish(figure, path, title, {}, {_plain(group): style for group, style in styles.items()})


def _panels(number: int, width: float = 3.6, height: float = 3.2) -> tuple["Figure", "list[Axes]"]:
    # A bare Figure draws with Agg and leaves the caller's pyplot and its backend alone.
    from matplotlib.figure import Figure

    across = 2 if number == 4 else min(3, number)
    down = math.ceil(number / across)
    figure = Figure(figsize=(max(width * across, 5.2), height * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis in axes[number:]:
        axis.remove()
    for axis in axes[:number]:
        axis.grid(alpha=0.3)
    return figure, list(axes[:number])


def _labels(panels: Any) -> dict[str, int]:
    """Returns the place of each label, the same in all panels, so that it keeps its colour."""
    return {label: place for place, label in enumerate(dict.fromkeys(label for panel in panels for label in panel))}


def _style(place: int) -> dict[str, Any]:
    colours, markers = len(_COLOURS), len(_MARKERS)
    line = _LINES[place // colours % len(_LINES)]
    return {"color": _COLOURS[place % colours], "marker": _MARKERS[place % markers], "ls": line, "lw": 1.6}


def _log_axis(axis: Any, values: Sequence[float], formatter: Any = None) -> None:
    """Makes an axis logarithmic, with plain numbers: ticks at 1, 2 and 5 if the range is short, else at the powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    if not values:
        return
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    short = max(values) / min(values) < 300
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if short else (1,)))
    axis.set_major_formatter(formatter or FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(NullLocator())


def _keep_in_view(axis: "Axes", curves: Sequence[Curve]) -> None:
    """Cuts off parts of the bands that would flatten the curves: with two seeds the interval is 13 standard errors wide."""
    means = np.concatenate([curve.mean for curve in curves] or [np.empty(0)])
    means = means[np.isfinite(means)]
    span = np.ptp(means) if len(means) else 0
    if span > 0:
        low, high = axis.get_ylim()
        axis.set_ylim(max(low, means.min() - span), min(high, means.max() + span))


def _tell_when_empty(axis: "Axes", empty: bool) -> None:
    if empty:
        axis.text(0.5, 0.5, "no run has this figure", ha="center", va="center", transform=axis.transAxes, color="0.4")


def _plain(text: str) -> str:
    """Escapes text, so that matplotlib does not read it as mathematics."""
    return text.replace("$", r"\$")


def _finish(
    figure: "Figure",
    path: Path,
    title: str,
    labels: Mapping[str, int],
    extra: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Adds the legend below the panels and the title above, and writes the file, whole or not at all."""
    from matplotlib.lines import Line2D

    styles = {_plain(label): {"ms": 6, **_style(place)} for label, place in labels.items()} | dict(extra or {})
    if styles:
        longest = max(map(len, styles))
        room = figure.get_figwidth() * 13  # number of characters that fit across, without the sample of the line
        across = max(1, min(len(styles), int(room // (longest + 8))))
        rows = math.ceil(len(styles) / across)
        figure.set_figheight(figure.get_figheight() + 0.22 * rows)
        handles = [Line2D([], [], **style) for style in styles.values()]
        figure.legend(handles, list(styles), loc="outside lower center", ncols=across, frameon=False, fontsize=9)
    if title:
        lines = [textwrap.fill(_plain(line), int(figure.get_figwidth() * 11)) for line in title.split("\n")]
        figure.suptitle("\n".join(lines), fontsize=11)
    with replacing(path) as part:
        figure.savefig(part, format=path.suffix.lstrip("."), dpi=150)
