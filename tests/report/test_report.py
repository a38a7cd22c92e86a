import csv
import json
import shutil

import numpy as np
import pytest
from scipy import stats

from jaxembed.report import report as report_module
from jaxembed.report.record import read_study
from jaxembed.report.report import report
from jaxembed.study.run import Run

COLUMNS = {"simlex999": "similarity/simlex999", "loss": "final/loss"}
SEEDS = (1, 2, 3)
SCORES = {"one": (0.30, 0.32, 0.31), "two": (0.40, 0.43, 0.41), "three": (0.39, 0.43, 0.415)}
LOSSES = {"one": (2.0, 2.1, 2.2), "two": (1.0, 1.1, 1.3), "three": (3.0, 3.1, 3.2)}
ENVIRONMENT = {
    "command": "python -m experiments.compare --preset smoke",
    "commit": "abc123",
    "dirty": False,
    "versions": {"python": "3.11.7", "jax": "0.10.2"},
    "device": {"kind": "cpu", "count": 1},
    "machine": {"cpu": "AMD EPYC", "cores": 2},
    "train_seconds": 9.0,
    "seeds_at_once": 3,
}


def write_run(folder, seed, summary, environment=None, fingerprint="f00d", metrics=()):
    folder.mkdir(parents=True)
    written = {
        "settings": {"data_fingerprint": fingerprint, "seed": seed},
        "environment": ENVIRONMENT | (environment or {}),
        "summary": summary,
    }
    for name, content in written.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))


def declare(folder, labels, seeds=SEEDS, data="enwik8-small", **others):
    """A study.json, as `jaxembed.study.study.Study` writes it."""
    runs = [
        {
            "folder": f"runs/{label}/seed-{seed}",
            "label": label,
            "seed": seed,
            "factors": {"method": label, "data": data},
        }
        for label in labels
        for seed in seeds
    ]
    declared = {
        "name": "a_study", "title": "A study", "columns": COLUMNS, "lower_is_better": ["loss"], "curves": ["dev"],
        "notes": ["A note."], "runs": runs,
    }  # fmt: skip
    (folder / "study.json").write_text(json.dumps(declared | others))


@pytest.fixture
def study(tmp_path):
    for label, scores in SCORES.items():
        for place, seed in enumerate(SEEDS):
            summary = {"similarity/simlex999": scores[place], "final/loss": LOSSES[label][place]}
            metrics = [
                {"step": 10, "train/seconds": 3.0 * (place + 1), "dev": 0.1 * (place + 1)},
                {"step": 20, "train/seconds": 6.0 * (place + 1)},
                {"step": 15, "dev": 0.5},
                {"step": 20 + place, "dev": 0.9},
            ]
            write_run(
                tmp_path / "runs" / label / f"seed-{seed}",
                seed,
                summary | {"final/words_per_second": 2e6},
                metrics=metrics,
            )
    declare(tmp_path, SCORES)
    return tmp_path


