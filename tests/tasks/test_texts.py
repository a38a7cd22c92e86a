"""Texts as a task: what is set apart, and the figures of a model that knows nothing but how frequent tokens are."""

from dataclasses import replace

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxembed.data.inputs import read_inputs
from jaxembed.recipes import RECIPES
from jaxembed.tasks.base import Trained
from jaxembed.tasks.texts import Texts
from jaxembed.trained import Model, TrainedNet

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
    task = Texts(str(folder), tokenizer="word", held_out=0.1)
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
    found = Texts(str(path), tokenizer="word", held_out=0.03).found
    assert found.inputs["text"].tokenizer.core.token_to_id("unseen") is None
    assert found.rest[1]["test"] == ["unseen in test"]
    assert found.train.texts == 30


def test_fewer_tokens_are_the_first_texts(folder):
    whole, few = (Texts(str(folder), tokenizer="word", max_tokens=most).found.train for most in (0, 100))
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


def begun(name, task, **settings):
    """A small method suited to the task's texts, and its first parameters."""
    one = RECIPES[name].with_(hidden_size=8, depth=1, heads=2, watch=2, length=16, **settings)
    method = one.method.suited_to(task.found.train)
    return method, jax.jit(method.init)(jax.random.key(0), method.source(task.found.train).constants)


@pytest.mark.parametrize("tokenizer", ["word", "wordpiece"])
def test_a_text_ends_in_a_word_for_a_causal_model_and_in_its_end_for_a_masked_one(folder, tmp_path, tokenizer):
    task = Texts(str(folder), tokenizer=tokenizer, vocab_size=200)
    first, last = {"word": ("<eos>", "<eos>"), "wordpiece": ("[CLS]", "[SEP]")}[tokenizer]
    for name, end in (("gpt", []), ("bert", [last])):
        text = task.inputs_of(begun(name, task)[0])["text"]
        again = read_inputs(tmp_path, {"text": text.save(tmp_path)})["text"]
        for one in (text, again):
            (ids,) = one.examples(["w1 w2"])["ids"]
            assert [one.tokenizer.core.id_to_token(int(i)) for i in ids] == [first, "w1", "w2", *end]


def test_vectors_are_those_of_what_a_model_reads_of_a_text_and_longer_ones_are_cut_with_a_word(folder):
    task = Texts(str(folder), tokenizer="word")
    method, params = begun("gpt", task, pooling="last")
    method = method.with_(encoder=method.encoder.with_(max_length=8))
    inputs = task.inputs_of(method)
    model = Model(TrainedNet(method, params, {2: "ids"}), inputs)
    vectors, (short, long) = task.product(method, params, np.zeros(())), sorted(texts(9, 1), key=len)[::8]
    with pytest.raises(ValueError, match="1 of the texts is longer than the 8 tokens that this model takes"):
        model.encode([short, long], truncate=False)
    with pytest.warns(UserWarning, match="1 of the texts is longer than the 8 tokens"):
        found = model.encode([short, long])
    expected = np.stack([vectors[f"test/{texts(9, 1).index(text)}"] for text in (short, long)])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # the state of the seventh word, after the token that begins the text
    np.testing.assert_allclose(found[1], model.encode(" ".join(long.split()[:7]), truncate=False), atol=1e-5)
    bert = begun("bert", task)
    with pytest.warns(UserWarning, match="longer than the 16 tokens"):  # the default length of a row is that of a text
        Model(TrainedNet(*bert, {2: "ids"}), task.inputs_of(bert[0])).encode("w1 " * 20)


def test_a_model_of_pairs_is_judged_by_their_accuracy(folder):
    task = Texts(str(folder), tokenizer="word")
    method, params = begun("bert", task, next_sentence=True)
    figures = task.figures(Trained(None, lambda: (method, params)))  # pyright: ignore[reportArgumentType]
    assert 0 <= figures["language/pair_accuracy"] <= 1
    assert task.examine(method, params)["language/pair_accuracy-dev"] == figures["language/pair_accuracy-dev"]


def test_words_that_the_tokenizer_does_not_know_leave_their_perplexity_unmeasured(folder):
    for size, share in ((0, 0), (20, None)):
        task = Texts(str(folder), tokenizer="word", vocab_size=size or 100)
        stream = task.found.rest[0]["test"]
        name = task.found.inputs["text"].tokenizer.core.token_to_id
        known = sum(name(word) is not None for text in texts(9, 1) for word in text.split())
        wanted = 1 - (known + stream.texts + 1) / len(stream.tokens) if share is None else share
        learned = begun("gpt", task)
        figures = task.figures(Trained(None, lambda of=learned: of))  # pyright: ignore[reportArgumentType]
        assert figures["language/unknown"] == pytest.approx(wanted)
        assert task.found.about["test"]["unknown"] == round(wanted * len(stream.tokens))
        if share is None:
            assert 0.2 < wanted < 0.8
            told = f"{wanted:.1%} of the tokens stand for words that the tokenizer does not know"
            assert told in figures["language/word_perplexity"].reason
        else:
            assert figures["language/word_perplexity"] > 1
        assert figures["language/perplexity"] > 1


def test_tokenizers_have_one_name_and_others_are_told(folder):
    assert Texts(str(folder), tokenizer="words") == Texts(str(folder), tokenizer="word")  # as older runs have it
    with pytest.raises(ValueError, match="unknown tokenizer 'wordpeice': did you mean 'wordpiece'"):
        _ = Texts(str(folder), tokenizer="wordpeice").found


def test_too_few_texts_to_set_some_apart_are_refused(tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("a single text\n\nand another\n")
    with pytest.raises(
        ValueError, match="has 2 texts that are not blank: training, and each of dev and test, needs one"
    ):
        _ = Texts(str(path)).found


def test_longer_rows_are_judged_with_the_parameters_of_shorter_ones(folder):
    task = Texts(str(folder), tokenizer="word", longer=(16, 32))
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


def test_a_split_that_is_not_there_is_refused_and_none_is_set_apart(tmp_path):
    texts = pa.table({"text": [f"a text of number {i}" for i in range(30)]})
    for split in ("train", "test"):
        pq.write_table(texts, tmp_path / f"{split}.parquet")
    with pytest.raises(ValueError, match=r"has no split 'tset': it has 'train', 'test'; '' sets a share"):
        _ = Texts(str(tmp_path), tokenizer="word", test_split="tset").found
    found = Texts(str(tmp_path), tokenizer="word", test_split="", held_out=0.1).found
    assert found.rest[0]["test"].texts == 3
