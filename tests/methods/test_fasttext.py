import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.data.text import Corpus, Vocabulary
from jaxembed.methods import fasttext
from jaxembed.methods.fasttext import FastText
from jaxembed.methods.skipgram import SkipGram
from jaxembed.objectives import PAIRWISE, pairwise
from jaxembed.subwords import subwords, word_parts
from jaxembed.tables import gather

from .word_reference import prepared, random_tables, skipgram_step, step_on, zipf_documents

SMALL = {"vector_size": 6, "window": 3, "block": 8, "tile": 4, "step_tokens": 32, "shared_negatives": 5, "sample": 0.0}
GRAMS = {"min_n": 2, "max_n": 4, "bucket": 97}
# Forms of a word, an n-gram that is met twice, a word as short as an n-gram, letters of two to four bytes, and one that is alone.
WORDS = ["walk", "walks", "walked", "talk", "banana", "a", "naïve", "naïveté", "日本", "日本語", "𝔸𝔹", "xyzzy"]


def fnv(gram: str) -> int:
    """The hash of fastText, written out: 32 bits, bytes as signed characters."""
    found = 2166136261
    for byte in gram.encode():
        found = ((found ^ (byte - 256 if byte > 127 else byte)) * 16777619) % 2**32
    return found


def cut(word: str, min_n: int, max_n: int) -> list[str]:
    """The n-grams of a word, as Bojanowski et al. have them."""
    whole = f"<{word}>"
    starts = [(i, n) for i in range(len(whole)) for n in range(max(min_n, 1), max_n + 1) if i + n <= len(whole)]
    return [whole[i : i + n] for i, n in starts if whole[i : i + n] not in ("<", ">")]


def test_n_grams_have_the_numbers_of_fasttext():
    assert fnv("a") == 0xE40C292C  # from the page of Fowler, Noll and Vo
    assert fnv("foobar") == 0xBF9CF968
    offsets, ids = subwords(["night", "тест", "a"], 3, 5, 2_000_000)
    assert [fnv(gram) % 2_000_000 for gram in ("<ni", "<nig", "<nigh", "nig")] == ids[:4].tolist()
    assert ids.tolist() == [fnv(gram) % 2_000_000 for word in ("night", "тест", "a") for gram in cut(word, 3, 5)]
    assert offsets.tolist() == [0, 12, 21, 22]


@pytest.mark.parametrize("sizes", [(3, 6, 2_000_000), (1, 2, 50), (0, 3, 7), (2, 2, 1), (5, 9, 2**32 - 1)])
def test_n_grams_are_those_of_gensim(sizes):
    hashes = pytest.importorskip("gensim.models.fasttext").ft_ngram_hashes
    offsets, ids = subwords(WORDS, *sizes)
    assert np.diff(offsets).tolist() == [len(hashes(word, *sizes)) for word in WORDS]
    assert ids.tolist() == [number for word in WORDS for number in hashes(word, *sizes)]


def test_without_n_grams_words_are_their_own_rows():
    for sizes in ((3, 6, 0), (3, -1, 100), (5, 3, 100)):
        parts = word_parts(WORDS, *sizes)
        assert parts.number == len(WORDS)
        assert parts.rows.tolist() == list(range(len(WORDS)))
        assert (parts.weights == 1).all()
        assert not len(parts.grams)


def numbers_of(word):
    """The n-grams of a word by their numbers, each as often as it occurs."""
    return [fnv(gram) % GRAMS["bucket"] for gram in cut(word, GRAMS["min_n"], GRAMS["max_n"])]


def whole_tables(parts, table):
    """The words' own vectors, and those of all n-grams by their numbers; what was never met is zero."""
    grams = np.zeros((GRAMS["bucket"], table.shape[1]))
    grams[parts.grams] = table[parts.gram_rows]
    return table[: len(WORDS)].astype(np.float64), grams


def composed(own, grams):
    """The mean of each word's own vector and those of its n-grams."""
    return np.array([np.mean([own[i], *grams[numbers_of(word)]], 0) for i, word in enumerate(WORDS)])


def corpus(rng):
    tokens = [np.asarray(one, np.int32) for one in [*zipf_documents(rng, len(WORDS), 3, 17), [3], [0, 1]]]
    counts = np.maximum(np.bincount(np.concatenate(tokens), minlength=len(WORDS)), 1)
    offsets = np.cumsum([0, *map(len, tokens)])
    return Corpus(Vocabulary(WORDS, counts), np.concatenate(tokens), offsets, int(offsets[-1]), "0" * 32)


@pytest.mark.parametrize("name", PAIRWISE)
def test_a_step_equals_one_with_a_vector_for_each_n_gram(name):
    # The reference has the whole tables of fastText, and moves each n-gram as often as it occurs in a word.
    rng = np.random.default_rng(0)
    text = corpus(rng)
    method = FastText(objective=pairwise(name), negative=3, **GRAMS, **SMALL)
    shard = prepared(method, text)
    batch = method.batch(shard, jnp.int32(0), jax.random.key(0))
    parts = method.parts(WORDS)
    assert parts.number < len(WORDS) + len(parts.grams)  # some share a row
    tables = {"in": rng.normal(0, 0.7, (parts.number, 6)), "out": random_tables(rng, len(WORDS), 6)["out"]}
    own, grams = whole_tables(parts, tables["in"])
    words = composed(own, grams)
    counts = text.vocabulary.counts.astype(np.float64)
    loss, weight, expected = skipgram_step(method, name, batch, {"in": words, "out": tables["out"]}, counts)
    moves = expected["in"] - words
    for i, word in enumerate(WORDS):
        own[i] += moves[i]
        np.add.at(grams, numbers_of(word), moves[i])
    actual, metrics = step_on(method, batch, tables)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=2e-5)
    np.testing.assert_allclose(metrics["weight"], weight, rtol=1e-5)
    found = whole_tables(parts, actual["in"][:, :6])
    for one, reference in zip((*found, actual["out"][:, :6]), (own, grams, expected["out"]), strict=True):
        np.testing.assert_allclose(one, reference, rtol=1e-4, atol=1e-4)
    assert np.abs(moves).max() > 0.01
    np.testing.assert_allclose(vectors_of(method, text, actual["in"]), composed(own, grams), rtol=1e-4, atol=1e-4)


