import math
import re

import numpy as np

from jaxembed.report.plots import Curve, plot_curves, plot_plane, plot_quality, plot_scaling
from jaxembed.report.significance import Estimate


def texts(path):
    """Every text of an SVG picture, which matplotlib writes as a comment beside its outlines."""
    return re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8"))


def lines(path, colour):
    """The points of the lines of a colour, in the picture's units."""
    found = re.findall(rf'<path d="([^"]*)"[^>]*style="fill: none; stroke[^"]*: {colour}', path.read_text())
    return [np.array(re.findall(r"[ML] (\S+) (\S+)", drawn), float) for drawn in found]


def test_quality_has_axes_a_legend_and_the_axis_of_time_in_seconds(tmp_path):
    panels = {
        "simlex999": {"one": (9.0, Estimate(0.3, 0.1, 3)), "two_$b": (30.0, Estimate(0.4, math.nan, 1))},
        "empty": {"one": (9.0, Estimate(math.nan, math.nan, 0))},
    }
    plot_quality(tmp_path / "quality.svg", panels, "What & why, 5 $ each")
    found = texts(tmp_path / "quality.svg")
    assert {"simlex999", "empty", "one", "10", "20", "no run has this figure"} <= set(found)
    assert found.count("training time of a run (s)") == 2
    plot_quality(tmp_path / "quality.png", panels, "title")
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["quality.png", "quality.svg"]


def test_a_curve_has_its_points_and_its_band(tmp_path):
    x, mean = np.array([1.0, 2, 4]), np.array([0.1, 0.3, 0.4])
    nothing = np.empty(0)
    panels = {
        "dev": {"late": Curve(nothing, nothing, nothing), "early": Curve(x, mean, np.full(3, 0.05))},
        "loss": {"late": Curve(x, mean, np.full(3, math.nan)), "early": Curve(nothing, nothing, nothing)},
        "none": {},
    }
    plot_curves(tmp_path / "curves.svg", panels, "training time of a run (s)", "title")
    assert {"dev", "loss", "late", "early", "no run has this figure"} <= set(texts(tmp_path / "curves.svg"))
    # "early" keeps the second colour though it is alone in its panel.
    drawn = lines(tmp_path / "curves.svg", "#d55e00")[0]
    along = np.diff(drawn, axis=0)
    np.testing.assert_allclose(along[1] / along[0], [2, 0.5], rtol=1e-3)


def test_bands_far_wider_than_the_curves_do_not_flatten_them(tmp_path):
    curve = Curve(np.array([0.0, 1]), np.array([0.2, 0.4]), np.array([30.0, 30]))
    plot_curves(tmp_path / "curves.svg", {"dev": {"one": curve}}, "step", "")
    ticks = [
        float(text.replace("−", "-")) for text in texts(tmp_path / "curves.svg") if re.fullmatch(r"−?[\d.]+", text)
    ]
    assert max(ticks) <= 1


def test_growth_in_proportion_lies_on_its_ideal_line(tmp_path):
    series = {"ideal": [(1, 1e6), (4, 4e6), (2, 2e6)], "real": [(1, 1e6), (2, 1.8e6), (4, 3e6)]}
    plot_scaling(tmp_path / "scaling.svg", series, "devices", "throughput (words/s)")
    same, other = (lines(tmp_path / "scaling.svg", colour) for colour in ("#0072b2", "#d55e00"))
    np.testing.assert_allclose(same[0], same[1])
    np.testing.assert_allclose(other[0][0], other[1][0])
    assert other[0][-1, 1] > other[1][-1, 1]  # SVG counts downwards: the real is lower
    assert {"devices", "throughput (words/s)", "1", "2", "4", "1M", "in proportion"} <= set(
        texts(tmp_path / "scaling.svg")
    )
    plot_scaling(tmp_path / "bare.svg", series, "devices", "seconds", ideal=False)
    assert "in proportion" not in texts(tmp_path / "bare.svg")


def test_plane_has_a_point_for_each_object_and_a_colour_for_each_group(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("jaxembed.report.plots._finish", lambda figure, *rest: drawn.append((figure, *rest)))
    places = np.random.default_rng(0).normal(size=(9, 2))
    groups = {"a": np.arange(9) < 4, "b": (np.arange(9) >= 4) & (np.arange(9) < 7)}
    plot_plane(tmp_path / "p.png", {"one": places, "other": -places}, groups, "t")
    figure, *_, extra = drawn[0]
    for axis, sign in zip(figure.axes, (1, -1), strict=True):
        none, *of = [collection.get_offsets() for collection in axis.collections]
        np.testing.assert_allclose(none, sign * places[7:])
        for points, group in zip(of, groups.values(), strict=True):
            np.testing.assert_allclose(points, sign * places[group])
    assert extra["a"]["color"] != extra["b"]["color"]
