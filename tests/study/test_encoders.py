"""Encoders on the record: images, sentences and image-text pairs from data to table, saved, resumed and made again."""

import json

import jax
import numpy as np
import pytest

from jaxembed.data.images import read_images
from jaxembed.data.pairs import ImageTexts, ScoredPairs, Sentences
from jaxembed.data.tokens import train_tokenizer
from jaxembed.encoders.functional import encoder
from jaxembed.evaluation.knn import knn_accuracy
from jaxembed.methods.image_text import CLIP
from jaxembed.methods.images import BYOL, Pixels, SimCLR
from jaxembed.methods.sentences import SimCSE
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.study.plan import Planned, Variant
from jaxembed.study.reproduce import rebuilt, reproduce
from jaxembed.study.run import Run, as_json
from jaxembed.study.study import Study
from jaxembed.study.train import Options, train_group
from jaxembed.tasks.image_text import ImageTextTask
from jaxembed.tasks.images import ImageTask
from jaxembed.tasks.sentences import SentenceTask
from jaxembed.training.dense import Dense
from jaxembed.training.settings import Training

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
    return ImageTask.read("fashion-mnist-small", max_images=256)


def planned(folder, method=METHOD, training=TRAINING, seed=1):
    return Planned(folder / f"seed-{seed}", Variant("x", method, training), seed, "fashion-mnist-small")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, task):
    folder = tmp_path_factory.mktemp("images")
    return train_group([planned(folder, seed=seed) for seed in (1, 2)], task, QUIET)


def test_a_run_has_vectors_encoder_pictures_and_figures(runs, task):
    for run in runs:
        vectors = run.vectors()
        assert len(vectors) == len(task.test) + 256
        assert vectors.index_to_key[len(task.test)] == "train/0"
        test, train = vectors.vectors[: len(task.test)], vectors.vectors[len(task.test) :]
        expected = knn_accuracy(train, task.train.labels, test, task.test.labels)
        assert run.summary["probe/knn"] == expected > 0.2  # of ten classes
        assert {"probe/linear", "geometry/effective_rank"} <= run.summary.keys()
        assert (run.folder / "retrieval.png").stat().st_size > 1000
        assert list(run.folder.glob("projector*.png"))  # thumbnails
        assert run.environment["collapsed"] is None
    assert np.abs(runs[0].vectors().vectors - runs[1].vectors().vectors).max() > 1e-3


def test_a_saved_encoder_encodes_as_the_run_did(runs, task):
    method, params = rebuilt(runs[0].environment["trained_method"]), runs[0].encoder()
    assert method == METHOD.suited_to(task.train)
    np.testing.assert_array_equal(task.embed(method, params), runs[0].vectors().vectors)


def test_a_run_is_reproduced_bit_for_bit(runs):
    found = reproduce(runs[0].folder)
    assert found.exact
    assert found.vectors
    assert found.reproduced


class Killed(Exception):
    """Stands for SIGKILL."""


def test_a_killed_run_ends_as_if_it_had_never_stopped(tmp_path, task, runs, monkeypatch):
    from jaxembed.study import train

    report, seen = train._Recorder.report, []

    def once(self, progress, vectors):
        report(self, progress, vectors)
        seen.append(progress.step)
        if len(seen) == 3:
            raise Killed

    monkeypatch.setattr(train._Recorder, "report", once)
    keep = Options(console=False, checkpoint_seconds=0)
    with pytest.raises(Killed):
        train_group([planned(tmp_path)], task, keep)
    run = train_group([planned(tmp_path)], task, keep)[0]
    assert run.environment["resumed"] == 1
    np.testing.assert_array_equal(run.vectors().vectors, runs[0].vectors().vectors)


def test_what_byol_keeps_survives_a_checkpoint(tmp_path, task):
    from jaxembed.training.checkpoints import Checkpoints
    from jaxembed.training.loop import fit

    method = BYOL(
        encoder=TINY, projection=(16, 16), prediction=(8,), batch_size=64, watch=32, augmentation=METHOD.augmentation
    )
    whole = fit(method, task.train, TRAINING)

    def stop(progress, vectors):
        if progress.step > progress.total_steps // 2:
            raise Killed

    first = Checkpoints(tmp_path / "kept", seconds=0)
    with pytest.raises(Killed):
        fit(method, task.train, TRAINING, report=stop, checkpoints=first)
    first.close()
    again = Checkpoints(tmp_path / "kept", seconds=1e9)
    result = fit(method, task.train, TRAINING, checkpoints=again)
    again.close()
    for old, new in zip(jax.tree.leaves(whole.params), jax.tree.leaves(result.params), strict=True):
        np.testing.assert_array_equal(new, old)


