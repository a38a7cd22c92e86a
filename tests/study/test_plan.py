import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxembed.data import read_corpus
from jaxembed.methods.glove import GloVe
from jaxembed.methods.skipgram import SkipGram
from jaxembed.sampling.random import key_of
from jaxembed.study.plan import Planned, at_once, cost, grid
from jaxembed.study.recorded import differences
from jaxembed.study.values import as_json
from jaxembed.training.settings import Training

from .tasks import Toy


def test_the_full_grid_is_every_combination():
    variants = grid(SkipGram(), Training(), window=[2, 5], learning_rate=[0.1, 0.3])
    assert [(v.method.window, v.training.learning_rate) for v in variants] == [(2, 0.1), (2, 0.3), (5, 0.1), (5, 0.3)]
    assert variants[1].label == "window=2, learning_rate=0.3"
    assert variants[1].factors == {"window": 2, "learning_rate": 0.3}
    assert variants[1].method.vector_size == 100


def test_one_at_a_time_varies_each_from_the_base_and_has_the_base_once():
    variants = grid(SkipGram(window=5), Training(), one_at_a_time=True, window=[2, 5], negative=[1, 5, 15])
    assert [(v.method.window, v.method.negative) for v in variants] == [(5, 5), (2, 5), (5, 1), (5, 15)]


def test_a_field_of_the_objective_varies_with_it():
    variants = grid(SkipGram(objective="softmax"), objective=["infonce"], temperature=[0.5, 2.0])
    assert [v.method.objective.temperature for v in variants] == [0.5, 2.0]


def test_what_nothing_has_cannot_vary():
    with pytest.raises(ValueError, match=r"unknown setting 'colour': the settings are .*window"):
        grid(SkipGram(), colour=["red"])
    with pytest.raises(ValueError, match="window must be at least 1"):
        grid(SkipGram(), window=[0])


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in np.minimum(rng.zipf(1.3, 6000), 40)]
    return read_corpus([words[i : i + 40] for i in range(0, 6000, 40)], min_count=1)


def test_a_cost_counts_what_a_run_holds_and_does(corpus):
    method, training = SkipGram(vector_size=20, block=16, step_tokens=64), Training(epochs=3)
    found = cost(method, training, method.source(corpus))
    words = len(corpus.vocabulary)
    assert found.parameters == 2 * words * 20
    assert found.state_bytes == 2 * words * (24 + 1) * 4  # rows padded to whole lanes, and an accumulator each
    assert found.steps % 3 == 0
    # Forward and backward of every tile's products, at least: 16 x 16 pairs and 32 negatives for 16 tokens.
    tokens = found.steps * 64
    assert found.flops > 3 * 2 * tokens * (16 + 32) * 20
    assert found.flops < 20 * 3 * 2 * tokens * (16 + 32) * 32


def test_groups_are_no_larger_than_the_memory(corpus, monkeypatch):
    method, training = SkipGram(vector_size=20), Training()
    one = cost(method, training, method.source(corpus), flops=False)
    monkeypatch.setattr("jaxembed.study.plan.memory", lambda: 10 * (2 * one.state_bytes + one.shard_bytes))
    assert at_once(one, training) == 5
    assert at_once(one, training, most=3) == 3
    monkeypatch.setattr("jaxembed.study.plan.memory", lambda: 0)
    assert at_once(one, training) == 1


def test_how_random_numbers_are_made_is_recorded():
    """So that a run can be told from one that a later version makes in another way; older runs were made in this one."""
    (variant,) = grid(SkipGram(), Training(), window=[5])
    with jax.default_prng_impl("rbg"):
        now = Planned(Path("runs/seed-1"), variant, 1, "toy").settings(Toy(), {})
        assert str(jax.random.key_impl(key_of(1))) == now["prng"] == "threefry2x32"
    recorded = json.loads(json.dumps(as_json(now)))
    older = {name: value for name, value in recorded.items() if name != "prng"}
    assert differences(older, recorded) == []
    assert differences(recorded, {**recorded, "prng": "rbg"}) == ["prng: 'threefry2x32' there, 'rbg' now"]


def test_a_method_tells_its_own_traced_numbers():
    assert set(GloVe.traced) == {"x_max", "alpha"}
