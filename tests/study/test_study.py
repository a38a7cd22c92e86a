import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxembed.cli import main
from jaxembed.files import locked
from jaxembed.report.report import report
from jaxembed.study.options import Options
from jaxembed.study.plan import Variant
from jaxembed.study.run import Run
from jaxembed.study.study import Failed, Study
from jaxembed.study.train import train_group
from jaxembed.training.loop import Diverged, Interrupted
from jaxembed.training.settings import Training
from tests.training.toy import Pull

from .tasks import COLUMNS, Toy, study

QUIET = Options(console=False)


def stamps(folder, name="summary.json"):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in sorted(folder.rglob(name))}


def vectors(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("vectors.safetensors"))}


def metrics(folder):
    """All that was logged, times left out."""
    timed = ("train/seconds", "train/tokens_per_second", "time")
    return {
        path.relative_to(folder): [
            {key: value for key, value in json.loads(line).items() if key not in timed and "per_second" not in key}
            for line in path.read_text().splitlines()
            if "final/seconds" not in line
        ]
        for path in sorted(folder.rglob("metrics.jsonl"))
    }


def test_a_study_becomes_tables_and_a_second_run_does_nothing(tmp_path):
    made = study(tmp_path)
    made.run(QUIET)
    before = stamps(tmp_path)
    assert len(before) == 6
    page = report(tmp_path)
    assert "rate 0.05" in page
    assert "wide" in page
    study(tmp_path).run(QUIET)
    assert stamps(tmp_path) == before
    assert not list(tmp_path.glob("runs/*/.checkpoints"))


def test_runs_that_differ_in_numbers_share_a_program_and_are_what_they_are_alone(tmp_path):
    made = study(tmp_path / "together")
    assert [len(group) for group in made.groups()] == [4, 2]
    made.run(QUIET)
    alone = study(tmp_path / "alone", at_once=1)
    assert [len(group) for group in alone.groups()] == [1] * 6
    alone.run(QUIET)
    assert vectors(tmp_path / "together") == vectors(tmp_path / "alone")
    together = Run.open(tmp_path / "together/runs/rate-0.05/seed-2")
    assert together.settings["training"]["learning_rate"] == 0.05
    assert together.environment["seeds_at_once"] == 4
    rates = [line["train/learning_rate"] for line in together.metrics() if "train/learning_rate" in line]
    assert 0.02 < rates[0] < 0.05


def test_another_seed_or_variant_trains_only_what_is_missing(tmp_path):
    study(tmp_path, rates=(0.02,), seeds=(1,)).run(QUIET)
    before = stamps(tmp_path)
    study(tmp_path, seeds=(1, 2)).run(QUIET)
    after = stamps(tmp_path)
    assert len(after) == 6
    assert {path: after[path] for path in before} == before


def test_another_column_is_measured_on_the_vectors_that_are_there(tmp_path, monkeypatch):
    study(tmp_path).run(QUIET)
    before = vectors(tmp_path)
    columns = {**COLUMNS, "extra": "judged/extra"}
    monkeypatch.setattr(Toy, "extra", True)
    study(tmp_path, columns=columns).run(QUIET)
    assert vectors(tmp_path) == before
    for found in map(Run.open, sorted(tmp_path.glob("runs/*/seed-*"))):
        assert found.summary["judged/extra"] == found.vectors().vectors[1, 1]
    assert "extra" in report(tmp_path)


def test_other_settings_are_refused_and_overwritten_only_when_asked(tmp_path):
    study(tmp_path).run(QUIET)
    before = vectors(tmp_path)
    with pytest.raises(ValueError, match=r"finished run with other settings .*noise"):
        study(tmp_path, noise=0.5).run(QUIET)
    assert vectors(tmp_path) == before
    study(tmp_path, noise=0.5).run(Options(console=False, overwrite=True))
    assert not set(before.items()) & set(vectors(tmp_path).items())


