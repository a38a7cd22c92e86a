from dataclasses import replace

import numpy as np
import pytest

from jaxembed.data import read_corpus
from jaxembed.methods.glove import GloVe
from jaxembed.methods.skipgram import SkipGram
from jaxembed.objectives import pairwise
from jaxembed.training.loop import fit
from jaxembed.training.numbers import numbers_of, seeds_of, table_of, with_numbers
from jaxembed.training.settings import Training

from .toy import Pull


@pytest.fixture(scope="module")
def corpus():
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in np.minimum(rng.zipf(1.3, 6000), 40)]
    return read_corpus([words[i : i + 40] for i in range(0, 6000, 40)], min_count=1)


def test_a_method_tells_its_numbers():
    training = Training(learning_rate=0.5)
    assert numbers_of(SkipGram(objective=pairwise("infonce", temperature=0.2)), training) == {
        "learning_rate": 0.5, "final_rate": 1e-4, "negative": 5, "objective.temperature": 0.2,
    }  # fmt: skip
    assert numbers_of(GloVe(x_max=20), training) == {
        "learning_rate": 0.5, "final_rate": 1e-4, "x_max": 20, "alpha": 0.75,
    }  # fmt: skip


def test_numbers_take_their_places_and_leave_the_original_alone():
    method = SkipGram(objective="margin", negative=3)
    other = with_numbers(method, {"objective.margin": 2.5, "negative": 7, "learning_rate": 1})
    assert other == replace(method, negative=7, objective=pairwise("margin", margin=2.5))
    assert method == SkipGram(objective="margin", negative=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds_by", "same"),
    [
        ("threads", True),
        pytest.param("map", False, marks=pytest.mark.slow),
        pytest.param("vmap", False, marks=pytest.mark.slow),
    ],
)
def test_runs_with_numbers_of_their_own_are_what_they_are_alone(corpus, seeds_by, same):
    base = SkipGram(vector_size=8, objective=pairwise("infonce", temperature=1.0), block=16, step_tokens=64)
    rates, temperatures = (0.1, 0.3, 0.3), (1.0, 1.0, 0.5)
    group = fit(
        base, corpus, Training(epochs=1), seeds=(3, 3, 3), seeds_by=seeds_by,
        vary={"learning_rate": rates, "objective.temperature": temperatures},
    )  # fmt: skip
    for i, (rate, temperature) in enumerate(zip(rates, temperatures, strict=True)):
        own = replace(base, objective=pairwise("infonce", temperature=temperature))
        alone = fit(own, corpus, Training(epochs=1, learning_rate=rate), seeds=(3,))
        if same:  # one program, run three times
            np.testing.assert_array_equal(group.vectors[i], alone.vectors[0])
            np.testing.assert_array_equal(group.losses[:, i], alone.losses[:, 0])
        else:
            np.testing.assert_allclose(group.vectors[i], alone.vectors[0], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(group.losses[:, i], alone.losses[:, 0], rtol=1e-5)
    gaps = [np.abs(group.vectors[i] - group.vectors[j]).max() for i, j in ((0, 1), (1, 2), (0, 2))]
    assert min(gaps) > 0.01


def test_bad_numbers():
    with pytest.raises(ValueError, match=r"'window' cannot vary within one program: .*learning_rate.*negative"):
        table_of(SkipGram(), Training(), {"window": [1, 2]}, 2)
    with pytest.raises(ValueError, match="3 values for 2 runs"):
        table_of(SkipGram(), Training(), {"negative": [1, 2, 3]}, 2)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**63, 1.0, True, "1", None])
def test_a_seed_that_would_train_as_another_is_refused(seed):
    with pytest.raises(ValueError, match=r"a whole number from 0 to 4294967295, not "):
        seeds_of([0, seed])
    with pytest.raises(ValueError, match="a whole number from 0"):
        fit(Pull(), np.zeros(8, int), Training(epochs=1), seeds=(seed,))


def test_seeds_at_the_ends_train_and_differ():
    assert seeds_of(np.array([0, 2**32 - 1])) == (0, 2**32 - 1)
    result = fit(Pull(noise=1.0), np.arange(8) % 5, Training(epochs=1), seeds=seeds_of([0, 2**31, 2**32 - 1]))
    assert len({vectors.tobytes() for vectors in result.vectors}) == 3
