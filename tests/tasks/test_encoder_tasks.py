"""Tasks of encoders on the record: what a run's folder holds, and whether its figures are what they should be.

That a run is resumed, reproduced and used is shown by the contract test over all recipes, tests/recipes.
"""

import json
from dataclasses import dataclass

import jax
import numpy as np
import pytest

from jaxembed.data.images import read_images
from jaxembed.data.inputs import ImageInput, TextInput
from jaxembed.data.pairs import ImageTexts as Pairs
from jaxembed.data.pairs import ScoredPairs
from jaxembed.data.pairs import Sentences as Groups
from jaxembed.data.tokenized import token_groups, tokenized_images
from jaxembed.data.tokens import train_tokenizer
from jaxembed.encoders.functional import encoder
from jaxembed.evaluation.knn import knn_accuracy
from jaxembed.evaluation.probe import linear_probe
from jaxembed.methods.image_text import CLIP
from jaxembed.methods.images import BYOL, Pixels, SimCLR
from jaxembed.methods.sentences import SimCSE
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.study.options import Options
from jaxembed.study.plan import Planned, Variant
from jaxembed.study.run import Run
from jaxembed.study.study import Study
from jaxembed.study.train import train_group
from jaxembed.tasks.base import Read
from jaxembed.tasks.image_texts import ImageTexts
from jaxembed.tasks.images import ITERATIONS, Images
from jaxembed.tasks.sentences import Sentences
from jaxembed.training.dense import Dense
from jaxembed.training.settings import Training
from jaxembed.vectors import KeyedVectors

TINY = encoder("vit", hidden_size=16, depth=1, heads=2, patch=14)
METHOD = SimCLR(
    encoder=TINY, projection=(16, 8), batch_size=64, watch=32, augmentation=Augmentation(jitter=0.0, grayscale=0.0)
)
TRAINING = Training(
    epochs=2, learning_rate=1e-3, reports=4, dense=Dense(optimizer="adamw", weight_decay=0.01, warmup=0.1)
)
QUIET = Options(console=False)
SENTENCES = [
    "a dog runs over the grass",
    "the brown dog is running",
    "two men play a guitar",
    "men make music together",
]


@pytest.fixture(scope="module")
def task():
    return Images("fashion-mnist-small", max_images=256)


def planned(folder, method=METHOD, training=TRAINING, seed=1):
    return Planned(folder / f"seed-{seed}", Variant("x", method, training), seed, "fashion-mnist-small")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, task):
    folder = tmp_path_factory.mktemp("images")
    return train_group([planned(folder, seed=seed) for seed in (1, 2)], task, QUIET)


@pytest.mark.slow
def test_a_run_has_vectors_encoder_pictures_and_figures(runs, task):
    train, test, dev = task.found.train, task.found.rest, task.found.dev
    for run in runs:
        vectors = run.vectors()
        assert len(vectors) == len(test) + 256 + len(dev)
        assert (vectors.index_to_key[len(test)], vectors.index_to_key[-1]) == ("train/0", f"dev/{len(dev) - 1}")
        of_test, of_train, of_dev = np.split(vectors.vectors, [len(test), len(test) + 256])
        known = of_train, train.labels
        assert run.summary["probe/knn"] == knn_accuracy(*known, of_test, test.labels) > 0.2  # of ten classes
        assert run.summary["probe/knn-dev"] == knn_accuracy(*known, of_dev, dev.labels)
        assert run.summary["probe/linear-dev"] == linear_probe(*known, of_dev, dev.labels, iterations=ITERATIONS)
        assert {"probe/linear", "geometry/effective_rank"} <= run.summary.keys()
        assert (run.folder / "retrieval.png").stat().st_size > 1000
        assert list(run.folder.glob("projector*.png"))  # thumbnails
        assert run.environment["collapsed"] is None
    assert np.abs(runs[0].vectors().vectors - runs[1].vectors().vectors).max() > 1e-3


def test_figures_of_the_same_bits_are_worked_out_once(task, monkeypatch):
    draw = np.random.default_rng(0).standard_normal
    sizes = {part: len(next(iter(examples.values()))) for part, examples in task.found.judged.items()}
    parts = {part: draw((size, 8), np.float32) for part, size in sizes.items()}
    expected = task.judge(parts)
    monkeypatch.setattr("jaxembed.tasks.images.fit_probe", None)  # would fail if it were called
    assert task.judge(parts) == expected


