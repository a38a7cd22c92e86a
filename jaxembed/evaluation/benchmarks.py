"""The benchmark sets of word vectors: reading them, halving them for tuning and testing, and running them all."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, get_args

from jax.typing import ArrayLike

from jaxembed.compression import reading
from jaxembed.data.cache import content_digest
from jaxembed.data.hub import resolve
from jaxembed.evaluation.analogy import Analogies, AnalogyTask, Method, Question, Tally, analogy_task
from jaxembed.evaluation.lookup import Words, keys_and_matrix
from jaxembed.evaluation.neighbours import WordVectors
from jaxembed.evaluation.similarity import Similarity, SimilarityTask, similarity_task
from jaxembed.naming import unknown

PAIRS = ("wordsim353", "wordsim353-similarity", "wordsim353-relatedness", "simlex999", "rg65")
QUESTIONS = ("google",)

Half = Literal["all", "dev", "test"]


class Pair(NamedTuple):
    """Two words and what people say of their likeness."""

    word1: str
    word2: str
    score: float


Item = TypeVar("Item", Pair, Question)


def load_pairs(name: str | os.PathLike, *, delimiter: str | None = None) -> list[Pair]:
    """A word-similarity set: one of `PAIRS`, or a file of lines `word word score`.

    The fields of a file are parted by `delimiter`, by default by tabs where the line has them and by white space
    elsewhere; empty lines, lines that begin with # and one line of headings are passed over. A line that cannot be
    read is a ValueError with its number.
    """
    if name in PAIRS:
        table = _shipped("word-similarity", str(name))
        return [Pair(*row) for row in zip(table["word1"], table["word2"], table["score"], strict=True)]
    pairs, started = [], False
    for number, line in _lines(name, PAIRS):
        if not line or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split(delimiter or ("\t" if "\t" in line else None))]
        score = _number(fields[2]) if len(fields) == 3 else None
        if score is not None:
            pairs.append(Pair(fields[0], fields[1], score))
        elif started or len(fields) != 3:
            raise ValueError(f"{name}, line {number}: expected two words and a score, found {line[:80]!r}")
        started = True
    return pairs


def load_questions(name: str | os.PathLike) -> list[Question]:
    """A set of analogies: one of `QUESTIONS`, or a file in the format of word2vec's questions-words.txt.

    A line `: NAME` opens a category (syntactic if the name begins with gram, else semantic), each other line is a
    question of four words. A line that cannot be read is a ValueError with its number.
    """
    if name in QUESTIONS:
        table = _shipped("word-analogies", str(name))
        return [Question(*row) for row in zip(*(table[field] for field in Question._fields), strict=True)]
    questions, category = [], None
    for number, line in _lines(name, QUESTIONS):
        words = line.split()
        if line.startswith(":"):
            category = line[1:].strip()
        elif words and category is None:
            raise ValueError(f"{name}, line {number}: a question before the first line ': CATEGORY'")
        elif words and len(words) != 4:
            raise ValueError(f"{name}, line {number}: expected four words, found {line[:80]!r}")
        elif words and category is not None:
            questions.append(Question(category, "syntactic" if category.startswith("gram") else "semantic", *words))
    return questions


@cache
def _shipped(dataset: str, table: str) -> dict[str, list]:
    """The columns of a shipped table, read where it lies: nothing is written, so that no cache folder is needed."""
    return resolve(dataset, table).rows()[:]


@cache
def benchmarks_digest() -> str:
    """A hash of all shipped sets, which shows whether two figures were measured on the same ones."""
    sets = {name: load_pairs(name) for name in PAIRS} | {name: load_questions(name) for name in QUESTIONS}
    return content_digest(json.dumps(sets))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _lines(name: str | os.PathLike, known: Sequence[str]) -> Iterable[tuple[int, str]]:
    if not Path(name).is_file():
        raise FileNotFoundError(f"{str(name)!r} is neither a file nor one of the sets {', '.join(known)}")
    with reading(name) as file:
        for number, line in enumerate(file, 1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise ValueError(f"{name}, line {number}: not UTF-8 ({error.reason})") from error


def half_of(*pairs: Sequence[str]) -> Literal["dev", "test"]:
    """The half to which an item made of word pairs belongs, from a hash of its text alone.

    Case and order do not matter, so money/cash and cash/money, or an analogy and its mirror image, fall together, and
    a pair that two benchmarks share is in the same half of both.
    """
    text = "|".join(sorted(" ".join(sorted(word.lower() for word in pair)) for pair in pairs))
    return "dev" if hashlib.sha256(text.encode()).digest()[0] % 2 else "test"


def select(items: Iterable[Item], split: Half = "all") -> list[Item]:
    """The items of one half of a benchmark: settings are chosen on "dev", results are confirmed on "test"."""
    if split not in get_args(Half):
        raise unknown("split", split, get_args(Half))

    def half(item: Pair | Question) -> str:
        return half_of((item.a, item.b), (item.c, item.d)) if isinstance(item, Question) else half_of(item[:2])

    return [item for item in items if split in ("all", half(item))]


@cache  # every run of a study is judged on the same questions, and sorting them out takes as long as answering them
def _half_of_questions(name: str, split: Half) -> tuple[Question, ...]:
    return tuple(select(load_questions(name), split))


def benchmark_tasks(
    vocabulary: Words,
    *,
    split: Half = "all",
    names: Iterable[str] = (*PAIRS, *QUESTIONS),
    restrict_vocab: int | None = 30_000,
    method: Method = "3cosadd",
) -> dict[str, SimilarityTask | AnalogyTask]:
    """The shipped benchmarks bound to a vocabulary, each a function of a matrix [n, d] that can be called in training.

    `restrict_vocab` and `method` concern the analogies alone; word similarity looks at the whole vocabulary.
    """
    tasks: dict[str, SimilarityTask | AnalogyTask] = {}
    for name in names:
        if name in QUESTIONS:
            questions = _half_of_questions(name, split)
            tasks[name] = analogy_task(vocabulary, questions, method=method, restrict_vocab=restrict_vocab)
        elif name in PAIRS:
            tasks[name] = similarity_task(vocabulary, select(load_pairs(name), split))
        else:
            raise unknown("benchmark", name, (*PAIRS, *QUESTIONS))
    return tasks


def evaluate(
    vectors: WordVectors | tuple[Words, ArrayLike],
    *,
    split: Half = "all",
    names: Iterable[str] = (*PAIRS, *QUESTIONS),
    restrict_vocab: int | None = 30_000,
    method: Method = "3cosadd",
    categories: bool = False,
) -> list[dict[str, str | float | int]]:
    """Runs the shipped benchmarks: a tidy row for each, and for the semantic and the syntactic part of the analogies.

    A row has `benchmark`, `category` (empty but for the rows that `categories` adds, one for each category of the
    analogies), `split`, `metric` (spearman, or accuracy by the named method), `value` (NaN if too few items are
    covered), `items` covered, `oov` left out, and `restrict_vocab`, the number of words that took part.
    """
    vocabulary, matrix = keys_and_matrix(vectors)
    tasks = benchmark_tasks(vocabulary, split=split, names=names, restrict_vocab=restrict_vocab, method=method)

    def rows(name: str, result: Similarity | Analogies) -> list[dict[str, str | float | int]]:
        if isinstance(result, Similarity):
            found = [(name, "", "spearman", result.spearman, result.pairs, result.oov, len(vocabulary))]
        else:
            parts: list[tuple[str, str, Tally]] = [(name, "", result)]
            parts += [(f"{name}-semantic", "", result.semantic), (f"{name}-syntactic", "", result.syntactic)]
            parts += [(name, *part) for part in result.by_category.items()] if categories else []
            metric, words = f"accuracy ({method})", result.restrict_vocab
            found = [(*part, metric, tally.accuracy, tally.total, tally.oov, words) for *part, tally in parts]
        fields = ("benchmark", "category", "metric", "value", "items", "oov", "restrict_vocab")
        return [{"split": split, **dict(zip(fields, row, strict=True))} for row in found]

    return list(chain.from_iterable(rows(name, task.evaluate(matrix)) for name, task in tasks.items()))
