"""The experiments from command line to table, at their smoke presets or smaller."""

import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from experiments import (
    ablate,
    compare_objectives,
    contrastive_image_text,
    contrastive_images,
    contrastive_sentences,
    documents,
    graphs,
    knowledge_graphs,
    language,
    positions,
    rare_words,
    recommendations,
)
from jaxembed.study.run import Run

needs_data = pytest.mark.skipif(
    not os.environ.get("JAXEMBED_DATA"), reason="JAXEMBED_DATA does not name the folder of the datasets"
)
EXPERIMENTS = [
    ablate.EXPERIMENT, compare_objectives.EXPERIMENT, contrastive_image_text.EXPERIMENT, contrastive_images.EXPERIMENT,
    contrastive_sentences.EXPERIMENT, documents.EXPERIMENT, graphs.EXPERIMENT, knowledge_graphs.EXPERIMENT,
    language.EXPERIMENT, positions.EXPERIMENT, rare_words.EXPERIMENT,
    recommendations.EXPERIMENT,
]  # fmt: skip


def table(module, folder, **changes):
    experiment = module.EXPERIMENT
    asked, preset, _ = experiment.parse(["--preset", "smoke", "--results", str(folder), "--seeds", "1"])
    experiment.run(asked, preset, changes)
    return (folder / "table.md").read_text()


@pytest.mark.slow
def test_images_by_the_command_line_on_what_is_shipped(tmp_path):
    command = [sys.executable, "-m", "experiments.contrastive_images", "--preset", "smoke", "--results", str(tmp_path)]
    settings = ["--seeds", "1", "--max-images", "256", "--contenders", "pixels", "simclr/infonce"]
    done = subprocess.run([*command, *settings], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "| simclr/infonce |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "runs/simclr-infonce/seed-1/retrieval.png").exists()
    wrong = subprocess.run([*command, "--contenders", "simclr/infonse"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "did you mean 'infonce'" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.slow
@needs_data
def test_sentences(tmp_path):
    text = table(contrastive_sentences, tmp_path, **{"start.max_words": 20_000})
    assert "| bag/infonce" in text
    assert "STS-B" in text


@pytest.mark.slow
def test_knowledge_graphs(tmp_path):
    written = table(knowledge_graphs, tmp_path, epochs=1, vector_size=8)
    assert "dev MRR" in written
    for label in knowledge_graphs.ALL:
        assert Run.open(tmp_path / "runs" / label / "seed-1").summary["ranking/mrr"] > 0


@pytest.mark.slow
def test_language(tmp_path):
    text = table(language, tmp_path, max_tokens=20_000)
    assert "perplexity per word" in text
    assert "| bert/softmax" in text


@pytest.mark.slow
def test_positions(tmp_path):
    assert "perplexity at 32" in table(positions, tmp_path, max_tokens=20_000)


@pytest.mark.slow
def test_documents(tmp_path):
    text = table(documents, tmp_path, max_words=20_000)
    assert "self@1" in text
    assert "accuracy" not in text  # the shipped text has no classes
    assert "| doc2vec_dm/negative_sampling" in text


@pytest.mark.slow
def test_graphs_in_parts_with_a_picture_of_the_nodes(tmp_path):
    line = f"--preset cora --results {tmp_path} --data karate --seeds 1 --epochs 1 --contenders graphsage_mean "
    line += "graphsage_inductive"
    asked, preset, changes = graphs.EXPERIMENT.parse(line.split())
    graphs.EXPERIMENT.run(asked, preset, changes)
    text = (tmp_path / "table.md").read_text()
    assert "dev accuracy" in text
    assert "are not seen in training" in text
    assert (tmp_path / "nodes.png").stat().st_size > 5000


@pytest.mark.slow
@needs_data
def test_image_text(tmp_path):
    text = table(contrastive_image_text, tmp_path, max_images=128)
    assert "| clip/infonce" in text
    assert (tmp_path / "runs/clip-infonce/seed-1/retrieval-text-to-image.png").exists()


@pytest.mark.slow
def test_recommendations_on_what_is_shipped(tmp_path):
    experiment = recommendations.EXPERIMENT
    line = f"--preset smoke --results {tmp_path} --seeds 1 --epochs 1 --contenders popularity gf_cf mf/bpr".split()
    asked, preset, changes = experiment.parse(line)
    experiment.run(asked, preset, changes)
    text = (tmp_path / "table.md").read_text()
    assert "mf/bpr" in text
    assert "nDCG@20" in text


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.name)
def test_every_preset_declares_a_study(experiment):
    for preset in experiment.presets.values():
        made = experiment.study(preset)
        labels = [variant.label for variant in made.variants]
        assert len(made.runs) == sum(len(variant.seeds or preset.seeds) for variant in made.variants)
        assert len(set(labels)) == len(labels)
        assert (len(labels) > len(preset.contenders)) == bool(preset.vary)
        assert made.columns


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.name)
def test_what_was_recorded_is_what_the_presets_declare(experiment):
    """Runs under results/ are those of today's presets, so that a second call trains nothing."""
    import json

    from jaxembed.study.recorded import differences
    from jaxembed.study.run import Run
    from jaxembed.study.values import as_json

    for preset in experiment.presets.values():
        made = experiment.study(preset)
        made = made.picked() if made.tune else made  # by the trials, which are recorded as well
        for run in made.runs:
            try:
                old = Run.open(run.folder).settings
            except FileNotFoundError:
                continue
            now = {
                **made.settings, "label": run.variant.label, **run.variant.factors, "data": run.task,
                "data_fingerprint": old["data_fingerprint"], "task": made.tasks[run.task], "method": run.variant.method,
                "training": run.variant.training, "seed": run.seed,
            }  # fmt: skip
            assert differences(old, json.loads(json.dumps(as_json(now)))) == [], run.folder


TUNED = [(experiment, name) for experiment in EXPERIMENTS for name, one in experiment.presets.items() if one.tune]


@pytest.mark.parametrize(("experiment", "name"), TUNED, ids=lambda one: getattr(one, "name", one))
def test_contenders_are_tuned_alike_on_data_that_are_set_apart(experiment, name):
    preset = experiment.presets[name]
    made = experiment.study(preset)
    budget = math.prod(len(axis.partition("=")[2].split(",")) for axis in preset.tune)
    assert budget > 2
    assert all(task.half(made.select) == "dev" for task in made.tasks.values())
    assert all(task.validation > 0 for task in made.tasks.values() if hasattr(task, "validation"))
    for variant in made.variants:
        own = [one.training.learning_rate for one in made.trials.variants if one.label.startswith(f"{variant.label}, ")]
        assert len(own) == (budget if variant.method.trained else 0), variant.label
        # A contender's own rate lies within the range that is tried, so that the range suits it.
        assert not own or min(own) <= variant.training.learning_rate <= max(own), variant.label


def test_a_table_says_what_settings_are_chosen_on():
    for experiment, what, name in (
        (contrastive_images.EXPERIMENT, "images", "objectives"),
        (contrastive_image_text.EXPERIMENT, "pictures", "cpu"),
    ):
        notes = lambda changes, experiment=experiment, name=name: " ".join(
            experiment.study(experiment.presets[name], changes).notes
        )
        assert f"No {what} are set apart" in notes({"validation": 0.0})
        assert f"10% of the training data are set apart and not trained on; only figures on these {what}" in notes({})


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.name)
def test_what_runs_without_a_preset_is_for_a_cpu(experiment):
    assert experiment.parse([])[0].preset not in ("gpu", "cifar10", "accelerator")