def test_a_part_finds_its_image_among_the_test_images():
    task = Images("fashion-mnist-small", max_images=256, few=0, label=None, crops=True)
    parts = {name: np.zeros((len(one["images"]), 8), np.float32) for name, one in task.found.judged.items()}
    parts["test"] = np.random.default_rng(0).standard_normal((len(task.found.rest), 8), np.float32)
    np.testing.assert_array_equal(task.found.judged["crop"]["images"], task.found.rest.crops())
    found = lambda crops: task.judge({**parts, "crop": crops})["retrieval/crop_to_image/recall@10"]
    assert found(parts["test"]) == 1
    assert found(np.roll(parts["test"], 1, axis=0)) < 0.1
    assert "retrieval/crop_to_image/recall@10" in task.columns.values()


class Killed(Exception):
    """Stands for SIGKILL."""


@pytest.mark.slow
def test_what_byol_keeps_survives_a_checkpoint(tmp_path, task):
    from jaxembed.training.checkpoints import Checkpoints
    from jaxembed.training.loop import fit

    method = BYOL(
        encoder=TINY, projection=(16, 16), prediction=(8,), batch_size=64, watch=32, augmentation=METHOD.augmentation
    )
    whole = fit(method, task.found.train, TRAINING)

    def stop(progress, vectors):
        if progress.step > progress.total_steps // 2:
            raise Killed

    first = Checkpoints(tmp_path / "kept", seconds=0)
    with pytest.raises(Killed):
        fit(method, task.found.train, TRAINING, report=stop, checkpoints=first)
    first.close()
    again = Checkpoints(tmp_path / "kept", seconds=1e9)
    result = fit(method, task.found.train, TRAINING, checkpoints=again)
    again.close()
    for old, new in zip(jax.tree.leaves(whole.params), jax.tree.leaves(result.params), strict=True):
        np.testing.assert_array_equal(new, old)


class Constant(Images):
    """Images of which all vectors are the same."""

    def product(self, method, params, vectors):
        rows = sum(len(part["images"]) for part in self.found.judged.values())
        return KeyedVectors([str(i) for i in range(rows)], np.ones((rows, 4), np.float32))


@pytest.mark.slow
def test_a_collapsed_run_says_so(tmp_path):
    dead = Training(epochs=1, learning_rate=30.0, dense=Dense(optimizer="sgd", clip=1.0))
    constant = Constant("fashion-mnist-small", max_images=64)
    with pytest.warns(UserWarning, match="the vectors have collapsed to a point"):
        run = train_group([planned(tmp_path, Pixels(batch_size=64, watch=8), dead)], constant, QUIET)[0]
    assert "dimension_std" in run.environment["collapsed"]


@dataclass(frozen=True)
class Few(Sentences):
    """Two groups of two sentences, with three scored pairs or none."""

    scored: bool = True

    def read(self):
        groups = Groups.build([SENTENCES[:2], SENTENCES[2:]])
        tokenizer = train_tokenizer(groups.texts, vocab_size=200, kind="word", min_count=1)
        pairs = ScoredPairs(
            (SENTENCES[0], SENTENCES[0], SENTENCES[2]), (SENTENCES[1], SENTENCES[2], SENTENCES[3]), np.array([1.0, 0.0, 1.0]), "f"
        )  # fmt: skip
        text, tokens = TextInput(tokenizer, 12), token_groups(groups, tokenizer, 12)
        parts = {"test/a": pairs.a, "test/b": pairs.b} if self.scored else {"train": groups.texts}
        judged = {name: text.examples(texts) for name, texts in parts.items()}
        rest = ({"test": pairs} if self.scored else {}, parts)
        return Read(
            tokens,
            2,
            groups.fingerprint,
            {"truncated": tokens.truncated},
            inputs={"text": text},
            judged=judged,
            rest=rest,
        )


@pytest.mark.slow
def test_sentences_from_text_to_figure(tmp_path):
    net = encoder("transformer", vocab_size=1, hidden_size=16, heads=2, depth=1, segments=0, norm="pre")
    training = Training(epochs=60, learning_rate=3e-3, dense=Dense(warmup=0.1))
    run = train_group([planned(tmp_path, SimCSE(encoder=net, batch_size=8, watch=8), training)], Few("few"), QUIET)[0]
    # The pairs that mean the same are nearer than the one that does not: ranks 2.5, 1, 2.5 against 3, 1, 2.
    assert run.summary["sts/test"] == pytest.approx(np.sqrt(3) / 2, abs=1e-6)
    assert run.vectors().index_to_key[0] == "test/a/0"
    assert run.environment["data"]["truncated"] == 0