def test_settings_of_methods_survive_json(runs):
    for value in (METHOD, TRAINING, CLIP(image_encoder=TINY), SimCSE(), BYOL(encoder=TINY)):
        assert rebuilt(json.loads(json.dumps(as_json(value, "x")))) == value


def test_a_collapsed_run_says_so(tmp_path, task):
    dead = Training(epochs=1, learning_rate=30.0, dense=Dense(optimizer="sgd", clip=1.0))

    class Constant(ImageTask):
        def embed(self, method, params):
            return np.ones((len(self.test) + len(self.train), 4), np.float32)

    constant = Constant(task.train, task.test, origin=task.origin)
    with pytest.warns(UserWarning, match="the vectors have collapsed to a point"):
        run = train_group([planned(tmp_path, Pixels(batch_size=64, watch=8), dead)], constant, QUIET)[0]
    assert "dimension_std" in run.environment["collapsed"]


def sentence_task() -> SentenceTask:
    groups = [SENTENCES[:2], SENTENCES[2:]]
    sentences = Sentences.build(groups)
    pairs = ScoredPairs(
        (SENTENCES[0], SENTENCES[0], SENTENCES[2]),
        (SENTENCES[1], SENTENCES[2], SENTENCES[3]),
        np.array([1.0, 0.0, 1.0]),
        "f",
    )
    return SentenceTask(
        sentences, {"test": pairs}, train_tokenizer(sentences.texts, vocab_size=200, kind="word", min_count=1), 12
    )


def test_sentences_from_text_to_figure(tmp_path):
    task = sentence_task()
    net = encoder("transformer", vocab_size=1, hidden_size=16, heads=2, depth=1, segments=0, norm="pre")
    training = Training(epochs=60, learning_rate=3e-3, dense=Dense(warmup=0.1))
    run = train_group([planned(tmp_path, SimCSE(encoder=net, batch_size=8, watch=8), training)], task, QUIET)[0]
    # The pairs that mean the same are nearer than the one that does not: ranks 2.5, 1, 2.5 against 3, 1, 2.
    assert run.summary["sts/test"] == pytest.approx(np.sqrt(3) / 2, abs=1e-6)
    assert run.vectors().index_to_key[0] == "test/a/0"
    assert run.environment["data"]["truncated"] == 0


def test_sentences_without_scored_pairs(tmp_path):
    whole = sentence_task()
    task = SentenceTask(whole.sentences, {}, whole.tokenizer, 12)
    net = encoder("transformer", vocab_size=1, hidden_size=8, depth=0, positions="none", segments=0, heads=2)
    run = train_group([planned(tmp_path, SimCSE(encoder=net, batch_size=8, watch=8), TRAINING)], task, QUIET)[0]
    assert run.vectors().index_to_key[:2] == ["train/0", "train/1"]
    assert np.isfinite(run.summary["geometry/effective_rank"])


def test_images_without_labels_are_read_again_without(tmp_path):
    task = ImageTask.read("fashion-mnist-small", max_images=64, label=None)
    assert task.origin["label"] is None
    run = train_group([planned(tmp_path, Pixels(batch_size=64, watch=8))], task, QUIET)[0]
    assert "probe/knn" not in run.summary
    assert reproduce(run.folder).reproduced


def test_image_texts_from_pictures_to_figures(tmp_path):
    images = read_images("fashion-mnist-small", split="train", max_images=128)
    names = [f"a {images.names[label].lower()}" for label in images.labels]
    pairs = ImageTexts.build(images, names)
    task = ImageTextTask(pairs, pairs, train_tokenizer(names, vocab_size=200, kind="word", min_count=1), 8)
    text = encoder("transformer", vocab_size=1, hidden_size=16, heads=2, depth=0, segments=0, positions="none")
    method = CLIP(image_encoder=TINY, text_encoder=text, vector_size=16, batch_size=32, watch=32)
    training = Training(epochs=12, learning_rate=1e-2, dense=Dense(warmup=0.1))
    run = train_group([planned(tmp_path, method, training)], task, QUIET)[0]
    chance = run.summary["retrieval/random/recall@1"]
    assert run.summary["retrieval/image_to_text/recall@1"] > 2 * chance
    assert (run.folder / "retrieval-text-to-image.png").exists()
    assert any("retrieval/watched/recall@10" in line for line in map(json.dumps, run.metrics()))


def test_a_study_of_encoders_makes_a_table(tmp_path, task):
    study = Study(
        name="s", folder=tmp_path, tasks={"images": lambda: task},
        variants=[Variant("pixels", Pixels(batch_size=64), TRAINING), Variant("simclr", METHOD, TRAINING)],
        seeds=(1,), columns={"kNN": "probe/knn"},
    )  # fmt: skip
    assert "simclr" in study.dry_run()
    study.run(QUIET)
    assert [Run.open(planned.folder).finished for planned in study.runs] == [True, True]
