"""Settings that older versions recorded, as this version would have written them."""

import json
from pathlib import Path

import pytest

from jaxembed.methods.knowledge import RotatE
from jaxembed.recipes import RECIPES
from jaxembed.study.recorded import completed, rebuilt, upgraded
from jaxembed.study.run import Run
from jaxembed.study.values import as_json

RESULTS = Path(__file__).parents[2] / "results"


def old(experiment, label):
    return Run.open(RESULTS / experiment / "runs" / label / "seed-1").settings


@pytest.mark.parametrize(
    ("experiment", "label", "places"),
    [
        ("contrastive_images", "simclr-infonce", True), ("contrastive_image_text", "clip-infonce", True),
        ("contrastive_images", "pixels", False),
        ("contrastive_sentences_sweep", "words-infonce-batch_size=64-temperature=0.02", False),
    ],
)  # fmt: skip
def test_what_a_run_did_before_there_was_a_setting_for_it_is_recorded_as_done(experiment, label, places):
    settings = old(experiment, label)
    if "decay_places" in settings["training"]["dense"]:
        pytest.skip("the run was made again by a version that records this")
    whole = completed(settings)
    # Class tokens and positions decayed, wherever anything did; what is not trained and what has no decay is as it is now.
    assert whole["training"]["dense"]["decay_places"] == places
    assert whole["task"].get("validation", 0) == 0  # all examples were trained on
    if "augmentation" in whole["method"]:
        views = whole["method"]["augmentation"]
        assert (views["solarize_threshold"], views["blur_radius"]) == (0.5, None)
        assert views["flip"] == settings["method"]["augmentation"]["flip"]
    for part in ("method", "task", "training"):
        rebuilt(upgraded(settings)[part])


@pytest.mark.parametrize("name", ["simclr", "clip", "simcse", "skipgram"])
def test_what_is_recorded_now_is_left_alone(name):
    one = RECIPES[name]
    now = json.loads(json.dumps(as_json({"task": one.task, "method": one.method, "training": one.training}, "x")))
    now.pop("class", None)
    assert upgraded(now) == now


def test_rotate_of_before_there_was_a_choice_of_distances_keeps_its_own():
    assert rebuilt({"class": "RotatE", "gamma": 9.0}).norm == 1
    assert rebuilt(as_json(RotatE(), "method")).norm == 2
