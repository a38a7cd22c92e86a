"""What is near to what: cosines of keys and vectors, the nearest keys, and the odd one out."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxembed.vectors.table import Key, Table, lengths, unit
from jaxembed.vectors.transport import transport_cost

Term = Key | np.ndarray | tuple[Key | np.ndarray, float]

_BLOCK = 4096  # rows whose lengths are taken while they are still in the processor's cache


class Search(Table):
    """A table that finds what is near to what. Keys whose vectors are not finite are never found."""

    def get_mean_vector(
        self,
        keys: Iterable[Key | np.ndarray],
        weights: Sequence[float] | np.ndarray | None = None,
        pre_normalize: bool = True,
        post_normalize: bool = False,
        ignore_missing: bool = True,
    ) -> np.ndarray:
        """The weighted mean [d] of the vectors of keys, scaled to length 1 before or after.

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
        return unit(mean) if post_normalize else mean

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
        `restrict_vocab` for the first rows, say where to look. With `topn=None` all cosines there, [rows]. Raises
        ValueError where a vector that is given is not finite.
        """
        terms, weights = [], []
        for side, sign in ((positive, 1.0), (negative, -1.0)):
            for term in _listed(side):
                term, weight = term if isinstance(term, tuple) else (term, sign)
                terms.append(term)
                weights.append(weight)
        start, end = (0, restrict_vocab) if restrict_vocab else (clip_start, clip_end or len(self))
        mean = self.get_mean_vector(terms, weights, ignore_missing=False)
        return self._best(self.cosine_similarities(_finite(mean), self.vectors[start:end]), topn, terms, start)

    def _best(
        self, scores: np.ndarray, topn: int | None, given: list, start: int = 0
    ) -> list[tuple[str, float]] | np.ndarray:
        if topn is None:
            return scores
        scores = np.where(np.isfinite(scores), scores, -np.inf)
        left_out = {self.get_index(key, -1) for key in given if not isinstance(key, np.ndarray)}
        wanted = min(max(topn, 0) + len(left_out), len(scores))
        best = np.argpartition(-scores, wanted - 1)[:wanted] if wanted else np.zeros(0, int)
        best = best[np.argsort(-scores[best], kind="stable")]
        found = [
            (self.index_to_key[row + start], float(scores[row]))
            for row in best
            if row + start not in left_out and scores[row] > -np.inf
        ]
        return found[: max(topn, 0)]

    def similar_by_key(self, key: Key, topn: int | None = 10, restrict_vocab: int | None = None):
        """`most_similar` to one key."""
        return self.most_similar([key], topn=topn, restrict_vocab=restrict_vocab)

    def similar_by_word(self, word: Key, topn: int | None = 10, restrict_vocab: int | None = None):
        """`most_similar` to one word."""
        return self.most_similar([word], topn=topn, restrict_vocab=restrict_vocab)

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
        near, far = _listed(positive), _listed(negative)
        if not near:
            raise ValueError("no positive key to look from; give at least one")
        matrix = self.vectors[:restrict_vocab]

        def product(side: list) -> np.ndarray:
            # A vector that is given is taken with its length, as gensim does.
            terms = [self._checked(t) if isinstance(t, np.ndarray) else self.get_vector(t, norm=True) for t in side]
            return np.prod([(1 + _projections(matrix, _finite(term))) / 2 for term in terms], axis=0)

        scores = product(near) / (product(far) + 1e-6)
        return self._best(np.asarray(scores, np.float32), topn, near + far)

    @staticmethod
    def cosine_similarities(vector_1: np.ndarray, vectors_all: np.ndarray) -> np.ndarray:
        """The cosine [n] of a vector [d] with each row of `vectors_all` [n, d]; NaN where a row is not finite."""
        return _projections(np.asarray(vectors_all), unit(np.asarray(vector_1, np.float32)))

    def similarity(self, w1: Key, w2: Key) -> float:
        """The cosine of two keys."""
        return float(self.get_vector(w1, norm=True) @ self.get_vector(w2, norm=True))

    def distance(self, w1: Key, w2: Key) -> float:
        """1 - the cosine of two keys."""
        return 1 - self.similarity(w1, w2)

    def distances(self, word_or_vector: Key | np.ndarray, other_words: Iterable[Key] = ()) -> np.ndarray:
        """1 - the cosine of a key or vector [d] with each of `other_words`, by default with all keys."""
        given = word_or_vector
        vector = self._checked(given) if isinstance(given, np.ndarray) else self.get_vector(given)
        others = list(other_words)
        return 1 - self.cosine_similarities(vector, self[others] if others else self.vectors)

    def n_similarity(self, ws1: Iterable[Key], ws2: Iterable[Key]) -> float:
        """The cosine of the means of two sets of keys, unknown ones left out; ValueError if a set has no other."""
        mean1, mean2 = (unit(self[self._known(keys)].mean(axis=0)) for keys in (ws1, ws2))
        return float(mean1 @ mean2)

    def wmdistance(self, document1: Iterable[Key], document2: Iterable[Key], norm: bool = True) -> float:
        """How far the words of one document have to move to become those of another (Kusner et al. 2015), exactly.

        Words that are unknown, or whose vectors are not finite, are left out; infinity where a document has no other. `norm`
        scales vectors to length 1 first. Time grows with the third power of the distinct words: a second for some hundreds.
        """
        from scipy.spatial.distance import cdist

        bags = [self._bag(document) for document in (document1, document2)]
        if not all(len(rows) for rows, _ in bags):
            return float("inf")
        (first, have), (second, want) = bags
        one, other = (self.vectors[rows].astype(np.float64) for rows in (first, second))
        if norm:
            one, other = (matrix / lengths(matrix)[:, None] for matrix in (one, other))
        return transport_cost(cdist(one, other), have, want)

    def _bag(self, document: Iterable[Key]) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a document's words, each once, and their shares of it."""
        rows = np.array([row for key in document if (row := self.get_index(key, -1)) >= 0], int)
        rows, counts = np.unique(rows[np.isfinite(self.vectors[rows]).all(axis=1)], return_counts=True)
        return rows, counts / max(counts.sum(), 1)

    def most_similar_to_given(self, key1: Key, keys_list: Sequence[Key]) -> Key:
        """The one of `keys_list` whose cosine to `key1` is highest."""
        if not len(keys_list):
            raise ValueError("keys_list is empty; give at least one key to choose from")
        _finite(self.get_vector(key1))
        return max(self._known(keys_list), key=lambda key: self.similarity(key1, key))

    def relative_cosine_similarity(self, wa: Key, wb: Key, topn: int = 10) -> float:
        """The cosine of two keys, divided by the sum of those of `wa` and its `topn` neighbours (Leeuwenberg et al. 2016).

        Above 1 / topn, wb is nearer to wa than its neighbours are on average.
        """
        near = self.most_similar([wa], topn=topn)
        if not len(near):
            raise ValueError(f"{wa!r} has no neighbours to compare with; topn must be at least 1, not {topn}")
        return self.similarity(wa, wb) / sum(cosine for _, cosine in near)

    def _known(self, keys: Iterable[Key]) -> list[Key]:
        keys = list(keys)
        known = [key for key in keys if key in self and np.isfinite(self.get_vector(key)).all()]
        if not known:
            raise ValueError(f"none of {keys[:5]!r} is among the {len(self):,} keys; give at least one that is")
        return known

    def closer_than(self, key1: Key, key2: Key) -> list[str]:
        """The keys that are nearer to `key1` than `key2` is, row by row."""
        cosines = self.cosine_similarities(self.get_vector(key1), self.vectors)
        nearer = cosines > cosines[self.get_index(key2)]
        nearer[self.get_index(key1)] = False
        return [self.index_to_key[row] for row in np.flatnonzero(nearer)]

    def rank(self, key1: Key, key2: Key) -> int:
        """The place of `key2` among the neighbours of `key1`, from 1 for the nearest."""
        return len(self.closer_than(key1, key2)) + 1

    def rank_by_centrality(self, words: Iterable[Key]) -> list[tuple[float, Key]]:
        """(cosine to the mean of all, key), the highest first; unknown keys are left out."""
        known = self._known(words)
        scores = self[known] / lengths(self[known])[:, None]
        scores = scores @ unit(scores.mean(axis=0))
        return sorted(zip(scores.tolist(), known, strict=True), reverse=True)

    def doesnt_match(self, words: Iterable[Key]) -> Key:
        """The key that is farthest from the mean of all."""
        return self.rank_by_centrality(words)[-1][1]


def _projections(matrix: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The rows of `matrix` [n, d], scaled to length 1, times `direction` [d]: [n]; NaN where a row is not finite."""
    found = np.empty(len(matrix), np.float32)
    with np.errstate(all="ignore"):  # values that are not finite, which come to NaN
        for start in range(0, len(matrix), _BLOCK):
            block = np.asarray(matrix[start : start + _BLOCK], np.float32)
            found[start : start + _BLOCK] = block @ direction / lengths(block)
    found[~np.isfinite(found)] = np.nan
    return found


def _finite(vector: np.ndarray) -> np.ndarray:
    if not np.isfinite(vector).all():
        raise ValueError("a vector to look from is not finite: nothing is near to it; give others")
    return vector


def _listed(terms: Any) -> list:
    if terms is None:
        return []
    if isinstance(terms, str | int | np.integer) or (isinstance(terms, np.ndarray) and terms.ndim == 1):
        return [terms]
    return list(terms)