def vectors_of(method, text, table):
    constants = method.source(text).constants
    params = method.init(jax.random.key(0), constants)
    tables = {**params.tables, "in": jnp.asarray(table)}
    return np.asarray(method.vectors(params._replace(tables=tables), constants))


def test_words_are_put_together_in_parts(monkeypatch):
    rng = np.random.default_rng(1)
    method, text = FastText(**GRAMS, **SMALL), corpus(rng)
    parts = method.parts(WORDS)
    table = np.float32(rng.normal(size=(parts.number, 8)))
    expected = composed(*whole_tables(parts, table))[:, :6]
    for size in (1, 5, 1 << 12):
        monkeypatch.setattr(fasttext, "_AT_ONCE", size)
        np.testing.assert_allclose(vectors_of(method, text, table), expected, atol=1e-6)


@pytest.mark.parametrize("none", [{"max_n": 0}, {"bucket": 0}, {"min_n": 0, "max_n": 0}])
def test_without_n_grams_it_is_skip_gram(none):
    rng = np.random.default_rng(2)
    text, tables = corpus(rng), random_tables(rng, len(WORDS), 6)
    ours, plain = FastText(**none, **SMALL), SkipGram(**SMALL)
    batch = ours.batch(prepared(ours, text), jnp.int32(0), jax.random.key(0))
    other = plain.batch(prepared(plain, text), jnp.int32(0), jax.random.key(0))
    expected, metrics = step_on(plain, other, tables)
    actual, found = step_on(ours, batch, tables)
    np.testing.assert_allclose(found["loss"], metrics["loss"], rtol=1e-6)
    for name, table in expected.items():
        np.testing.assert_allclose(actual[name], table, atol=1e-5)
    key, constants = jax.random.key(3), ours.source(text).constants
    np.testing.assert_array_equal(ours.init(key, constants).tables["in"], plain.init(key, constants).tables["in"])


def test_what_finds_no_room_in_a_step_is_left_out(monkeypatch):
    rng = np.random.default_rng(3)
    method, text = FastText(**GRAMS, **SMALL), corpus(rng)
    whole = method.batch(prepared(method, text), jnp.int32(0), jax.random.key(0))
    monkeypatch.setattr(FastText, "_room", lambda *_: 9)
    batch = method.batch(prepared(method, text), jnp.int32(0), jax.random.key(0))
    for name in ("parts", "weights", "of"):
        np.testing.assert_array_equal(batch[name], whole[name][:9])
    tables = {"in": rng.normal(size=(method.parts(WORDS).number, 6)), "out": rng.normal(size=(len(WORDS), 6))}
    actual, metrics = step_on(method, batch, tables)
    assert np.isfinite(metrics["loss"])
    moved = np.flatnonzero((actual["in"][:, :6] != np.float32(tables["in"])).any(1))
    assert set(moved) <= set(np.asarray(batch["parts"])[np.asarray(batch["weights"]) > 0])


def test_there_is_room_for_the_words_of_a_step():
    rng = np.random.default_rng(4)
    documents = zipf_documents(rng, 400, 40, 300)
    tokens = np.concatenate(documents).astype(np.int32)
    words = ["".join(rng.choice(list("abcdefgh"), rng.integers(2, 12))) + str(i) for i in range(400)]
    offsets = np.cumsum([0, *map(len, documents)])
    text = Corpus(Vocabulary(words, np.bincount(tokens, minlength=400) + 1), tokens, offsets, len(tokens), "0" * 32)
    method = FastText(step_tokens=128, block=32, sample=1e-2).suited_to(text)
    shard = prepared(method, text)
    room, counts = shard.constants["room"].value, np.asarray(shard.constants["groups"]["counts"])
    needed = []
    for step in range(0, method.steps(shard), 5):
        batch = method.batch(shard, jnp.int32(step), jax.random.key(step))
        needed.append(counts[np.unique(method.centres(batch["tokens"]))].sum())
        vectors = gather(jnp.ones((shard.constants["rows"].value, 8)), method.lookups(batch)["words"][1])
        # Weights of a word add up to 1, and so do all of them.
        np.testing.assert_allclose(vectors[np.asarray(batch["place"])], 1, rtol=1e-5)
    assert max(needed) <= room < 2 * np.mean(needed)


@pytest.mark.parametrize("size", [12, 1 << 30])
def test_distinct_words(size):
    tokens = np.random.default_rng(5).integers(0, 12, 40).astype(np.int32)
    words, place, used = (np.asarray(x) for x in fasttext._distinct(jnp.asarray(tokens), size))
    np.testing.assert_array_equal(words[used], np.unique(tokens))
    np.testing.assert_array_equal(words[place], tokens)


@pytest.mark.parametrize(
    ("settings", "why"),
    [({"min_n": 5, "max_n": 3}, r"min_n must not be above max_n.*max_n=0"), ({"bucket": 2**32}, "bucket must be below"),
     ({"min_n": -1}, "min_n"), ({"max_n": -2}, "max_n"), ({"bucket": -1}, "bucket")],
)  # fmt: skip
def test_bad_settings(settings, why):
    with pytest.raises(ValueError, match=why):
        FastText(**settings)