def csv_rows(folder):
    with open(folder / "results.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def line_of(page, label):
    return next(line for line in page.splitlines() if line.startswith(f"| {label} "))


def change(folder, name, **values):
    path = folder / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_table_has_mean_interval_and_marks(study):
    page = report(study)
    half = stats.t.ppf(0.975, 2) * stats.sem(SCORES["one"])
    assert f"0.310 ± {half:.3f} |" in line_of(page, "one")
    assert "**0.413 ± 0.038**" in line_of(page, "two")
    assert "0.412 ± 0.050 |" in line_of(page, "three")
    assert "†" not in page  # a test with 3 seeds has too little power
    assert "**1.133 ± 0.379**" in line_of(page, "two")  # of losses, the least
    assert "loss ↓" in page
    assert line_of(page, "two").replace("|", " ").split()[-3:] == ["2.00", "M", "3.0"]
    for said in ("seeds 1, 2, 3", "fewer than 5 seeds", "A note.",
                 "enwik8-small, fingerprint f00d", "1 x cpu, AMD EPYC",
                 "Commit: abc123.", "jax 0.10.2", f"`{ENVIRONMENT['command']}`"):  # fmt: skip
        assert said in page
    assert "not comparable" not in page
    assert (study / "table.md").read_text(encoding="utf-8") == page
    assert {"quality.png", "curves.png", "table.tex"} <= {path.name for path in study.iterdir()}
    assert r"\label{tab:a_study}" in (study / "table.tex").read_text(encoding="utf-8")


def test_with_five_seeds_what_is_not_worse_has_a_dagger(study):
    seeds, more = (1, 2, 3, 4, 5), {"one": (0.31, 0.30), "two": (0.42, 0.40), "three": (0.42, 0.41)}
    for label, scores in more.items():
        for seed, score in zip((4, 5), scores, strict=True):
            write_run(study / "runs" / label / f"seed-{seed}", seed, {"similarity/simlex999": score})
    declare(study, SCORES, seeds=seeds)
    page = report(study)
    two, one = ([*SCORES[label], *more[label]] for label in ("two", "one"))
    assert stats.ttest_rel(two, one).pvalue * 2 < 0.05
    assert "†" not in line_of(page, "one")
    assert line_of(page, "three").count("†") + line_of(page, "two").count("†") == 1
    assert "n = 5" in page


def test_runs_judged_by_different_revisions_are_not_mixed(study):
    settings = lambda label, seed, judged: change(
        study / f"runs/{label}/seed-{seed}", "settings", judged_fingerprint=judged
    )
    settings("one", 1, "0123")
    report(study)  # the others do not say
    settings("two", 2, "4567")
    with pytest.raises(
        ValueError, match=r"judged by different revisions of it: 0123 \(one seed 1\); 4567 \(two seed 2\)"
    ):
        report(study)


def test_why_a_figure_is_missing_stands_under_the_table(study):
    for seed in SEEDS:
        change(study / f"runs/two/seed-{seed}", "summary", **{"similarity/simlex999": None})
        change(study / f"runs/two/seed-{seed}", "environment", unmeasured={"similarity/simlex999": "one pair"})
    page = report(study)
    assert "**simlex999 of two could not be measured**: one pair." in page
    assert line_of(page, "two").split("|")[2].strip() == "–"


def test_a_column_without_better_and_worse_has_no_marks(study):
    change(study, "study", unranked=["simlex999"])
    line = line_of(report(study), "two")
    assert "| 0.413 ± 0.038 |" in line
    assert "**1.133 ± 0.379**" in line
    assert r"0.413 $\pm$ 0.038 &" in (study / "table.tex").read_text(encoding="utf-8")


def test_the_csv_is_tidy(study):
    report(study)
    rows = csv_rows(study)
    assert list(rows[0]) == [
        "label", "method", "data", "seed", "benchmark", "value", "train_seconds", "seeds_at_once", "words_per_second",
        "data_fingerprint", "commit", "folder", "state",
    ]  # fmt: skip
    assert len(rows) == len(SCORES) * len(SEEDS) * len(COLUMNS)
    declared = {
        (row["label"], int(row["seed"])): float(row["value"]) for row in rows if row["benchmark"] == "simlex999"
    }
    assert declared == {(label, seed): scores[i] for label, scores in SCORES.items() for i, seed in enumerate(SEEDS)}


def test_a_report_is_the_same_when_made_again(study):
    report(study)
    first = {path.name: path.read_bytes() for path in study.iterdir() if path.is_file()}
    report(study)
    assert {path.name: path.read_bytes() for path in study.iterdir() if path.is_file()} == first


def test_curves_are_means_over_the_steps_that_all_seeds_told(study, monkeypatch):
    drawn = {}
    monkeypatch.setattr(report_module.plots, "plot_curves", lambda path, panels, x_label, title: drawn.update(panels))
    report(study)
    curve = drawn["dev"]["one"]
    # Seconds: a third of (3, 6, 9) at step 10; at 15 halfway to twice that. Step 20 and later are of one seed each.
    np.testing.assert_allclose(curve.x, [2.0, 3.0])
    np.testing.assert_allclose(curve.mean, [0.2, 0.5])
    np.testing.assert_allclose(curve.half_width, [stats.t.ppf(0.975, 2) * stats.sem([0.1, 0.2, 0.3]), 0], atol=1e-12)


def test_missing_runs_are_refused_by_name(study):
    shutil.rmtree(study / "runs/one/seed-2")
    (study / "runs/three/seed-3/summary.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"2 of the 9 runs .* one seed 2 \(missing\), three seed 3 \(unfinished\)"
    ) as error:
        report(study)
    assert ENVIRONMENT["command"] in str(error.value)
    assert not (study / "table.md").exists()


def test_missing_runs_are_told_in_every_output(study, monkeypatch):
    shutil.rmtree(study / "runs/one")
    (study / "runs/three/seed-3/summary.json").unlink()
    titles = []
    for name in ("plot_quality", "plot_curves"):
        monkeypatch.setattr(report_module.plots, name, lambda *arguments: titles.append(arguments[-1]))
    page = report(study, allow_missing=True)
    loud = "PARTIAL: 4 of 9 runs are missing: one seed 1, one seed 2, one seed 3, three seed 3."
    assert f"> **{loud}**" in page
    assert loud in (study / "table.tex").read_text(encoding="utf-8")
    assert ["PARTIAL: 4 of 9" in title for title in titles] == [True, True]
    assert "–" in line_of(page, "one")
    assert "No test of significance" in page
    states = [(row["state"], row["value"]) for row in csv_rows(study) if row["label"] == "three" and row["seed"] == "3"]
    assert states == [("unfinished", ""), ("unfinished", "")]
    assert len(csv_rows(study)) == 18


def test_a_study_of_which_nothing_is_finished(study):
    shutil.rmtree(study / "runs")
    page = report(study, allow_missing=True)
    assert "PARTIAL: 9 of 9" in page
    assert line_of(page, "two").count("–") == 3


def test_other_seeds_are_refused_or_told(study):
    declared = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps(declared | {"runs": declared["runs"][:-1]}))
    with pytest.raises(ValueError, match=r"not have the same seeds .*three: 1, 2\): run all with the same"):
        report(study)
    assert "UNEVEN: the labels do not have the same seeds" in report(study, allow_missing=True)