def test_the_objectives_of_every_kind_of_encoder_have_a_preset_that_tunes_them():
    assert {experiment.name for experiment, _ in TUNED} >= {
        "compare_objectives", "contrastive_images", "contrastive_sentences", "contrastive_image_text", "knowledge_graphs",
    }  # fmt: skip


def test_a_label_that_is_not_known_is_told():
    smoke = contrastive_images.PRESETS["smoke"]
    with pytest.raises(ValueError, match="unknown recipe 'nothing'"):
        contrastive_images.EXPERIMENT.study(replace(smoke, contenders=("nothing",)))
    with pytest.raises(ValueError, match="unknown setting 'objective'"):
        compare_objectives.EXPERIMENT.base("glove/infonce")
    with pytest.raises(ValueError, match="unknown objective"):
        compare_objectives.EXPERIMENT.base("cbow/nce")


def test_presets_can_be_overridden():
    experiment = compare_objectives.EXPERIMENT
    line = [
        "--preset",
        "smoke",
        "--seeds",
        "7",
        "8",
        "9",
        "--results",
        "elsewhere",
        "--window",
        "3",
        "--contenders",
        "glove",
    ]
    _, preset, changes = experiment.parse(line)
    assert preset.seeds == (7, 8, 9)
    assert str(preset.results) == "elsewhere"
    (run, *_) = experiment.study(preset, changes).runs
    assert (run.variant.method.window, run.variant.method.vector_size, run.variant.training.epochs) == (3, 32, 2)
    assert experiment.parse([])[1] == experiment.presets["enwik8"]
    assert experiment.contender("glove", experiment.presets["enwik8"]).method.window == 10


def test_the_help_tells_what_each_setting_means(capsys):
    with pytest.raises(SystemExit):
        contrastive_images.EXPERIMENT.parse(["--help"])
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for line in ("NAME=VALUE,VALUE,... of any setting", "Widths of the head's layers", "Train finished runs anew"):
        assert line in told


@pytest.mark.slow
def test_everything_lies_under_the_results_folder_and_a_second_run_trains_nothing(tmp_path, capsys):
    experiment = compare_objectives.EXPERIMENT
    line = f"--preset smoke --results {tmp_path} --max-words 20000 --vector-size 8 --epochs 1".split()
    line += ["--contenders", "skipgram/infonce", "glove"]
    experiment.main(line)
    shown = capsys.readouterr().out
    assert "skipgram/infonce" in shown
    assert "tensorboard --logdir" in shown
    for name in ("table.md", "table.tex", "quality.png", "curves.png", "results.csv"):
        assert (tmp_path / name).stat().st_size > 100
    finished = Run.open(tmp_path / "runs" / "glove" / "seed-2")
    assert finished.environment["data"]["vocabulary"] == len(finished.vectors())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    experiment.main(line)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    with pytest.raises(SystemExit, match="window"):  # what stands there was counted with another window
        experiment.main([*line, "--window", "3"])
