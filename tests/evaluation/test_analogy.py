"""Word analogies against gensim's own count, and against a plain reading of the definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gensim.models import KeyedVectors as Gensim

from jaxembed.evaluation.analogy import Question, analogy_task, evaluate_analogies

WORDS = 400


def planted(seed: int = 0) -> tuple[list[str], np.ndarray, list[Question]]:
    """Words in two cases and pairs that differ by nearly the same vector, so that about half the answers are right."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((WORDS, 16)).astype(np.float32)
    keys = [f"w{i}" for i in range(WORDS - 40)] + [f"W{i}" for i in range(40)]
    for pair in range(0, 120, 2):
        vectors[pair + 1] = vectors[pair] + 1 + 0.7 * random.standard_normal(16)
    vectors[WORDS - 40 :] = vectors[:40] + 0.05 * random.standard_normal((40, 16))
    questions = []
    for number in range(600):
        one, two = random.choice(70, 2, replace=False) * 2
        name = "gram1-plural" if number % 3 else "family"
        kind = "syntactic" if number % 3 else "semantic"
        prefix = "W" if number % 2 else "w"
        questions.append(Question(name, kind, f"{prefix}{one}", f"w{one + 1}", f"w{two}", f"{prefix}{two + 1}"))
    questions += [Question("family", "semantic", "w1", "w2", "w1", "w2"), Question("family", "semantic", *"abcd")]
    questions += [Question("family", "semantic", "w4", "w5", "w6", f"w{WORDS - 41}")]
    return keys, vectors, sorted(questions)


@pytest.mark.parametrize("case_insensitive", [True, False])
@pytest.mark.parametrize("restrict_vocab", [100, 380, 10_000])
def test_the_count_is_gensims(tmp_path, restrict_vocab, case_insensitive):
    keys, vectors, questions = planted()
    lines = []
    for name in ("family", "gram1-plural"):
        lines += [f": {name}", *(" ".join(q[2:]) for q in questions if q.category == name)]
    (tmp_path / "questions").write_text("\n".join(lines))
    peer = Gensim(vectors.shape[1])
    peer.add_vectors(keys, vectors)
    score, sections = peer.evaluate_word_analogies(
        str(tmp_path / "questions"), restrict_vocab=restrict_vocab, case_insensitive=case_insensitive
    )
    found = evaluate_analogies(
        (keys, vectors), questions, restrict_vocab=restrict_vocab, case_insensitive=case_insensitive
    )
    assert found.accuracy == score
    assert 0.1 < score < 0.9
    for section, part in zip(sections, (found.semantic, found.syntactic, found), strict=True):
        assert part.correct == len(section["correct"])
        assert part.total == len(section["correct"]) + len(section["incorrect"])
    assert found.by_category == {"family": found.semantic, "gram1-plural": found.syntactic}
    assert found.oov + found.total == len(questions)
    assert found.restrict_vocab == min(restrict_vocab, WORDS)


@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
def test_the_answers_are_those_of_the_definition(method):
    keys, vectors, questions = planted(1)
    task = analogy_task(keys, questions, method=method, restrict_vocab=300, case_insensitive=False)
    unit = vectors[:300].astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    expected = []
    for a, b, c, d in task.rows:
        if method == "3cosadd":
            scores = unit @ (unit[b] - unit[a] + unit[c])
        else:
            near = [(1 + unit @ unit[word]) / 2 for word in (a, b, c)]
            scores = near[1] * near[2] / (near[0] + 1e-6)
        scores[[a, b, c]] = -np.inf
        expected.append(scores.argmax() == d)
    assert np.asarray(task.correct(vectors)).tolist() == expected
    assert 0 < np.mean(expected) < 1


def test_the_batch_changes_nothing():
    keys, vectors, questions = planted()
    counts = {evaluate_analogies((keys, vectors), questions, batch=batch).correct for batch in (None, 1, 7, 10_000)}
    assert len(counts) == 1


def test_a_word_of_the_question_is_never_the_answer():
    vectors = np.eye(4, dtype=np.float32)
    items = [("x", "semantic", "a", "b", "c", "b"), ("x", "semantic", "a", "b", "c", "B")]
    assert evaluate_analogies((["a", "b", "c", "d"], vectors), items).correct == 0


def test_vectors_without_information_score_nothing():
    keys, vectors, questions = planted()
    task = analogy_task(keys, questions)
    for useless in (0 * vectors, 0 * vectors + 1, np.full_like(vectors, np.nan)):
        assert task(useless) == 0


def test_nothing_covered_is_nan():
    found = evaluate_analogies((["a"], np.ones((1, 2))), [("x", "semantic", "p", "q", "r", "s")])
    assert (found.correct, found.total, found.oov) == (0, 0, 1)
    assert np.isnan(found.accuracy)
    assert np.isnan(analogy_task(["a"], [])(np.ones((1, 2))))


def test_a_task_runs_in_jit_and_over_seeds():
    keys, _, questions = planted()
    task = analogy_task(keys, questions)
    matrices = jnp.stack([planted(seed)[1] for seed in range(2)])
    np.testing.assert_allclose(jax.jit(jax.vmap(task))(matrices), [float(task(one)) for one in matrices], atol=1e-6)


def test_bad_settings_are_told():
    with pytest.raises(ValueError, match="the methods are 3cosadd, 3cosmul"):
        analogy_task(["a"], [], method="4cos")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="restrict_vocab must be at least 1"):
        analogy_task(["a"], [], restrict_vocab=0)


@pytest.mark.parametrize("method", ["3cosadd", "3cosmul"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_word_without_a_finite_vector_neither_asks_nor_answers(method, bad):
    keys, vectors, questions = planted()
    spoilt = vectors.copy()
    spoilt[[300, 4]] = bad  # a word that nobody asks about, and one of some questions
    found = evaluate_analogies((keys, spoilt), questions, method=method, case_insensitive=False)
    kept = [question for question in questions if "w4" not in question[2:]]
    assert 0 < len(kept) < len(questions)
    gone = [row for row in range(len(keys)) if row not in (300, 4)]
    expected = evaluate_analogies(
        ([keys[row] for row in gone], vectors[gone]), questions, method=method, case_insensitive=False
    )
    assert (found.correct, found.total, found.oov) == (expected.correct, expected.total, expected.oov)
    assert 0 < found.correct < found.total == len([q for q in kept if set(q[2:]) <= set(keys)])
    task = analogy_task(keys, kept, method=method, case_insensitive=False)
    assert float(task(spoilt)) == pytest.approx(found.accuracy)
