import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxembed.data.cooccurrence as cooccurrence
from jaxembed.data import Corpus, Vocabulary, load, read_corpus
from jaxembed.data.cooccurrence import Cooccurrences, count_cooccurrences


def corpus_of(documents: list[list[int]], words: int, fingerprint: str = "f") -> Corpus:
    tokens = np.array([token for document in documents for token in document], np.int32)
    offsets = np.cumsum([0, *map(len, documents)])
    vocabulary = Vocabulary([f"w{i}" for i in range(words)], np.bincount(tokens, minlength=words))
    return Corpus(vocabulary, tokens, offsets, len(tokens), fingerprint)


def reference(documents: list[list[int]], window: int) -> dict[tuple[int, int], float]:
    """GloVe's `cooccur -symmetric 1`: every token adds 1 / distance to X[it, earlier] and to X[earlier, it]."""
    counts: dict[tuple[int, int], float] = defaultdict(float)
    for document in documents:
        for i, token in enumerate(document):
            for j in range(max(0, i - window), i):
                counts[token, document[j]] += 1 / (i - j)
                counts[document[j], token] += 1 / (i - j)
    return counts


def check(counted: Cooccurrences, documents: list[list[int]], window: int):
    full = reference(documents, window)
    assert (counted.rows.dtype, counted.columns.dtype, counted.counts.dtype) == (np.int32, np.int32, np.float32)
    keys = list(zip(counted.rows.tolist(), counted.columns.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    assert set(keys) == {(i, j) for i, j in full if i >= j}
    np.testing.assert_allclose(counted.counts, [full[key] for key in keys], rtol=1e-7)
    assert counted.nnz_full == len(full)


def same(one: Cooccurrences, other: Cooccurrences) -> bool:
    """Equal to the bit, and in the same order."""
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("rows", "columns", "counts"))


corpora = st.integers(1, 12).flatmap(
    lambda words: st.tuples(
        st.lists(st.lists(st.integers(0, words - 1), max_size=25), max_size=8).filter(any), st.just(words)
    )
)


@settings(max_examples=60, deadline=None)
@given(corpora, st.integers(1, 30), st.integers(1, 40), st.sampled_from([1, 7, 100, 1 << 19]), st.integers(1, 3))
def test_against_plain_python(corpus, window, chunk_tokens, bucket_pairs, workers):
    documents, words = corpus
    options = {"chunk_tokens": chunk_tokens, "bucket_pairs": bucket_pairs, "workers": workers}
    counted = count_cooccurrences(corpus_of(documents, words), window, cache=False, **options)
    check(counted, documents, window)


@pytest.fixture
def documents():
    """Words of falling frequency over a vocabulary large enough for both tables and sorting; some documents empty."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(0, 60, 150) * (generator.random(150) < 0.9)
    return [np.minimum(generator.zipf(1.3, n) - 1, 2999).tolist() for n in lengths]


@pytest.mark.parametrize("window", [1, 4, 22])
def test_the_cut_of_the_work_changes_nothing(documents, window, monkeypatch):
    monkeypatch.setattr(cooccurrence, "PILE_PAIRS", 500)  # several piles
    monkeypatch.setattr(cooccurrence, "READ", 500)
    ways = {"_tabulate": 0, "_sort": 0, "_merge": 0}

    def counted(name, function):
        def call(*arguments):
            ways[name] += 1
            return function(*arguments)

        return call

    for name in ways:
        method = getattr(cooccurrence._Counting, name)
        monkeypatch.setattr(cooccurrence._Counting, name, counted(name, method))
    corpus = corpus_of(documents, 3000)
    whole = count_cooccurrences(corpus, window, cache=False)
    check(whole, documents, window)
    for options in (
        {"workers": 1},
        {"workers": 4, "bucket_pairs": 3000},
        {"bucket_pairs": 1},
        {"bucket_pairs": 300, "chunk_tokens": 1000},
        {"bucket_pairs": 5000, "chunk_tokens": 77, "workers": 1},
        {"chunk_tokens": 500},
    ):
        assert same(count_cooccurrences(corpus, window, cache=False, **options), whole)
    assert all(ways.values()), ways


def test_a_real_text_against_sparse_matrices():
    """X is the sum over distances d of (A + A^T) / d, where A counts the pairs exactly d apart."""
    import scipy.sparse

    rows = load("enwik8-small", "train")["text"][:100]
    corpus = read_corpus([row.split() for row in rows], min_count=5)
    document = np.repeat(np.arange(corpus.documents), np.diff(corpus.offsets))
    size = (len(corpus.vocabulary),) * 2
    expected = scipy.sparse.csr_array(size)
    for d in range(1, 11):
        inside = document[d:] == document[:-d]
        pairs = corpus.tokens[d:][inside], corpus.tokens[:-d][inside]
        one_way = scipy.sparse.coo_array((np.full(len(pairs[0]), 1 / d), pairs), size).tocsr()
        expected += one_way + one_way.T
    counted = count_cooccurrences(corpus, cache=False, bucket_pairs=1 << 14, chunk_tokens=30_000)
    assert counted.window == 10
    full = counted.to_scipy().tocsr()
    assert counted.nnz_full == full.nnz == expected.nnz
    assert abs(full - full.T).max() == 0
    assert (abs(full - expected) > 1e-6 * expected).nnz == 0


def test_a_word_beside_itself_counts_from_both_sides():
    counted = count_cooccurrences(corpus_of([[0, 0, 1, 0]], 2), 2, cache=False)
    assert counted.to_scipy().toarray().tolist() == [[2 * (1 + 1 / 2), 1 / 2 + 1 + 1], [2.5, 0]]
    assert (len(counted.counts), counted.nnz_full) == (2, 3)


def test_windows_end_with_the_document():
    documents = [[0, 1], [], [2], [], [], [0, 2]]
    counted = count_cooccurrences(corpus_of(documents, 3), 1_000_000, cache=False)
    assert sorted(zip(counted.rows, counted.columns, counted.counts, strict=True)) == [(1, 0, 1), (2, 0, 1)]


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("chunk_tokens", [1, 100])
def test_no_pairs(cache, chunk_tokens):
    counted = count_cooccurrences(corpus_of([[0], [1], [0]], 2), cache=cache, chunk_tokens=chunk_tokens)
    assert (len(counted.counts), counted.nnz_full) == (0, 0)
    assert counted.to_scipy().nnz == 0


def test_the_order_is_shuffled(documents, monkeypatch):
    monkeypatch.setattr(cooccurrence, "PILE_PAIRS", 5000)
    counted = count_cooccurrences(corpus_of(documents, 3000), cache=False)
    place = np.arange(len(counted.rows))
    assert len(place) > 5000
    for values in (counted.rows, counted.columns, counted.counts):
        assert abs(np.corrcoef(place, values)[0, 1]) < 4 / np.sqrt(len(place))  # 4 standard errors
        assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 4 / np.sqrt(len(place))


# -- the cache


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache/cooccurrences").iterdir())


def test_cache_is_used_and_keyed_by_corpus_and_window(documents, tmp_path, monkeypatch):
    corpus = corpus_of(documents, 3000, "one")
    first = count_cooccurrences(corpus, 3, chunk_tokens=1000)
    assert all(isinstance(array, np.memmap) for array in (first.rows, first.columns, first.counts))
    assert (first.window, first.fingerprint, first.vocabulary) == (3, "one", corpus.vocabulary)
    assert same(first, count_cooccurrences(corpus, 3, cache=False))
    (entry,) = entries(tmp_path)
    names = {"rows.npy", "columns.npy", "counts.npy", "entries.json"}
    assert {file.name for file in entry.iterdir()} == names  # and no temporary file
    with monkeypatch.context() as patch:
        patch.delattr(cooccurrence, "_Counting")
        assert same(count_cooccurrences(corpus, 3), first)
    assert not same(count_cooccurrences(corpus, 4), first)
    assert not same(count_cooccurrences(corpus_of(documents[1:], 3000, "other"), 3), first)
    assert len(entries(tmp_path)) == 3


@pytest.mark.parametrize("name", ["rows.npy", "columns.npy", "counts.npy", "entries.json"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_damaged_cache_is_counted_again(documents, tmp_path, name, damage):
    corpus = corpus_of(documents, 3000)
    count_cooccurrences(corpus, 2)
    file = entries(tmp_path)[0] / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"cut": content[:-5], "empty": b""}[damage])
    with pytest.warns(UserWarning, match="damaged .*: building it again"):
        again = count_cooccurrences(corpus, 2)
    assert same(again, count_cooccurrences(corpus, 2, cache=False))
    count_cooccurrences(corpus, 2)  # a warning would be an error here


def test_a_failed_count_leaves_nothing(documents, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cooccurrence._Counting, "_bucket", stop)
    with pytest.raises(KeyboardInterrupt):
        count_cooccurrences(corpus_of(documents, 3000), 3)
    assert entries(tmp_path) == []


def test_two_processes_may_count_the_same_corpus(documents, tmp_path, monkeypatch):
    corpus, shuffle = corpus_of(documents, 3000), cooccurrence._shuffle

    def overtaken(*arguments):
        monkeypatch.setattr(cooccurrence, "_shuffle", shuffle)
        count_cooccurrences(corpus, 3)  # the other one finishes first
        return shuffle(*arguments)

    monkeypatch.setattr(cooccurrence, "_shuffle", overtaken)
    check(count_cooccurrences(corpus, 3), documents, 3)
    assert len(entries(tmp_path)) == 1


def test_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAXEMBED_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="JAXEMBED_CACHE"):
        found = count_cooccurrences(corpus_of([[0, 0]], 1))
    assert found.counts.tolist() == [2.0]


# -- bad input


@pytest.mark.parametrize("name", ["window", "chunk_tokens", "bucket_pairs", "workers"])
@pytest.mark.parametrize("value", [0, -3])
def test_settings_under_one(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not {value}"):
        count_cooccurrences(corpus_of([[0, 0]], 1), **{name: value})


def test_empty_corpus():
    for documents in ([], [[], []]):
        with pytest.raises(ValueError, match="the corpus is empty"):
            count_cooccurrences(corpus_of(documents, 1))


# -- the corpus of the benchmark


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("JAXEMBED_DATA"), reason="JAXEMBED_DATA is not set: needs enwik8-text")
def test_as_many_entries_as_stanfords_program_counts(data_folder, monkeypatch):
    monkeypatch.setenv("JAXEMBED_DATA", data_folder)
    counted = count_cooccurrences(read_corpus("enwik8-text", split="train"))
    assert counted.nnz_full == 36_852_603
