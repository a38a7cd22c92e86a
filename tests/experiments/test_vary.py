"""`--vary`: which lines it makes, and what each of them trains with."""

from dataclasses import replace

import pytest

from experiments import contrastive_image_text, contrastive_images, contrastive_sentences
from jaxembed.report.record import read_study

IMAGES = contrastive_images.PRESETS["smoke"]


def built(module, changes=None, **settings):
    study = module.EXPERIMENT.study(replace(module.PRESETS["smoke"], **settings), changes)
    return {variant.label: variant for variant in study.variants}


def test_each_contender_is_trained_at_all_combinations_and_baselines_once():
    found = built(
        contrastive_images, contenders=("pixels", "simclr/infonce", "byol"),
        vary=("batch_size=16,32", "temperature=0.1,0.5"),
    )  # fmt: skip
    assert list(found) == [
        "pixels",
        "simclr/infonce, batch_size=16, temperature=0.1", "simclr/infonce, batch_size=16, temperature=0.5",
        "simclr/infonce, batch_size=32, temperature=0.1", "simclr/infonce, batch_size=32, temperature=0.5",
        "byol, batch_size=16", "byol, batch_size=32",
    ]  # fmt: skip
    one = found["simclr/infonce, batch_size=32, temperature=0.1"]
    assert (one.method.batch_size, one.method.objective.temperature) == (32, 0.1)
    assert one.factors == {"method": "simclr", "objective": "infonce", "batch_size": 32, "temperature": 0.1}
    assert found["byol, batch_size=16"].factors == {"method": "byol", "objective": "none", "batch_size": 16}


def test_each_value_alone():
    found = built(
        contrastive_images, contenders=("simclr/infonce",), grid="one-at-a-time",
        vary=("batch_size=16,128", "temperature=0.1,0.2"),
    )  # fmt: skip
    assert list(found) == ["simclr/infonce", "simclr/infonce, batch_size=16", "simclr/infonce, temperature=0.1"]


def test_what_a_contender_has_not_is_left():
    contenders = ("clip/infonce", "siglip/negative_sampling")
    found = built(contrastive_image_text, contenders=contenders, vary=("temperature=0.5,1",))
    assert list(found) == [
        "clip/infonce, temperature=0.5", "clip/infonce, temperature=1.0", "siglip/negative_sampling",
    ]  # fmt: skip
    found = built(contrastive_sentences, contenders=("bag/infonce", "layers/infonce"), vary=("mlp_size=64,128",))
    assert found["layers/infonce, mlp_size=64"].method.encoder["mlp_size"] == 64


def test_data_can_be_varied_too():
    study = contrastive_images.EXPERIMENT.study(replace(IMAGES, contenders=("simclr",), vary=("max_images=16,32",)))
    assert list(study.tasks) == ["fashion-mnist-small", "fashion-mnist-small-2"]
    assert [(variant.label, variant.data) for variant in study.variants] == [
        ("simclr, max_images=16", "fashion-mnist-small"), ("simclr, max_images=32", "fashion-mnist-small-2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        (("colour=10,20",), "unknown setting 'colour'"),
        (("batch_size=1.5",), "batch_size is a whole number, not '1.5'"),
        (("batch_size",), "NAME=VALUE"),
        (("batch_size=8", "batch_size=16"), "stands twice after --vary"),
        (("batch_size=1",), "batch_size must be at least 2"),
    ],
)
def test_what_cannot_be_varied_is_told(vary, message):
    with pytest.raises(ValueError, match=message):
        built(contrastive_images, vary=vary)


@pytest.mark.slow
def test_batches_and_temperatures_from_settings_to_the_table(tmp_path):
    line = ["--preset", "smoke", "--results", str(tmp_path), "--max-images", "128", "--seeds", "1"]
    line += ["--contenders", "pixels", "simclr/infonce", "--vary", "batch_size=16,32", "temperature=0.1,0.5"]
    contrastive_images.EXPERIMENT.main(line)
    entries = {entry.label: entry for entry in read_study(tmp_path).entries}
    assert len(entries) == 5
    assert entries["simclr/infonce, batch_size=32, temperature=0.5"].factors["temperature"] == 0.5
    ranks = {entry.figure("geometry/effective_rank") for entry in entries.values()}
    assert len(ranks) == 5  # each setting gave other vectors
    assert "batch_size=16,32 and temperature=0.1,0.5" in (tmp_path / "table.md").read_text()