@pytest.mark.slow
def test_sentences_without_scored_pairs(tmp_path):
    net = encoder("transformer", vocab_size=1, hidden_size=8, depth=0, positions="none", segments=0, heads=2)
    method = SimCSE(encoder=net, batch_size=8, watch=8)
    run = train_group([planned(tmp_path, method)], Few("few", scored=False), QUIET)[0]
    assert run.vectors().index_to_key[:2] == ["train/0", "train/1"]
    assert np.isfinite(run.summary["geometry/effective_rank"])


def test_images_without_labels(tmp_path):
    task = Images("fashion-mnist-small", max_images=64, label=None)
    run = train_group([planned(tmp_path, Pixels(batch_size=64, watch=8))], task, QUIET)[0]
    assert "probe/knn" not in run.summary
    assert run.settings["task"]["label"] is None


class Clothes(ImageTexts):
    """Pictures of clothes, each called by its class."""

    def read(self):
        images = read_images("fashion-mnist-small", split="train", max_images=128)
        pairs = Pairs.build(images, [f"a {images.names[label].lower()}" for label in images.labels])
        tokenizer = train_tokenizer(pairs.texts, vocab_size=200, kind="word", min_count=1)
        text = TextInput(tokenizer, 8)
        judged = {"image": {"images": images.images}, "text": text.examples(pairs.texts)}
        inputs = {"image": ImageInput(28, 28, 1), "text": text}
        tokens = tokenized_images(pairs, tokenizer, 8)
        return Read(tokens, 128, pairs.fingerprint, {}, inputs=inputs, judged=judged, rest=pairs)


@pytest.mark.slow
def test_image_texts_from_pictures_to_figures(tmp_path):
    text = encoder("transformer", vocab_size=1, hidden_size=16, heads=2, depth=0, segments=0, positions="none")
    method = CLIP(image_encoder=TINY, text_encoder=text, vector_size=16, batch_size=32, watch=32)
    training = Training(epochs=12, learning_rate=1e-2, dense=Dense(warmup=0.1))
    run = train_group([planned(tmp_path, method, training)], Clothes("clothes"), QUIET)[0]
    chance = run.summary["retrieval/random/recall@1"]
    assert run.summary["retrieval/image_to_text/recall@1"] > 2 * chance
    assert (run.folder / "retrieval-text-to-image.png").exists()
    assert any("retrieval/watched/recall@10" in line for line in map(json.dumps, run.metrics()))


@pytest.mark.slow
def test_a_study_of_encoders_makes_a_table(tmp_path, task):
    study = Study(
        name="s", folder=tmp_path, tasks={"images": task},
        variants=[Variant("pixels", Pixels(batch_size=64), TRAINING), Variant("simclr", METHOD, TRAINING)],
        seeds=(1,), columns={"kNN": "probe/knn"},
    )  # fmt: skip
    assert "simclr" in study.dry_run()
    study.run(QUIET)
    assert [Run.open(planned.folder).finished for planned in study.runs] == [True, True]


def test_larger_test_images_are_judged_by_the_probe_of_the_others():
    task = Images("fashion-mnist-small", max_images=100, validation=0.0, larger=42)
    assert task.found.judged["larger"]["images"].shape[1:] == (42, 42, 1)
    assert len(task.found.judged["larger"]["images"]) == len(task.found.judged["test"]["images"])
    small = {
        part: one["images"].reshape(len(one["images"]), -1)[:, :784] / 255.0 for part, one in task.found.judged.items()
    }
    found = task.judge(small | {"larger": small["test"]})
    assert found["probe/linear-larger"] == found["probe/linear"] > 0.4
    assert found["probe/knn-larger"] == found["probe/knn"]
    worse = task.judge(small | {"larger": 1 - small["test"]})
    assert worse["probe/linear-larger"] < worse["probe/linear"] == found["probe/linear"]
    assert {"linear, larger", "kNN, larger"} <= set(task.columns)
