"""The contrastive experiments from command line to table, at their smoke presets or smaller."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from experiments import contrastive_image_text, contrastive_images, contrastive_sentences
from experiments.settings import run

needs_data = pytest.mark.skipif(
    not os.environ.get("JAXEMBED_DATA"), reason="JAXEMBED_DATA does not name the folder of the datasets"
)


def table(module, folder, **settings):
    run(replace(module.PRESETS["smoke"], results=folder, seeds=(1,), **settings), module.study)
    return (folder / "table.md").read_text()


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


@needs_data
def test_sentences(tmp_path):
    text = table(contrastive_sentences, tmp_path, start_words=20_000)
    assert "| words/infonce" in text
    assert "STS-B" in text


@needs_data
def test_image_text(tmp_path):
    text = table(contrastive_image_text, tmp_path, max_images=128)
    assert "| clip/infonce" in text
    assert (tmp_path / "runs/clip-infonce/seed-1/retrieval-text-to-image.png").exists()


@pytest.mark.parametrize("module", [contrastive_images, contrastive_sentences, contrastive_image_text])
def test_every_preset_declares_a_study(module):
    for preset in module.PRESETS.values():
        made = module.study(preset)
        labels = [variant.label for variant in made.variants]
        assert len(made.runs) == len(labels) * len(preset.seeds)
        assert list(dict.fromkeys(label.split(",")[0] for label in labels)) == list(preset.contenders)
        assert len(set(labels)) == len(labels)
        assert (len(labels) > len(preset.contenders)) == bool(preset.vary)
    with pytest.raises(ValueError, match="unknown contender 'nothing'"):
        module.contender("nothing", module.PRESETS["smoke"])
