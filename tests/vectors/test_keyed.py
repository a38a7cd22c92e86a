"""KeyedVectors against gensim's on the same matrix."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors as Gensim

from jaxembed.vectors import KeyedVectors, load_vectors

# gensim's most_similar_cosmul calls its own deprecated init_sims.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated `init_sims`:DeprecationWarning")

QUESTIONS = """\
: family
w1 w2 w3 w4
W5 w6 w7 W8
: gram1
w9 w10 w11 w12
missing w1 w2 w3
w1 w2 w3 w250
"""


def peer(ours: KeyedVectors) -> Gensim:
    theirs = Gensim(ours.vector_size)
    theirs.add_vectors(ours.index_to_key, ours.vectors)
    return theirs


@pytest.fixture(scope="module")
def ours() -> KeyedVectors:
    random = np.random.default_rng(0)
    keys = [f"w{i}" for i in range(296)] + ["W5", "W12", "W250", "upper"]
    return KeyedVectors(keys, random.standard_normal((300, 12)).astype(np.float32))


@pytest.fixture(scope="module")
def theirs(ours) -> Gensim:
    return peer(ours)


def same(found, expected) -> None:
    assert [key for key, _ in found] == [key for key, _ in expected]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"positive": "w3"},
        {"positive": ["w1", "w2"], "negative": ["w3"]},
        {"positive": ["w1", ("w2", 0.5)], "negative": [("w3", -2.0), 7]},
        {"negative": "w4", "topn": 3},
        {"positive": ["w1"], "restrict_vocab": 20, "topn": 5},
        {"positive": ["w290"], "restrict_vocab": 20, "topn": 50},
        {"positive": ["w1"], "clip_start": 10, "clip_end": 40},
        {"positive": ["w1"], "topn": 0},
        {"positive": ["w1"], "topn": 1000},
        {"positive": np.arange(12, dtype=np.float32)},
        {"positive": [np.arange(12.0), "w1"], "negative": [(np.ones(12), 0.1)]},
    ],
)
def test_most_similar(ours, theirs, options):
    same(ours.most_similar(**options), theirs.most_similar(**options))


@pytest.mark.parametrize(
    "options", [{"positive": ["w1", "w2"], "negative": ["w3"]}, {"positive": "w1", "topn": 4}, {"positive": ["w9"] * 2}]
)
def test_most_similar_cosmul(ours, theirs, options):
    found, expected = ours.most_similar_cosmul(**options), theirs.most_similar_cosmul(**options)
    assert [key for key, _ in found] == [key for key, _ in expected]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], rtol=1e-5)


def test_all_scores(ours, theirs):
    for name in ("most_similar", "most_similar_cosmul"):
        found, expected = (getattr(kv, name)(["w1"], ["w2"], topn=None) for kv in (ours, theirs))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)


def test_similarities(ours, theirs):
    same(ours.similar_by_word("w8"), theirs.similar_by_word("w8"))
    same(ours.similar_by_key("w8", topn=2), theirs.similar_by_key("w8", topn=2))
    same(ours.similar_by_vector(ours["w8"]), theirs.similar_by_vector(theirs["w8"]))
    for one, other in (("w1", "w2"), ("w3", "w3"), ("w4", "upper")):
        assert ours.similarity(one, other) == pytest.approx(theirs.similarity(one, other), abs=2e-6)
        assert ours.distance(one, other) == pytest.approx(theirs.distance(one, other), abs=2e-6)
        assert ours.rank(one, other) == theirs.rank(one, other)
    sets = ["w1", "w2", "nowhere"], ["w3", "w4", "w5"]
    assert ours.n_similarity(*sets) == pytest.approx(theirs.n_similarity(*sets), abs=2e-6)
    for start in range(0, 60, 6):
        words = [f"w{i}" for i in range(start, start + 6)]
        assert ours.doesnt_match(words) == theirs.doesnt_match(words)
    assert ours.doesnt_match(["w1", "nowhere", "w2", "w3"]) == theirs.doesnt_match(["w1", "nowhere", "w2", "w3"])


def test_lookups(ours, theirs):
    assert "w5" in ours
    assert "nowhere" not in ours
    assert 300 not in ours
    assert len(ours) == 300
    assert ours.vector_size == 12
    assert ours.key_to_index["W5"] == ours.get_index("W5") == 296
    assert ours.get_index("nowhere", -1) == -1
    assert (ours["w7"] == theirs["w7"]).all()
    assert (ours[["w7", "w1"]] == theirs[["w7", "w1"]]).all()
    assert (ours[3] == theirs[3]).all()
    np.testing.assert_allclose(ours.get_vector("w7", norm=True), theirs.get_vector("w7", norm=True), rtol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        ours["w7"][0] = 1
    np.testing.assert_allclose(
        ours.get_mean_vector(["w1", "w2"], [1, -3], post_normalize=True),
        theirs.get_mean_vector(["w1", "w2"], [1, -3], post_normalize=True),
        atol=1e-6,
    )


def test_a_vector_of_zeros_has_no_direction():
    words = KeyedVectors(["a", "b"], np.array([[3, 4], [0, 0]], np.float32))
    assert words.norms[0] == 5
    assert words.similarity("a", "b") == 0  # and not NaN


@pytest.mark.parametrize("options", [{}, {"restrict_vocab": 100}, {"case_insensitive": False}, {"dummy4unknown": True}])
def test_word_pairs_and_analogies_of_a_file(ours, theirs, tmp_path, options):
    random = np.random.default_rng(1)
    rows = [f"w{random.integers(60)}\tw{random.integers(60, 320)}\t{random.integers(5)}" for _ in range(90)]
    pairs, questions = tmp_path / "pairs.tsv", tmp_path / "questions.txt"
    pairs.write_text("# Word 1\tWord 2\tHuman\n\n" + "\n".join([*rows, "W5\tw5\t3", "UPPER\tw1\t2.5"]) + "\n")
    found, expected = (kv.evaluate_word_pairs(str(pairs), **options) for kv in (ours, theirs))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-4)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4)
    assert found[2] == pytest.approx(expected[2])

    questions.write_text(QUESTIONS)
    found, expected = (kv.evaluate_word_analogies(str(questions), **options) for kv in (ours, theirs))
    assert found == expected


def test_glove_answers_as_gensim_does(tmp_path):
    """On real vectors, with the Google analogies: the same answer to each question."""
    if not os.environ.get("JAXEMBED_DATA"):
        pytest.skip("JAXEMBED_DATA is not set: needs weights/glove-6b-50d-4k.txt.gz")
    from jaxembed.evaluation import load_questions

    ours = load_vectors(Path(os.environ["JAXEMBED_DATA"]) / "weights" / "glove-6b-50d-4k.txt.gz")
    assert (len(ours), ours.vector_size) == (4197, 50)
    theirs = peer(ours)
    lines, category = [], None
    for question in load_questions("google")[::3]:
        if question.category != category:
            category = question.category
            lines.append(f": {category}")
        lines.append(" ".join(question[2:]))
    path = tmp_path / "questions.txt"
    path.write_text("\n".join(lines))
    score, sections = ours.evaluate_word_analogies(path, restrict_vocab=4000)
    assert (score, sections) == theirs.evaluate_word_analogies(str(path), restrict_vocab=4000)
    assert score > 0.2
    assert ours.most_similar(positive=["king", "woman"], negative=["man"])[0][0] == "queen"
    for start in range(0, 400, 5):
        words = ours.index_to_key[start : start + 5]
        assert ours.doesnt_match(words) == theirs.doesnt_match(words)


def test_the_shipped_sets_by_name(ours):
    _, _, oov = KeyedVectors(["tiger", "cat", "car"], np.eye(3)).evaluate_word_pairs("wordsim353")
    assert 0 < oov < 100
    score, sections = ours.evaluate_word_analogies("google")
    assert score == 0
    assert [section["section"] for section in sections][:2] == ["capital-common-countries", "capital-world"]
    with pytest.raises(FileNotFoundError, match="neither a file nor one of the sets wordsim353"):
        ours.evaluate_word_pairs("wordsim")
    with pytest.raises(ValueError, match="fewer than two"):
        ours.evaluate_word_pairs("rg65")


def test_save_and_load(ours, tmp_path):
    counted = KeyedVectors(ours.index_to_key, ours.vectors, np.arange(300))
    counted.save(tmp_path / "v")
    for mmap in (None, "r"):
        read = KeyedVectors.load(tmp_path / "v", mmap=mmap)
        assert read.index_to_key == ours.index_to_key
        assert (read.vectors == ours.vectors).all()
        assert read.get_vecattr("w9", "count") == 9
        assert read.most_similar("w3") == ours.most_similar("w3")
    with pytest.raises(KeyError, match="count"):
        ours.get_vecattr("w9", "count")


def test_vectors_for_all(ours, theirs):
    keys = ["w9", "nowhere", "W5", "w9", "w1"]
    found, expected = ours.vectors_for_all(keys), theirs.vectors_for_all(keys)
    assert found.index_to_key == expected.index_to_key == ["w9", "W5", "w1"]
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    found["w9"] = np.zeros(12)
    assert ours["w9"].any()  # a table of its own
    counted = KeyedVectors(["a", "b"], np.eye(2), [5, 3]).vectors_for_all(["b"], copy_vecattrs=True)
    assert counted.get_vecattr("b", "count") == 3
    assert len(ours.vectors_for_all(["nowhere"])) == 0


@pytest.mark.parametrize("binary", [False, True])
def test_intersecting_with_a_file(tmp_path, ours, theirs, binary):
    mine = [KeyedVectors(["w7", "own", "W5"], np.ones((3, 12))) for _ in range(2)]
    ours.save_word2vec_format(tmp_path / "v", binary=binary)
    mine[0].intersect_word2vec_format(tmp_path / "v", lockf=1.0, binary=binary)
    with pytest.warns(UserWarning, match=r"lockf=0\.0 has no effect"):
        mine[1].intersect_word2vec_format(fname=tmp_path / "v", binary=binary)
    for kv in mine:
        assert kv.index_to_key == ["w7", "own", "W5"]
        np.testing.assert_array_equal(kv.vectors, [ours["w7"], np.ones(12), ours["W5"]])
    if not binary:  # gensim reads binary ones with what NumPy has no more
        peer = Gensim(12)
        peer.add_vectors(["w7", "own", "W5"], np.ones((3, 12), np.float32))
        peer.vectors_lockf = np.ones(3, np.float32)
        peer.intersect_word2vec_format(str(tmp_path / "v"), lockf=1.0)
        np.testing.assert_array_equal(mine[0].vectors, peer.vectors)
    with pytest.raises(ValueError, match="12 dimensions, these 3"):
        KeyedVectors(3).intersect_word2vec_format(tmp_path / "v", lockf=1.0, binary=binary)


def test_keywords_are_gensims(tmp_path, ours, theirs):
    place = str(tmp_path / "v")
    ours.save_word2vec_format(fname=place, binary=True)
    found, expected = (
        kind.load_word2vec_format(fname=place, binary=True, datatype=np.float16) for kind in (KeyedVectors, Gensim)
    )
    np.testing.assert_array_equal(found.vectors, expected.vectors.astype(np.float32))
    assert (found.vectors != ours.vectors).any()
    ours.save(fname=place)
    assert (KeyedVectors.load(fname=place).vectors == ours.vectors).all()
    with pytest.raises(ValueError, match="datatype must be a type of floats"):
        KeyedVectors.load_word2vec_format(place, datatype=np.int32)


GENSIM_3 = {
    "vocab": "key_to_index",
    "index2word": "index_to_key",
    "index2entity": "index_to_key",
    "syn0": "vectors",
    "syn0norm": "get_normed_vectors",
    "vectors_norm": "get_normed_vectors",
    "init_sims": "unit_normalize_all",
    "word_vec": "get_vector",
    "words_closer_than": "closer_than",
    "accuracy": "evaluate_word_analogies",
}


@pytest.mark.parametrize(("name", "successor"), GENSIM_3.items(), ids=GENSIM_3)
def test_names_of_gensim_3_name_their_successor(ours, name, successor):
    message = rf"KeyedVectors has no '{name}', a name of gensim 3: use {successor}"
    with pytest.raises(AttributeError, match=message):
        getattr(ours, name)
    with pytest.raises(AttributeError, match=message):
        setattr(ours, name, {})
    assert not hasattr(ours, name)
    assert hasattr(ours, successor)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_benchmarks_leave_out_vectors_that_are_not_finite(tmp_path, ours, bad):
    (tmp_path / "pairs").write_text("".join(f"w{i} w{i + 40} {i % 7}\n" for i in range(30)))
    (tmp_path / "questions").write_text(QUESTIONS)
    without = KeyedVectors([key for key in ours.index_to_key if key != "w4"], np.delete(ours.vectors, 4, axis=0))
    spoilt = KeyedVectors(ours.index_to_key, ours.vectors.copy())
    spoilt.vectors[4, 3] = bad
    for options in ({}, {"dummy4unknown": True}):
        found, expected = (kv.evaluate_word_pairs(tmp_path / "pairs", **options) for kv in (spoilt, without))
        np.testing.assert_allclose(np.hstack(found), np.hstack(expected), rtol=1e-5)
        found, expected = (kv.evaluate_word_analogies(tmp_path / "questions", **options) for kv in (spoilt, without))
        assert found == expected


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int32])
def test_any_numbers_become_float32(kind):
    assert KeyedVectors(["a"], np.array([[1, 2]], kind)).vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("keys", "shape", "counts", "message"),
    [
        (["a", "b", "a"], (3, 2), None, "'a' comes twice, in rows 0 and 2"),
        (["a", "b"], (3, 2), None, "a row for each of the 2 keys"),
        (["a", "b"], (2,), None, "a row for each of the 2 keys"),
        (["a", "b"], (2, 2), [1], "expected 2 values of the attribute 'count'"),
        (["a", 5], (2, 2), None, "keys are strings, found 5"),
    ],
)
def test_bad_construction(keys, shape, counts, message):
    with pytest.raises(ValueError, match=message):
        KeyedVectors(keys, np.ones(shape), counts)


def test_an_unknown_key_suggests_near_ones():
    words = KeyedVectors(["the", "king", "kings", "Paris", "queen", "string"], np.ones((6, 2)))
    for call in (words.get_vector, words.most_similar, lambda key: words[[key]], words.get_index):
        with pytest.raises(KeyError) as raised:
            call("kingd")
        message = str(raised.value)
        assert message.startswith("'kingd' is not among the 6 keys: did you mean")
        assert "'king'" in message
        assert "'kings'" in message
    with pytest.raises(KeyError, match="did you mean 'Paris'"):
        words.similarity("the", "paris")
    with pytest.raises(KeyError, match=r"'zzzzzzz' is not among the 6 keys$"):
        words.similarity("the", "zzzzzzz")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda kv: kv.most_similar(), "no key"),
        (lambda kv: kv.most_similar_cosmul(negative="w1"), "no positive key"),
        (lambda kv: kv.most_similar(np.ones(5)), "dimension 12"),
        (lambda kv: kv.doesnt_match(["x", "y"]), "none of"),
        (lambda kv: kv.n_similarity([], ["w1"]), "none of"),
        (lambda kv: kv.save_word2vec_format("v", binary=True, write_header=False), "header"),
        (lambda kv: kv.save_word2vec_format("v", fvocab="c"), "no counts"),
        (lambda kv: kv.load_word2vec_format("v", binary=True, no_header=True), "header"),
    ],
)
def test_bad_calls(ours, call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings(), pytest.raises(ValueError, match=message):
        call(ours)
    assert not any(tmp_path.iterdir())
