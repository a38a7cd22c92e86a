"""Equal tuning: as many trials for each variant, the best by a dev figure trained, and nothing chosen by what is reported."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from jaxembed.report.report import report
from jaxembed.study.options import Options
from jaxembed.study.plan import Variant
from jaxembed.study.run import Run
from jaxembed.study.study import Failed, Study
from jaxembed.training.settings import Training
from tests.training.toy import Pull

from .tasks import Toy

QUIET = Options(console=False)
RATES = (0.01, 0.04, 0.02)


@dataclass(frozen=True)
class Dev(Toy):
    """The toy task with a figure to choose by: the negative square of what is left to pull."""

    columns: ClassVar = {"norm": "judged/norm"}

    def judge(self, vectors):
        figures = super().judge(vectors)
        return {**figures, "judged/norm-dev": figures["judged/norm"]}


def study(folder, **changes):
    training = Training(epochs=2, reports=10)
    variants = [
        Variant("small", Pull(pieces=2), training),
        Variant("wide", Pull(batch_size=8), training),
        Variant("own", Pull(batch_size=12), training, tune={"learning_rate": (0.1, 0.2, 0.3)}),
    ]
    settings = {
        "name": "toys", "folder": folder, "tasks": {"toy": Dev()}, "variants": variants, "seeds": (1, 2),
        "columns": Dev.columns, "tune": {"learning_rate": RATES}, "select": "judged/norm-dev",
    }  # fmt: skip
    return Study(**{**settings, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("lower", [False, True])
def test_each_variant_has_as_many_trials_and_the_best_by_the_dev_figure_is_trained(tmp_path, lower):
    made = study(tmp_path, lower_is_better=["norm"] if lower else [])
    made = replace(made, select="judged/norm-dev", columns={**Dev.columns, "norm": "judged/norm-dev"})
    made.run(QUIET)
    trials = made.trials
    assert [len(group) for group in trials.groups()] == [3, 3, 3]  # the rates of a variant share a program
    assert {run.seed for run in trials.runs} == {0}
    for label, rates in {"small": RATES, "wide": RATES, "own": (0.1, 0.2, 0.3)}.items():
        runs = [Run.open(run.folder) for run in trials.runs if run.variant.label.startswith(f"{label}, ")]
        figures = {run.settings["training"]["learning_rate"]: run.summary["judged/norm-dev"] for run in runs}
        assert sorted(figures) == sorted(rates)
        assert len(set(figures.values())) == 3
        best = (min if lower else max)(figures, key=figures.get)
        for seed in (1, 2):
            run = Run.open(tmp_path / "runs" / label / f"seed-{seed}")
            assert run.settings["training"]["learning_rate"] == best
        assert f"{label} learning_rate {best:g}" in report(tmp_path)
    assert "9 trials" not in report(tmp_path)
    assert "had 3 trials over learning_rate, with seed 0" in report(tmp_path)


@pytest.mark.parametrize("lower", [[], ["norm"], ["other"]])
def test_the_table_of_trials_has_their_figure_alone_and_its_direction(tmp_path, lower):
    made = study(tmp_path, lower_is_better=lower, columns={**Dev.columns, "other": "judged/other"}, unranked=["other"])
    trials = made.trials
    trials.declare()
    report(trials.folder, allow_missing=True)  # what is declared can be read
    assert list(trials.columns.values()) == ["judged/norm-dev"]
    assert list(trials.lower_is_better) == ([*trials.columns] if lower == ["norm"] else [])
    assert not trials.unranked


@pytest.mark.slow
def test_a_second_call_trains_nothing_and_what_was_picked_is_kept(tmp_path):
    study(tmp_path).run(QUIET)
    stamps = lambda: {path: path.stat().st_mtime_ns for path in tmp_path.rglob("summary.json")}
    before = stamps()
    assert len(before) == 9 + 6
    study(tmp_path).run(QUIET)
    assert stamps() == before
    assert "0 of 9 runs to train" in study(tmp_path).dry_run()


def test_a_trial_that_diverges_is_not_picked(tmp_path):
    small = Variant("small", Pull(pieces=2), Training(epochs=2))
    with pytest.warns(UserWarning, match="diverged and are not picked"):
        study(tmp_path, variants=[small], tune={"learning_rate": (1e30, 0.02)}).run(QUIET)
    assert Run.open(tmp_path / "runs/small/seed-1").settings["training"]["learning_rate"] == 0.02


def test_a_variant_whose_trials_all_fail_does_not_stop_the_others(tmp_path, monkeypatch):
    product = Dev.product

    def broken(self, method, params, vectors):
        if method.batch_size == 8:
            raise OSError("no room")
        return product(self, method, params, vectors)

    monkeypatch.setattr(Dev, "product", broken)
    with pytest.raises(Failed, match="no room"):
        study(tmp_path).run(QUIET)
    for label in ("small", "own"):
        assert Run.open(tmp_path / "runs" / label / "seed-1").finished


def test_unlike_budgets_and_figures_that_are_no_choice_are_refused(tmp_path):
    (small, *_) = study(tmp_path).variants
    with pytest.raises(ValueError, match=r"same number of trials.* small 3, two 2"):
        study(tmp_path, variants=[small, replace(small, label="two", tune={"learning_rate": (0.1, 0.2)})])
    for select in ("judged/norm", "", "judged/nrm-dev"):
        with pytest.raises(ValueError, match=r"select names the figure .*\(judged/norm-dev\), not"):
            study(tmp_path, select=select)
    with pytest.raises(ValueError, match=r"unknown setting of small to tune 'learning_rat'.*learning_rate"):
        study(tmp_path, tune={"learning_rat": (1,)})
    with pytest.raises(ValueError, match="names its own"):
        study(tmp_path, tasks={"a": Dev(), "b": Dev("b")})
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_is_not_trained_has_no_trials(tmp_path, monkeypatch):
    @dataclass(frozen=True)
    class Still(Pull):
        trained = False

    made = study(tmp_path)
    made = replace(made, variants=[made.variants[0], Variant("still", Still(pieces=2), Training(epochs=1))])
    assert len(made.trials.runs) == 3
    made.run(QUIET)
    assert np.isfinite(Run.open(tmp_path / "runs/still/seed-1").summary["judged/norm"])
    assert "still" not in report(tmp_path).partition("Equal tuning")[2].partition("Trials:")[0]
