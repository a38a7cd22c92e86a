"""`--vary` of the contrastive experiments: which lines it makes, and what each of them trains with."""

from dataclasses import replace

import pytest

from experiments import contrastive_image_text, contrastive_images, contrastive_sentences
from experiments.settings import parse, run
from experiments.vary import crossed
from jaxembed.report.record import read_study

IMAGES = contrastive_images.PRESETS["smoke"]


def made(module, **settings):
    chosen = replace(module.PRESETS["smoke"], **settings)
    return {variant.label: variant for variant in crossed(chosen, module.contender, module.BASELINES)}


def test_each_contender_is_trained_at_all_combinations_and_baselines_once():
    found = made(
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
    assert found["byol, batch_size=16"].factors == {"method": "byol", "objective": "byol", "batch_size": 16}


def test_what_a_contender_has_of_its_own_is_left():
    found = made(contrastive_sentences, contenders=("words/infonce", "transformer/infonce"), vary=("epochs=3,5",))
    assert list(found) == ["words/infonce, epochs=3", "words/infonce, epochs=5", "transformer/infonce"]
    assert found["words/infonce, epochs=5"].training.epochs == 5
    found = made(
        contrastive_image_text, contenders=("clip/infonce", "siglip/negative_sampling"), vary=("temperature=0.05,0.1",)
    )
    assert list(found) == [
        "clip/infonce, temperature=0.05",
        "clip/infonce, temperature=0.1",
        "siglip/negative_sampling",
    ]
    assert found["clip/infonce, temperature=0.05"].method.scale == pytest.approx(20)
    assert found["siglip/negative_sampling"].method.scale == 10


def test_with_nothing_varied_a_contender_is_what_it_was():
    found = made(contrastive_images)
    assert list(found) == list(IMAGES.contenders)
    assert found["byol"] == contrastive_images.contender("byol", IMAGES)


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        (("max_images=10,20",), "'max_images' cannot be varied here: choose among batch_size, temperature"),
        (("batch_size=1.5",), "batch_size is a whole number, not '1.5'"),
        (("batch_size",), "NAME=VALUE"),
        (("batch_size=8", "batch_size=16"), "varied twice"),
        (("batch_size=1",), "batch_size must be at least 2"),
    ],
)
def test_what_cannot_be_varied_is_told(vary, message):
    with pytest.raises(ValueError, match=message):
        made(contrastive_images, vary=vary)


def test_the_help_tells_what_each_setting_means(capsys):
    with pytest.raises(SystemExit):
        parse(contrastive_images.PRESETS, ["--help"], contrastive_images.__doc__)
    told = capsys.readouterr().out
    for line in (
        "vary: FIELD=VALUE,VALUE,...",
        "projection: widths of the head",
        "overwrite: train finished runs anew",
    ):
        assert line in told


@pytest.mark.slow
def test_batches_and_temperatures_from_settings_to_the_table(tmp_path):
    settings = replace(
        IMAGES, results=tmp_path, max_images=128, seeds=(1,), contenders=("pixels", "simclr/infonce"),
        vary=("batch_size=16,32", "temperature=0.1,0.5"),
    )  # fmt: skip
    run(settings, contrastive_images.study)
    entries = {entry.label: entry for entry in read_study(tmp_path).entries}
    assert len(entries) == 5
    assert entries["simclr/infonce, batch_size=32, temperature=0.5"].factors["temperature"] == 0.5
    ranks = {entry.figure("geometry/effective_rank") for entry in entries.values()}
    assert len(ranks) == 5  # each setting gave other vectors
    assert "batch_size=16,32 and temperature=0.1,0.5" in (tmp_path / "table.md").read_text()
