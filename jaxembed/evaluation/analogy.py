"""Word analogies, a is to b as c is to d, by the rule of gensim and of word2vec's compute-accuracy.

3CosAdd (Mikolov et al. 2013) looks for the word whose vector is nearest to b - a + c, 3CosMul (Levy and Goldberg 2014,
equation 4) for the one that maximises cos(b) cos(c) / (cos(a) + 1e-6), cosines shifted to [0, 1].
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxembed.evaluation.lookup import Words, first_rows, fold, keys_and_matrix, known_rows, words_of
from jaxembed.evaluation.neighbours import WordVectors, cosines, finite_rows, unit
from jaxembed.naming import unknown

Method = Literal["3cosadd", "3cosmul"]


class Question(NamedTuple):
    """`a` is to `b` as `c` is to `d`; `kind` is "semantic" or "syntactic"."""

    category: str
    kind: str
    a: str
    b: str
    c: str
    d: str


@dataclass(frozen=True)
class Tally:
    """Of `total` questions answered, `correct` were right; `oov` more had a word without a (finite) vector."""

    correct: int
    total: int
    oov: int

    @property
    def accuracy(self) -> float:
        """The share of correct answers; NaN where no question could be answered."""
        return self.correct / self.total if self.total else float("nan")


@dataclass(frozen=True)
class Analogies(Tally):
    """The tally of all questions, then by category and by kind, and how it was taken."""

    by_category: dict[str, Tally]
    semantic: Tally
    syntactic: Tally
    restrict_vocab: int
    method: Method


@dataclass(frozen=True, eq=False)
class AnalogyTask:
    """A benchmark bound to a vocabulary: `task(matrix)` is the accuracy, a scalar on the device.

    It may be called in jit and under vmap over a leading axis of matrices, and compiles once a shape. `rows` [q, 4] are
    the rows of a, b, c, d of the covered questions, `known` [questions] says which are covered, `group` [candidates]
    gives each candidate the first row that folds alike.
    """

    questions: tuple[Question, ...]
    rows: np.ndarray
    known: np.ndarray
    group: np.ndarray
    method: Method
    batch: int

    def __call__(self, matrix: ArrayLike) -> jax.Array:
        """The share of covered questions answered right by `matrix` [n, d]; NaN if there is none."""
        return self.correct(matrix).mean()

    def correct(self, matrix: ArrayLike) -> jax.Array:
        """Whether each covered question is answered right, bool [q]."""
        if not len(self.rows):
            return jnp.zeros(0, bool)
        return _correct(
            _cut(matrix, len(self.group)), self.group, self.rows, self.method, min(self.batch, len(self.rows))
        )

    def covered(self, matrix: ArrayLike) -> np.ndarray:
        """Which questions have finite vectors for all their words in `matrix` [n, d], bool [questions]."""
        covered = self.known.copy()
        covered[self.known] = finite_rows(_cut(matrix, len(self.group)))[self.rows].all(axis=1)
        return covered

    def evaluate(self, matrix: ArrayLike) -> Analogies:
        """The answers counted, in all, by category and by kind."""
        right = np.zeros(len(self.known), bool)
        right[self.known] = np.asarray(self.correct(matrix))
        covered = self.covered(matrix)

        def tally(chosen: np.ndarray) -> Tally:
            known = covered & chosen
            return Tally(int((right & known).sum()), int(known.sum()), int((chosen & ~known).sum()))

        category = np.array([question.category for question in self.questions])
        kind = np.array([question.kind for question in self.questions])
        everything = tally(np.ones(len(self.known), bool))
        return Analogies(
            correct=everything.correct,
            total=everything.total,
            oov=everything.oov,
            by_category={str(name): tally(category == name) for name in dict.fromkeys(category)},
            semantic=tally(kind == "semantic"),
            syntactic=tally(kind == "syntactic"),
            restrict_vocab=len(self.group),
            method=self.method,
        )


def analogy_task(
    vocabulary: Words,
    questions: Iterable[Question | tuple[str, str, str, str, str, str]],
    *,
    method: Method = "3cosadd",
    restrict_vocab: int | None = 30_000,
    case_insensitive: bool = True,
    batch: int | None = None,
) -> AnalogyTask:
    """Looks the questions up once; only the first `restrict_vocab` words take part.

    `batch` questions are answered at a time; by default 512, or fewer if their scores would take more than 64 MB.
    """
    if method not in get_args(Method):
        raise unknown("method", method, get_args(Method))
    parsed = tuple(one if isinstance(one, Question) else Question(*one) for one in questions)
    words = words_of(vocabulary, restrict_vocab)
    first = first_rows(words, case_insensitive)
    # Words that fold alike ("Paris", "PARIS") are one answer: each candidate carries the first row of its fold, and what is
    # barred or expected is compared by that, on the device.
    group = np.array([first[fold(word, case_insensitive)] for word in words], np.int32)
    rows = known_rows([question[2:] for question in parsed], first, case_insensitive).reshape(-1, 4)
    known = np.all(rows >= 0, axis=1)
    batch = batch or max(1, min(512, 2**24 // max(len(group), 1)))
    return AnalogyTask(parsed, rows[known], known, group, method, batch)


def evaluate_analogies(
    vectors: WordVectors | tuple[Words, ArrayLike],
    questions: Iterable[Question | tuple[str, str, str, str, str, str]],
    *,
    method: Method = "3cosadd",
    restrict_vocab: int | None = 30_000,
    case_insensitive: bool = True,
    batch: int | None = None,
) -> Analogies:
    """Answers each question from the first `restrict_vocab` words and counts, as gensim's evaluate_word_analogies does.

    The words of a question (in any case) are no answers to it; a question with a word outside those first words, or
    whose vector is not finite, is skipped and counted in `oov`. `vectors` is a `KeyedVectors` or a pair (vocabulary,
    matrix [n, d]).
    """
    vocabulary, matrix = keys_and_matrix(vectors)
    task = analogy_task(
        vocabulary,
        questions,
        method=method,
        restrict_vocab=restrict_vocab,
        case_insensitive=case_insensitive,
        batch=batch,
    )
    return task.evaluate(matrix)


def _cut(matrix: ArrayLike, words: int) -> jax.Array | np.ndarray:
    # A NumPy matrix is cut before it goes to the device: only the words that take part travel.
    return (matrix if isinstance(matrix, np.ndarray) else jnp.asarray(matrix))[:words]


@partial(jax.jit, static_argnames=("method", "batch"))
def _correct(matrix: jax.Array, group: jax.Array, rows: jax.Array, method: Method, batch: int) -> jax.Array:
    vectors = unit(matrix)

    def answer(rows: jax.Array) -> jax.Array:
        a, b, c = (vectors[rows[:, word]] for word in range(3))
        if method == "3cosadd":
            scores = cosines(b + c - a, vectors)
        else:
            # Cosines are moved to [0, 1]: of negative ones a product would rank the unlike high.
            a, b, c = ((1 + cosines(word, vectors)) / 2 for word in (a, b, c))
            scores = b * c / (a + 1e-6)
        # A word whose vector is not finite is no answer.
        scores = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
        # The three words of the question are no answers; where the expected word is one of them, none is right.
        same = [group[None, :] == rows[:, word, None] for word in range(4)]
        given = same[0] | same[1] | same[2]
        # Two maxima instead of an argmax: XLA vectorises them on a CPU. A tie with another word is no answer.
        expected = jnp.where(same[3] & ~given, scores, -jnp.inf).max(-1)
        return expected > jnp.where(same[3] | given, -jnp.inf, scores).max(-1)

    padded = jnp.pad(rows, ((0, -len(rows) % batch), (0, 0)))
    return jax.lax.map(answer, padded.reshape(-1, batch, 4)).reshape(-1)[: len(rows)]