def test_data_revisions_are_not_mixed(study):
    change(study / "runs/two/seed-3", "settings", data_fingerprint="beef")
    for allowed in (False, True):
        with pytest.raises(
            ValueError, match=r"different revisions of it: f00d \(one seed 1.*; beef \(two seed 3\)\. Remove"
        ):
            report(study, allow_missing=allowed)


def test_tasks_that_read_one_dataset_in_their_own_ways_stand_in_one_table(study):
    for seed in SEEDS:
        change(study / f"runs/two/seed-{seed}", "settings", data_fingerprint="beef", task={"inductive": True})
    assert "| two" in report(study)
    change(study / "runs/two/seed-3", "settings", data_fingerprint="cafe")
    with pytest.raises(
        ValueError, match=r"trained on different revisions of it: beef \(two seed 1, two seed 2\); cafe"
    ):
        report(study)


def test_labels_are_compared_on_the_same_data_only(study):
    declared = json.loads((study / "study.json").read_text())
    for run in declared["runs"]:
        if run["label"] == "one":
            run["factors"]["data"] = "other"
    (study / "study.json").write_text(json.dumps(declared))
    for seed in SEEDS:
        change(study / f"runs/one/seed-{seed}", "settings", data_fingerprint="beef")
    page = report(study)
    assert not {"**", "†"} & set(line_of(page, "one").split())
    assert "Bold: the best mean of those on the same data." in page
    assert "Data: other, fingerprint beef; enwik8-small, fingerprint f00d." in page


def test_a_run_of_another_seed_is_refused(study):
    change(study / "runs/two/seed-3", "settings", seed=4)
    with pytest.raises(ValueError, match=r"two/seed-3 should be a run of seed 3 and is of 4: remove it"):
        report(study)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"runs": []}, "names no runs"),
        ({"runs": [{"label": "one"}]}, "lacks 'seed'"),
        ({"columns": 3}, "no study's record"),
        ({"lower_is_better": ["los"]}, "lower_is_better names los, but the columns are simlex999, loss"),
        ({"unranked": ["los"]}, "unranked names los"),
    ],
)
def test_a_broken_study_is_told(study, broken, message):
    change(study, "study", **broken)
    with pytest.raises(ValueError, match=message):
        report(study)