class Dies:
    """A tracker from outside, which kills its process at some point."""

    def __init__(self, run, at, act):
        self.run, self.left, self.act = run, at, act

    def start(self, settings):
        pass

    def log(self, values, step):
        self.left -= 1
        if self.left == 0:
            self.act()

    def artifact(self, name, value):
        pass

    def finish(self, summary):
        pass


def kill_in(folder, at, seeds="(1, 2)"):
    """A process that trains the study and dies by SIGKILL in its `at`-th report of the second run of the first group."""
    code = f"""
import os, signal
from tests.study.test_study import Dies, Options, study
act = lambda: os.kill(os.getpid(), signal.SIGKILL)
tracker = lambda run: Dies(run, {at} if run.folder.name == "seed-2" else 0, act)
study({str(folder)!r}, seeds={seeds}).run(Options(console=False, checkpoint_seconds=0, trackers=[tracker]))
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={**os.environ, "JAX_PLATFORMS": "cpu"}, check=False
    )
    assert done.returncode == -signal.SIGKILL


def test_a_killed_study_ends_bit_for_bit_as_if_it_had_never_stopped(tmp_path):
    study(tmp_path / "whole").run(QUIET)
    kill_in(tmp_path / "killed", at=7)
    killed = tmp_path / "killed"
    assert not list(killed.rglob("summary.json"))
    whole = [path for path in killed.glob("runs/*/.checkpoints/*/*") if path.name.isdigit()]
    assert len(whole) >= 2  # and maybe a part of another
    study(killed).run(QUIET)
    assert vectors(killed) == vectors(tmp_path / "whole")
    assert metrics(killed) == metrics(tmp_path / "whole")
    assert Run.open(killed / "runs/rate-0.02/seed-2").environment["resumed"] == 1
    assert not list(killed.glob("runs/*/.checkpoints"))


@pytest.mark.slow
def test_a_killed_group_goes_on_although_a_seed_was_added(tmp_path):
    study(tmp_path / "whole", seeds=(1, 2, 3)).run(QUIET)
    kill_in(tmp_path / "killed", at=7)
    study(tmp_path / "killed", seeds=(1, 2, 3)).run(QUIET)
    assert vectors(tmp_path / "killed") == vectors(tmp_path / "whole")
    resumed = lambda seed: Run.open(tmp_path / f"killed/runs/rate-0.02/seed-{seed}").environment["resumed"]
    assert [resumed(seed) for seed in (1, 2, 3)] == [1, 1, 0]


def test_ctrl_c_saves_and_the_next_call_goes_on(tmp_path):
    study(tmp_path / "whole").run(QUIET)
    once = iter([True])
    interrupt = lambda: os.kill(os.getpid(), signal.SIGINT) if next(once, False) else None
    stopping = Options(console=False, trackers=[lambda run: Dies(run, 5, interrupt)])
    with pytest.raises(Interrupted, match="goes on"):
        study(tmp_path / "stopped").run(stopping)
    study(tmp_path / "stopped").run(QUIET)
    assert vectors(tmp_path / "stopped") == vectors(tmp_path / "whole")
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "whole")


def test_a_tracker_from_outside_sees_everything(tmp_path):
    seen = {}

    class Outside:
        def __init__(self, run):
            self.calls = seen.setdefault(run.folder.name, [])

        def start(self, settings):
            self.calls.append(("start", settings["seed"]))

        def log(self, values, step):
            self.calls.append(("log", {name for name in values if name.startswith(("train/", "epoch/", "judged/"))}))

        def artifact(self, name, value):
            self.calls.append(("artifact", name, len(value)))

        def finish(self, summary):
            self.calls.append(("finish", summary["judged/first"]))

    made = study(tmp_path, rates=())
    runs = train_group(made.runs, Toy(), Options(console=False, trackers=[Outside]))
    for made_run in runs:
        calls = seen[made_run.folder.name]
        assert calls[0] == ("start", made_run.settings["seed"])
        assert calls[-2:] == [("artifact", "tokens", 5), ("finish", made_run.summary["judged/first"])]
        logged = set().union(*(call[1] for call in calls if call[0] == "log"))
        assert {"train/loss", "train/learning_rate", "epoch/loss", "judged/mean"} <= logged


def test_a_run_that_diverges_does_not_stop_the_others(tmp_path):
    with pytest.raises(Diverged, match=r"rate 1e\+30.*seed 1, 2"):
        study(tmp_path, rates=(1e30,)).run(QUIET)
    assert [path.parent.parent.name for path in stamps(tmp_path)] == ["wide", "wide"]
    with pytest.raises(FileNotFoundError, match=r"2 of the 4 runs of toys are missing: rate 1e\+30 seed 1"):
        report(tmp_path)


def test_who_trains_beside_a_run_that_diverges_is_trained_all_the_same(tmp_path):
    made = study(tmp_path, rates=(0.02, 1e30), seeds=(1,))
    assert [len(group) for group in made.groups()] == [2, 1]
    with pytest.raises(Diverged, match=r"^rate 1e\+30: [^;]*seed 1 are not finite[^;]*$"):
        made.run(QUIET)
    alone = study(tmp_path / "alone", rates=(0.02,), seeds=(1,))
    alone.run(QUIET)
    assert vectors(tmp_path / "alone") == {k: v for k, v in vectors(tmp_path).items() if k.parts[0] == "runs"}
    before = stamps(tmp_path / "runs")
    with pytest.raises(Diverged):
        study(tmp_path, rates=(0.02, 1e30), seeds=(1,)).run(QUIET)
    assert stamps(tmp_path / "runs") == before


def test_a_run_that_fails_does_not_stop_the_others_and_is_named_at_the_end(tmp_path, monkeypatch):
    class Full(Toy):
        def product(self, method, params, vectors):
            if len(list(tmp_path.rglob("summary.json"))) == 1:
                raise OSError("the disk is full")
            return super().product(method, params, vectors)

    with monkeypatch.context() as patch:
        patch.setattr(Toy, "settings", lambda self: {"task": "toy"})
        with pytest.raises(Failed, match=r"^rate 0\.02 and 1 more: the disk is full; wide: the disk is full$"):
            study(tmp_path, task=Full()).run(QUIET)
        assert len(stamps(tmp_path)) == 1
        study(tmp_path).run(QUIET)
    assert len(stamps(tmp_path)) == 6


def test_vectors_that_cannot_be_judged_are_kept_and_the_table_has_the_reason(tmp_path):
    class Unjudged(Toy):
        columns = COLUMNS

        def judge(self, vectors):
            raise ValueError("all test labels are 0")

        def pictures(self, vectors):
            raise ValueError("no neighbours")

        def unmeasurable(self):
            return dict.fromkeys(COLUMNS.values(), "all test labels are 0")

    made = study(tmp_path, task=Unjudged(), rates=())
    with pytest.warns(UserWarning, match="cannot be measured|there are no pictures") as told:
        made.run(QUIET)
    first = str(told[0].message)
    assert first == "toy: judged/first, judged/norm cannot be measured: all test labels are 0"
    assert "there are no pictures: no neighbours" in str(told[1].message)
    run = Run.open(tmp_path / "runs/wide/seed-1")
    assert run.summary["judged/first"] is None
    assert np.isfinite(run.vectors().vectors).all()
    page = report(tmp_path)
    assert "**norm of wide could not be measured**: all test labels are 0." in page
    assert "–" in page


def test_a_probe_that_the_data_do_not_allow_does_not_stop_the_training(tmp_path):
    class Unprobed(Toy):
        def probes(self):
            def fails(vectors):
                raise ValueError("one text for all")

            return fails, fails

    with pytest.warns(UserWarning, match="cannot be measured while .* trains: one text for all") as told:
        study(tmp_path, task=Unprobed(), rates=()).run(QUIET)
    assert len(told) == 2  # each probe once
    assert len(stamps(tmp_path)) == 2


def test_other_settings_are_refused_before_anything_is_trained(tmp_path):
    study(tmp_path, rates=(), seeds=(1,)).run(QUIET)
    (tmp_path / "runs/wide/seed-1/summary.json").unlink()  # as if it had been killed
    with pytest.raises(ValueError, match=r"wide/seed-1 holds an unfinished run with other settings .*noise"):
        study(tmp_path, noise=0.5).run(QUIET)
    assert not stamps(tmp_path)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["wide"]


@pytest.mark.slow
def test_a_killed_run_whose_folder_was_removed_begins_anew(tmp_path):
    """Its checkpoint is still there, but a record that begins at the checkpoint would lack all that came before."""
    kill_in(tmp_path, at=7)
    whole = study(tmp_path / "whole")
    whole.run(QUIET)
    shutil.rmtree(tmp_path / "runs/rate-0.02/seed-1")
    study(tmp_path).run(QUIET)
    records = {path: lines for path, lines in metrics(tmp_path).items() if path.parts[0] == "runs"}
    assert records == metrics(tmp_path / "whole")


def names(*variants, tasks=("a",)):
    made = Study("s", "results", dict.fromkeys(tasks, Toy()), variants, (1,), COLUMNS)
    return [run.folder.parent.name for run in made.runs]


def variant(label):
    return Variant(label, Pull(), Training(epochs=1))


@pytest.mark.parametrize(
    ("first", "second"), [("a/b", "a-b"), ("k=1, m=2", "k=1,m=2"), ("x→y", "x←y"), ("→", "run"), ("Big", "big")]
)
def test_labels_that_would_share_a_folder_get_folders_of_their_own(first, second):
    both = names(variant(first), variant(second))
    assert len({name.casefold() for name in both}) == 2
    assert names(variant(second), variant(first)) == both[::-1]


def test_tasks_and_labels_that_would_share_a_folder_get_folders_of_their_own():
    two = (replace(variant("c"), data="a-b"), variant("b-c"))
    assert len(set(names(*two, tasks=("a", "a-b")))) == 3
    with pytest.raises(ValueError, match="two lines of the table of s would be called 'toy: b: c'"):
        names(replace(variant("b: c"), data="a"), variant("c"), tasks=("a", "toy: b"))


def test_lines_of_one_dataset_that_is_read_in_two_ways_stand_together():
    """Bold and significance concern lines with the same data; a variant with a task of its own has a label of its own."""
    two = (replace(variant("plain"), data="a"), replace(variant("rich"), data="a-2"))
    made = Study("s", "results", {"a": Toy(), "a-2": Toy()}, two, (1,), COLUMNS)
    assert [made._label(run) for run in made.runs] == ["plain", "rich"]
    assert {made._data(run) for run in made.runs} == {"toy"}


def test_a_long_label_has_a_folder_that_every_file_system_takes(tmp_path):
    long = [variant("é" * 150), variant("é" * 150 + "a")]
    both = names(*long)
    assert len(set(both)) == 2
    assert all(len(name.encode()) <= 200 for name in both)
    (tmp_path / both[0]).mkdir()


def test_recorded_folders_keep_their_names():
    labels = ("simclr/infonce", "words/infonce, batch_size=1024, temperature=0.02", "barlow_twins, learning_rate=0.001")
    assert names(*map(variant, labels)) == [
        "simclr-infonce", "words-infonce-batch_size=1024-temperature=0.02", "barlow_twins-learning_rate=0.001",
    ]  # fmt: skip


def test_seeds_of_numpy_are_seeds(tmp_path):
    study(tmp_path, rates=(), seeds=np.arange(2)).run(QUIET)
    assert "wide" in report(tmp_path)
    assert Run.open(tmp_path / "runs/wide/seed-0").settings["seed"] == 0


def test_a_variant_has_seeds_of_its_own_and_the_table_says_so(tmp_path):
    first, *others = study(tmp_path).variants
    few = replace(first, seeds=(1,))
    made = replace(study(tmp_path), variants=[few, *others])
    made.run(QUIET)
    assert [run.seed for run in made.runs if run.variant is few] == [1]
    page = report(tmp_path)
    assert f"over seeds 1, 2 ({few.label}: 1)" in page
    assert "UNEVEN" not in page
    study(tmp_path).run(QUIET)  # the seed that it lacked is trained
    assert "over seeds 1, 2." in report(tmp_path)
    with pytest.raises(ValueError, match=r"the seeds \[7\], which the study toys lacks"):
        replace(study(tmp_path), variants=[replace(few, seeds=(1, 7))])


def test_two_processes_do_not_train_the_same(tmp_path):
    with (
        locked(tmp_path / ".lock", "held"),
        pytest.raises(BlockingIOError, match="another process is training this study"),
    ):
        study(tmp_path).run(QUIET)
    study(tmp_path).run(QUIET)


def test_a_dry_run_tells_what_it_would_cost_and_trains_nothing(tmp_path):
    made = study(tmp_path)
    told = made.dry_run()
    assert not list(tmp_path.rglob("*"))
    assert "6 of 6 runs to train in 2 groups" in told
    lines = told.splitlines()
    assert "80" in lines[1]  # 5 rows of 16 numbers
    assert "48" in lines[1]  # 96 tokens in steps of 4, twice
    made.run(QUIET)
    assert "0 of 6 runs to train" in made.dry_run()
    assert made.dry_run().count("finished") == 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": ()}, "nothing to train"),
        ({"seeds": (1, 1)}, "a seed stands twice"),
        ({"rates": (0.1, 0.1)}, "two variants .* are called 'rate 0.1'"),
        ({"seeds": (1, 2**32 + 1)}, "from 0 to 4294967295, not 4294967297"),
        ({"seeds": (-1,)}, "a whole number from 0 to 4294967295, not -1"),
        ({"seeds": (1.0,)}, "not 1.0"),
    ],
)
def test_a_study_that_makes_no_sense(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        study(tmp_path, **settings)


def test_what_cannot_be_measured_leaves_a_gap_and_no_error(tmp_path):
    """A corpus that no benchmark covers."""

    class Uncovered(Toy):
        def judge(self, vectors):
            return {"judged/first": None, "judged/norm": 1.0}

    study(tmp_path, task=Uncovered()).run(QUIET)
    assert Run.open(tmp_path / "runs/wide/seed-1").summary["judged/first"] is None
    assert "–" in report(tmp_path)


def test_a_profile_is_written_where_tensorboard_looks_for_it(tmp_path):
    made = study(tmp_path, rates=())
    train_group(made.runs, Toy(), Options(console=False, profile=True))
    traces = list((tmp_path / "runs/wide/seed-1/plugins/profile").glob("*/*.xplane.pb"))
    assert len(traces) == 1
    assert b"jit" in traces[0].read_bytes()


def test_the_report_is_made_from_the_command_line(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 1
    assert "study.json" in capsys.readouterr().err
    study(tmp_path).run(QUIET)
    assert main(["report", str(tmp_path)]) == 0
    assert "rate 0.05" in capsys.readouterr().out
    (tmp_path / "runs/wide/seed-1/summary.json").unlink()
    assert main(["report", str(tmp_path)]) == 1
    assert "wide seed 1" in capsys.readouterr().err
    assert main(["report", str(tmp_path), "--partial"]) == 0
    assert "PARTIAL" in capsys.readouterr().out


def test_vectors_digest_is_of_the_vectors(tmp_path):
    made = study(tmp_path, rates=())
    first, second = train_group(made.runs, Toy(), QUIET)
    assert first.environment["vectors_digest"] != second.environment["vectors_digest"]
    assert np.isfinite(first.vectors().vectors).all()
