"""Texts as a task: what is set apart, and the figures of a model that knows nothing but how frequent tokens are."""

from dataclasses import replace

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxembed.recipes import RECIPES
from jaxembed.tasks.base import Trained
from jaxembed.tasks.texts import Texts

WORDS = [f"w{i}" for i in range(30)]


def texts(n, seed):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(4, 12))) for _ in range(n)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXEMBED_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "data"
    place.mkdir()
    for seed, (split, n) in enumerate({"train": 60, "test": 9}.items()):
        pq.write_table(pa.table({"text": texts(n, seed)}), place / f"{split}.parquet")
    return place


def test_a_split_is_judged_on_if_there_is_one_and_texts_are_set_apart_if_not(folder):
    task = Texts(str(folder), tokenizer="words", held_out=0.1)
    found = task.found
    streams, shown = found.rest
    assert shown["test"] == texts(9, 1)
    assert streams["test"].texts == 9
    assert (found.train.texts, streams["dev"].texts) == (54, 6)
    name = found.inputs["text"].tokenizer.core.id_to_token
    spelt = " ".join(name(int(i)) for i in streams["dev"].tokens).replace("<eos>", "\n").split("\n")
    assert [text.strip() for text in spelt if text.strip()] == texts(60, 0)[-6:]


def test_a_tokenizer_does_not_know_the_texts_that_are_set_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXEMBED_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "lines.txt"
    path.write_text("\n".join([*texts(30, 0), "unseen in dev", "unseen in test"]))
    found = Texts(str(path), tokenizer="words", held_out=0.03).found
    assert found.inputs["text"].tokenizer.core.token_to_id("unseen") is None
    assert found.rest[1]["test"] == ["unseen in test"]
    assert found.train.texts == 30


def test_fewer_tokens_are_the_first_texts(folder):
    whole, few = (Texts(str(folder), tokenizer="words", max_tokens=most).found.train for most in (0, 100))
    assert 100 <= len(few.tokens) < 115
    np.testing.assert_array_equal(few.tokens, whole.tokens[: len(few.tokens)])


def test_the_perplexity_of_a_word_does_not_depend_on_how_words_are_cut(folder):
    """A model of equal chances: the loss of a text is its number of tokens times the logarithm of their kinds."""
    task = Texts(str(folder), tokenizer="wordpiece", vocab_size=200)
    gpt = RECIPES["gpt"].with_(hidden_size=8, depth=1, heads=2, length=16, watch=2)
    method = gpt.method.suited_to(task.found.train)
    params = jax.jit(method.init)(jax.random.key(0), method.source(task.found.train).constants)
    params.net["encoder"]["token_embedding"] *= 0
    figures = task.figures(Trained(None, lambda: (method, params)))  # pyright: ignore[reportArgumentType]
    stream, kinds = task.found.rest[0]["test"], method.encoder["vocab_size"] - 1  # padding is never predicted
    predicted = len(stream.tokens) - stream.texts  # all but [CLS]
    words = sum(len(text.split()) + 1 for text in texts(9, 1))
    assert figures["language/perplexity"] == pytest.approx(kinds, rel=1e-3)
    assert figures["language/word_perplexity"] == pytest.approx(kinds ** (predicted / words), rel=1e-3)
    assert figures["language/log_likelihood-dev"] == pytest.approx(-np.log(kinds), rel=1e-4)


def test_too_few_texts_to_set_some_apart_are_refused(tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("a single text\n\nand another\n")
    with pytest.raises(
        ValueError, match="has 2 texts that are not blank: training, and each of dev and test, needs one"
    ):
        _ = Texts(str(path)).found


def test_longer_rows_are_judged_with_the_parameters_of_shorter_ones(folder):
    task = Texts(str(folder), tokenizer="words", longer=(16, 32))
    rotary = RECIPES["gpt"].with_(hidden_size=8, depth=1, heads=2, length=16, watch=2)
    for gpt, places in ((rotary, 1), (rotary.with_(positions="learned"), 16)):
        method = gpt.method.suited_to(task.found.train)
        params = jax.jit(method.init)(jax.random.key(0), method.source(task.found.train).constants)
        figures = task.figures(Trained(None, lambda of=(method, params): of))  # pyright: ignore[reportArgumentType]
        assert figures["language/perplexity@16"] == pytest.approx(figures["language/perplexity"], rel=1e-5)
        if places == 1:
            assert figures["language/perplexity@32"] == pytest.approx(len(WORDS) + 3, rel=0.05)
        else:
            assert "vectors of 16 places only" in figures["language/perplexity@32"].reason
    assert [*task.columns][:3] == ["perplexity", "perplexity at 16", "perplexity at 32"]


def test_vectors_alone_judge_nothing(folder):
    with pytest.raises(ValueError, match="not by vectors"):
        replace(Texts(str(folder))).judge({})