def test_a_folder_without_a_study_is_told(study):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        report(study / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds 9 runs but no study: an experiment writes"):
        report(study / "runs")
    (study / "study.json").write_text("{")
    with pytest.raises(ValueError, match=r"study\.json is no study's record .* start the study's command again"):
        report(study)


def test_labels_and_factors_must_be_tellable_apart(study):
    declared = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps(declared | {"runs": [*declared["runs"], declared["runs"][0]]}))
    with pytest.raises(ValueError, match="several runs called one seed 1"):
        report(study)
    declared["runs"][0]["factors"]["value"] = 3
    (study / "study.json").write_text(json.dumps(declared))
    with pytest.raises(ValueError, match="factor of a_study may not be called value"):
        report(study)


def test_a_figure_that_some_runs_lack(study):
    (study / "runs/two/seed-1/summary.json").write_text('{"final/loss": "NaN"}')
    (study / "runs/two/seed-2/summary.json").write_text('{"similarity/simlex999": null, "final/loss": 1.0}')
    page = report(study)
    assert "**simlex999 of two is over 1 of 3 runs**" in page
    assert "**loss of two is over 2 of 3 runs**" in page
    assert (
        next(row["value"] for row in csv_rows(study) if row["label"] == "two" and row["benchmark"] == "loss") == "nan"
    )


def test_without_any_column_or_curve(study):
    report(study)
    change(study, "study", columns={}, lower_is_better=[], curves=[])
    page = report(study)
    assert line_of(page, "two") == "| two   |  2.00 M |     3.0 |"
    assert not (study / "quality.png").exists()  # that of the study as it was would mislead
    assert not (study / "curves.png").exists()
    assert [row["value"] for row in csv_rows(study)] == [""] * 9
    change(study, "study", columns={"nowhere": "no/key"})
    assert line_of(report(study), "two").split("|")[2].strip() == "–"


def test_one_seed_is_not_tested(study):
    declare(study, SCORES, seeds=(1,))
    page = report(study)
    assert "One seed (1): no interval and no test of significance." in page
    assert "†" not in page
    assert "**0.400**" in line_of(page, "two")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"seeds_at_once": 1}, "differ in trained at once."),
        ({"device": {"kind": "H100", "count": 1}}, "differ in device."),
        ({"dirty": True}, "differ in commit. Figures are"),
        ({"versions": {"jax": "0.11.1"}}, "differ in versions. Figures are"),
    ],
)
def test_mixed_environments_are_told(study, environment, said):
    change(study / "runs/two/seed-3", "environment", **environment)
    page = report(study)
    assert f"**Times are not comparable**: the runs {said}" in page
    assert "(8 runs)" in page


def test_other_units_have_speeds_too(study):
    for path in study.glob("runs/*/*/summary.json"):
        path.write_text(json.dumps({"final/images_per_second": 5e3, "final/loss": 1.0}))
    page = report(study)
    assert "images/s" in page
    assert "5.0 k" in line_of(page, "one")
    assert csv_rows(study)[0]["images_per_second"] == "5000.0"


def test_what_run_writes_is_what_is_read(tmp_path):
    declare(tmp_path, ["one"], seeds=(1,))
    with Run.create(tmp_path / "runs/one/seed-1", {"seed": 1, "data_fingerprint": "f00d"}) as run:
        run.tracker().log({"dev": 0.5, "train/seconds": 1.0}, 1)
        run.note(train_seconds=2.0, seeds_at_once=4)
        run.finish({"similarity/simlex999": 0.3, "final/loss": float("inf")})
    (entry,) = read_study(tmp_path).entries
    assert (entry.state, entry.seconds, entry.figure("final/loss")) == ("finished", 0.5, float("inf"))
    assert "0.300" in report(tmp_path)
