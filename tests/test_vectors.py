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


def test_norms_follow_a_change_when_told():
    changed = KeyedVectors(["a", "b"], np.array([[3, 4], [0, 0]], np.float32))
    assert changed.norms[0] == 5
    assert changed.similarity("a", "b") == 0  # of no direction, not NaN
    changed.vectors[0] = 0, 2
    changed.fill_norms(force=True)
    assert changed.norms[0] == 2


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


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int32])
def test_any_numbers_become_float32(kind):
    assert KeyedVectors(["a"], np.array([[1, 2]], kind)).vectors.dtype == np.float32


@pytest.mark.parametrize(
    ("keys", "shape", "counts", "message"),
    [
        (["a", "b", "a"], (3, 2), None, "'a' comes twice, in rows 0 and 2"),
        (["a", "b"], (3, 2), None, "a row for each of the 2 keys"),
        (["a", "b"], (2,), None, "a row for each of the 2 keys"),
        (["a", "b"], (2, 2), [1], "expected 2 counts"),
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
