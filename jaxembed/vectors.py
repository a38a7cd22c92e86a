"""The product of a run: keys and their vectors, under gensim's names.

NumPy alone, so that reading a file of vectors does not wait for JAX; what needs it is imported where it is used.
"""

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from jaxembed import formats
from jaxembed.naming import UnknownKeyError

Key = str | int | np.integer
Term = Key | np.ndarray | tuple[Key | np.ndarray, float]


class KeyedVectors:
    """Keys [n], the most frequent first if they are words, and their vectors [n, d] (float32), with gensim's methods.

    `counts` [n] says how often each key occurs. Raises ValueError for keys that are no strings or come twice, and
    where the numbers of keys, vectors and counts differ.
    """

    def __init__(self, keys: Sequence[str], vectors: np.ndarray, counts: np.ndarray | None = None):
        self.index_to_key = list(keys)
        self.vectors = np.asarray(vectors, np.float32)
        self.counts = None if counts is None else np.asarray(counts, np.int64)
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.index_to_key):
            raise ValueError(
                f"expected a matrix with a row for each of the {len(self.index_to_key)} keys, found the shape "
                f"{self.vectors.shape}"
            )
        if self.counts is not None and self.counts.shape != (len(self.index_to_key),):
            raise ValueError(f"expected {len(self.index_to_key)} counts, found the shape {self.counts.shape}")
        wrong = next((key for key in self.index_to_key if not isinstance(key, str)), None)
        if wrong is not None:
            raise ValueError(f"keys are strings, found {wrong!r} of type {type(wrong).__name__}")
        self.key_to_index = {key: row for row, key in enumerate(self.index_to_key)}
        if len(self.key_to_index) != len(self.index_to_key):
            row = next(row for row, key in enumerate(self.index_to_key) if self.key_to_index[key] != row)
            key = self.index_to_key[row]
            raise ValueError(f"the key {key!r} comes twice, in rows {row} and {self.key_to_index[key]}; keep one")

    def __repr__(self) -> str:
        return f"KeyedVectors<vector_size={self.vector_size}, {len(self)} keys>"

    def __len__(self) -> int:
        return len(self.index_to_key)

    def __contains__(self, key: object) -> bool:
        return self.has_index_for(key)

    def __getitem__(self, key: Key | Iterable[Key]) -> np.ndarray:
        """The vector of a key [d], or of several [k, d]."""
        if isinstance(key, str | int | np.integer):
            return self.get_vector(key)
        return self.vectors[[self.get_index(one) for one in key]]

    @property
    def vector_size(self) -> int:
        """The dimension d."""
        return self.vectors.shape[1]

    @property
    def module(self) -> Any:
        """A Flax `nnx.Embed` that starts from the vectors: looked up by row, `attend` scores all keys; each time a new one."""
        import jax.numpy as jnp
        from flax import nnx

        start = lambda key, shape, dtype: jnp.asarray(self.vectors, dtype)
        return nnx.Embed(len(self), self.vector_size, embedding_init=start, rngs=nnx.Rngs(0))

    @cached_property
    def norms(self) -> np.ndarray:
        """The length of each vector [n], computed once; a vector of zeros counts as of the least positive length."""
        return np.maximum(np.linalg.norm(self.vectors, axis=1), np.finfo(np.float32).tiny)

    def fill_norms(self, force: bool = False) -> None:
        """Computes `norms`, again with `force`: needed after a change of `vectors` in place."""
        if force:
            self.__dict__.pop("norms", None)
        _ = self.norms

    def get_index(self, key: object, default: int | None = None) -> int:
        """The row of a key (or of a row number itself); `default`, or else KeyError with near matches, if unknown."""
        if isinstance(key, str) and (row := self.key_to_index.get(key)) is not None:
            return row
        if isinstance(key, int | np.integer) and 0 <= int(key) < len(self):
            return int(key)
        if default is not None:
            return default
        raise UnknownKeyError(key, self.index_to_key)

    def has_index_for(self, key: object) -> bool:
        """Whether the key is there."""
        return self.get_index(key, -1) >= 0

    def get_vector(self, key: Key, norm: bool = False) -> np.ndarray:
        """The vector of a key [d], read-only; of length 1 with `norm`."""
        row = self.get_index(key)
        vector = self.vectors[row] / self.norms[row] if norm else self.vectors[row]
        vector.setflags(write=False)
        return vector

    def get_vecattr(self, key: Key, attr: str) -> Any:
        """How often a key occurs, for the `attr` "count"; KeyError where that is not known."""
        if attr != "count" or self.counts is None:
            raise KeyError(f"{attr!r} is not known of these keys")
        return self.counts[self.get_index(key)]

    def get_mean_vector(
        self,
        keys: Iterable[Key | np.ndarray],
        weights: Sequence[float] | np.ndarray | None = None,
        pre_normalize: bool = True,
        post_normalize: bool = False,
        ignore_missing: bool = True,
    ) -> np.ndarray:
        """The weighted mean [d] of the vectors of keys, scaled to length 1 before or after as asked.

        Vectors given as such are not scaled before. Unknown keys are left out or, with `ignore_missing=False`, raise
        KeyError.
        """
        keys = list(keys)
        if not keys:
            raise ValueError("no key to take a mean of; give at least one")
        weights = np.ones(len(keys)) if weights is None else np.asarray(weights)
        if weights.shape != (len(keys),):
            raise ValueError(f"expected a weight for each of the {len(keys)} keys, found the shape {weights.shape}")
        total, weight_of_all = np.zeros(self.vector_size, np.float32), 0.0
        for key, weight in zip(keys, weights.astype(np.float32), strict=True):
            if isinstance(key, np.ndarray):
                vector = self._checked(key)
            elif ignore_missing and key not in self:
                continue
            else:
                vector = self.get_vector(key, norm=pre_normalize)
            total += weight * vector
            weight_of_all += abs(float(weight))
        mean = total / np.float32(weight_of_all or 1)
        return _unit(mean) if post_normalize else mean

    def _checked(self, vector: np.ndarray) -> np.ndarray:
        if vector.shape != (self.vector_size,):
            raise ValueError(f"expected a vector of dimension {self.vector_size}, found the shape {vector.shape}")
        return vector.astype(np.float32)

    def most_similar(
        self,
        positive: Term | Iterable[Term] | None = None,
        negative: Term | Iterable[Term] | None = None,
        topn: int | None = 10,
        clip_start: int = 0,
        clip_end: int | None = None,
        restrict_vocab: int | None = None,
    ) -> list[tuple[str, float]] | np.ndarray:
        """The `topn` keys whose cosine to the mean of `positive` less `negative` is highest, the given keys left out.

        Each side is a key, a vector [d], or several, also as (key or vector, weight). `clip_start` and `clip_end`, or
        `restrict_vocab` for the first rows, say where to look. With `topn=None` all cosines there, [rows].
        """
        terms, weights = [], []
        for side, sign in ((positive, 1.0), (negative, -1.0)):
            for term in _listed(side):
                term, weight = term if isinstance(term, tuple) else (term, sign)
                terms.append(term)
                weights.append(weight)
        start, end = (0, restrict_vocab) if restrict_vocab else (clip_start, clip_end or len(self))
        mean = self.get_mean_vector(terms, weights, post_normalize=True, ignore_missing=False)
        scores = self.vectors[start:end] @ mean / self.norms[start:end]
        return self._best(scores, topn, terms, start)

    def _best(
        self, scores: np.ndarray, topn: int | None, given: list, start: int = 0
    ) -> list[tuple[str, float]] | np.ndarray:
        if topn is None:
            return scores
        left_out = {self.get_index(key) for key in given if not isinstance(key, np.ndarray)}
        wanted = min(max(topn, 0) + len(left_out), len(scores))
        best = np.argpartition(-scores, wanted - 1)[:wanted] if wanted else np.zeros(0, int)
        best = best[np.argsort(-scores[best], kind="stable")]
        found = [(self.index_to_key[row + start], float(scores[row])) for row in best if row + start not in left_out]
        return found[: max(topn, 0)]

    def similar_by_key(self, key: Key, topn: int | None = 10, restrict_vocab: int | None = None):
        """`most_similar` to one key."""
        return self.most_similar([key], topn=topn, restrict_vocab=restrict_vocab)

    similar_by_word = similar_by_key

    def similar_by_vector(self, vector: np.ndarray, topn: int | None = 10, restrict_vocab: int | None = None):
        """`most_similar` to one vector [d]."""
        return self.most_similar([vector], topn=topn, restrict_vocab=restrict_vocab)

    def most_similar_cosmul(
        self,
        positive: Key | np.ndarray | Iterable[Key | np.ndarray] | None = None,
        negative: Key | np.ndarray | Iterable[Key | np.ndarray] | None = None,
        topn: int | None = 10,
        restrict_vocab: int | None = None,
    ) -> list[tuple[str, float]] | np.ndarray:
        """`most_similar` by 3CosMul (Levy and Goldberg 2014, equation 4): cosines multiplied and divided, not added."""
        sides = _listed(positive), _listed(negative)
        if not sides[0]:
            raise ValueError("no positive key to look from; give at least one")
        matrix, norms = self.vectors[:restrict_vocab], self.norms[:restrict_vocab]

        def product(side: list) -> np.ndarray:
            terms = [self._checked(t) if isinstance(t, np.ndarray) else self.get_vector(t, norm=True) for t in side]
            return np.prod([(1 + matrix @ term / norms) / 2 for term in terms], axis=0)

        scores = product(sides[0]) / (product(sides[1]) + 1e-6)
        return self._best(np.asarray(scores, np.float32), topn, sides[0] + sides[1])

    def similarity(self, w1: Key, w2: Key) -> float:
        """The cosine of two keys."""
        return float(self.get_vector(w1, norm=True) @ self.get_vector(w2, norm=True))

    def distance(self, w1: Key, w2: Key) -> float:
        """1 - the cosine of two keys."""
        return 1 - self.similarity(w1, w2)

    def n_similarity(self, ws1: Iterable[Key], ws2: Iterable[Key]) -> float:
        """The cosine of the means of two sets of keys, unknown ones left out; ValueError if a set has no other."""
        mean1, mean2 = (_unit(self[self._known(keys)].mean(axis=0)) for keys in (ws1, ws2))
        return float(mean1 @ mean2)

    def _known(self, keys: Iterable[Key]) -> list[Key]:
        keys = list(keys)
        known = [key for key in keys if key in self]
        if not known:
            raise ValueError(f"none of {keys[:5]!r} is among the {len(self):,} keys; give at least one that is")
        return known

    def rank(self, key1: Key, key2: Key) -> int:
        """The place of `key2` among the neighbours of `key1`, from 1 for the nearest."""
        scores = self.vectors @ self.get_vector(key1, norm=True) / self.norms
        nearer = scores > scores[self.get_index(key2)]
        nearer[self.get_index(key1)] = False
        return int(nearer.sum()) + 1

    def rank_by_centrality(self, words: Iterable[Key]) -> list[tuple[float, Key]]:
        """(cosine to the mean of all, key), the highest first; unknown keys are left out."""
        known = self._known(words)
        scores = self[known] / self.norms[[self.get_index(word) for word in known], None]
        scores = scores @ _unit(scores.mean(axis=0))
        return sorted(zip(scores.tolist(), known, strict=True), reverse=True)

    def doesnt_match(self, words: Iterable[Key]) -> Key:
        """The key that is farthest from the mean of all."""
        return self.rank_by_centrality(words)[-1][1]

    def evaluate_word_pairs(
        self,
        pairs: str | os.PathLike,
        delimiter: str | None = None,
        restrict_vocab: int | None = 300_000,
        case_insensitive: bool = True,
        dummy4unknown: bool = False,
    ) -> tuple[Any, Any, float]:
        """Correlations with human scores: Pearson (r, p), Spearman (r, p) and the percentage of pairs not covered.

        `pairs` is a set that the package ships (`jaxembed.evaluation.PAIRS`) or a file of lines `word word score`.
        With `dummy4unknown` a pair with an unknown word counts with cosine 0. Raises ValueError if fewer than two
        pairs are covered.
        """
        from scipy import stats

        from jaxembed.evaluation import load_pairs, similarity_task

        asked = load_pairs(pairs, delimiter=delimiter)
        task = similarity_task(
            self.index_to_key, asked, restrict_vocab=restrict_vocab, case_insensitive=case_insensitive
        )
        cosines, scores = np.zeros(len(asked)), np.array([pair.score for pair in asked])
        cosines[task.known] = task.cosines(self.vectors)
        used = np.full(len(asked), True) if dummy4unknown else task.known
        if used.sum() < 2:
            raise ValueError(f"{pairs}: fewer than two of its {len(asked)} pairs are in the vocabulary of {self!r}")
        oov = 100 * float((~task.known).mean())
        return stats.pearsonr(scores[used], cosines[used]), stats.spearmanr(scores[used], cosines[used]), oov

    def evaluate_word_analogies(
        self,
        analogies: str | os.PathLike,
        restrict_vocab: int | None = 300_000,
        case_insensitive: bool = True,
        dummy4unknown: bool = False,
    ) -> tuple[float, list[dict[str, Any]]]:
        """The accuracy of 3CosAdd and, section by section and in all, the questions answered right and wrong.

        `analogies` is a set that the package ships ("google") or a file like questions-words.txt. A section is a
        {"section": name, "correct": [(a, b, c, d), ...], "incorrect": [...]}. With `dummy4unknown` a question with an
        unknown word counts as wrong, otherwise it is left out.
        """
        from jaxembed.evaluation import analogy_task, load_questions
        from jaxembed.evaluation.lookup import fold

        questions = load_questions(analogies)
        task = analogy_task(
            self.index_to_key, questions, restrict_vocab=restrict_vocab, case_insensitive=case_insensitive
        )
        right = np.zeros(len(questions), bool)
        right[task.known] = task.correct(self.vectors)
        answered = zip(questions, right, task.known | dummy4unknown, strict=True)
        sections: list[dict[str, Any]] = []
        for name, group in groupby(answered, lambda entry: entry[0].category):
            section: dict[str, Any] = {"section": name, "correct": [], "incorrect": []}
            for question, correct, counted in group:
                if counted:
                    words = tuple(fold(word, case_insensitive) for word in question[2:])
                    section["correct" if correct else "incorrect"].append(words)
            sections.append(section)
        total = {part: [words for section in sections for words in section[part]] for part in ("correct", "incorrect")}
        count = len(total["correct"]) + len(total["incorrect"])
        sections.append({"section": "Total accuracy", **total})
        return len(total["correct"]) / count if count else 0.0, sections

    def save(self, path: str | os.PathLike) -> None:
        """Writes keys, vectors and counts to one safetensors file, whole or not at all."""
        formats.write_safetensors(path, self.index_to_key, self.vectors, self.counts)

    @classmethod
    def load(cls, path: str | os.PathLike, mmap: str | None = None) -> "KeyedVectors":
        """Reads what `save` wrote; with `mmap="r"` the vectors stay on disk until they are touched."""
        return _named(path, cls, *formats.read_safetensors(path, mmap=bool(mmap)))

    def save_word2vec_format(
        self,
        path: str | os.PathLike,
        fvocab: str | os.PathLike | None = None,
        binary: bool = False,
        write_header: bool = True,
    ) -> None:
        """Writes the word2vec format, text or binary, or GloVe's (text with `write_header=False`), in row order.

        `fvocab` is a second file, for the counts. A name that ends in .gz is written compressed.
        """
        if binary and not write_header:
            raise ValueError("the binary format needs its header: leave write_header as it is, or write text")
        if fvocab is not None and self.counts is None:
            raise ValueError("these vectors have no counts to write to a vocabulary file: leave fvocab out")
        if binary:
            formats.write_binary(path, self.index_to_key, self.vectors)
        else:
            formats.write_text(path, self.index_to_key, self.vectors, header=write_header)
        if fvocab is not None and self.counts is not None:
            formats.write_counts(fvocab, self.index_to_key, self.counts)

    @classmethod
    def load_word2vec_format(
        cls,
        path: str | os.PathLike,
        fvocab: str | os.PathLike | None = None,
        binary: bool = False,
        *,
        unicode_errors: str = "strict",
        limit: int | None = None,
        no_header: bool = False,
    ) -> "KeyedVectors":
        """Reads the word2vec format, text or binary, or GloVe's (text with `no_header=True`), the first `limit` rows.

        `fvocab` is the file of counts that word2vec's -save-vocab writes. Raises ValueError with the line, or entry and
        byte, at which a file is malformed or cut short.
        """
        if binary and no_header:
            raise ValueError("the binary format always has a header: leave no_header as it is")
        if binary:
            keys, vectors = formats.read_binary(path, limit=limit, unicode_errors=unicode_errors)
        else:
            keys, vectors = formats.read_text(path, header=not no_header, limit=limit, unicode_errors=unicode_errors)
        counts = None
        if fvocab is not None:
            known = formats.read_counts(fvocab)
            missing = next((key for key in keys if key not in known), None)
            if missing is not None:
                raise ValueError(f"{fvocab}: the key {missing!r} of {path} is not in it: they are not of one run")
            counts = np.array([known[key] for key in keys], np.int64)
        return _named(path, cls, keys, vectors, counts)


def load_vectors(path: str | os.PathLike) -> KeyedVectors:
    """Opens a vector file of any format that we know, told by its content, .gz too; or a run's folder.

    The formats: our safetensors, word2vec text and binary, GloVe text. Raises FileNotFoundError, or ValueError that
    says what is wrong and where.
    """
    if Path(path).is_dir():
        path = Path(path) / "vectors.safetensors"
    kind = formats.detect(path)
    if kind == "safetensors":
        return KeyedVectors.load(path)
    return KeyedVectors.load_word2vec_format(path, binary=kind == "word2vec-binary", no_header=kind == "glove")


def _named(path: str | os.PathLike, cls: type[KeyedVectors], *parts: Any) -> KeyedVectors:
    try:
        return cls(*parts)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), float(np.finfo(np.float32).tiny))


def _listed(terms: Any) -> list:
    if terms is None:
        return []
    if isinstance(terms, str | int | np.integer) or (isinstance(terms, np.ndarray) and terms.ndim == 1):
        return [terms]
    return list(terms)
