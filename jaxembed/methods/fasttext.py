"""fastText: Skip-gram whose words are made of their n-grams (Bojanowski et al. 2017)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxembed.data.text import Corpus
from jaxembed.encoders.tables import SkipGramModel
from jaxembed.methods.skipgram import SkipGram
from jaxembed.ranges import CountOrZero
from jaxembed.subwords import Subwords, WordParts, word_parts
from jaxembed.tables import Bags, gather, lanes, scatter_add, weighted_rows
from jaxembed.training.method import Lookups, Loss, Params, Shard, Source, Static

# Rows of a word that are looked up together; the last group of a word is filled up. With 8, steps took a fifth longer: a fifth
# of what they looked up was padding.
GROUP = 4

# A step has room for the groups of its words on average, and for so many standard deviations more.
_DEVIATIONS, _TRIALS = 6, 256

_AT_ONCE = 1 << 12  # groups that are added up at a time where all words are put together


@dataclass(frozen=True)
class FastText(SkipGram):
    """A word, the mean of its own vector and those of its n-grams, predicts its neighbours (Bojanowski et al. 2017).

    Words that were never seen have vectors as well, by their n-grams. Each distinct word of a step is put together once, and
    as in fastText all of its parts move by its whole gradient. The table has no rows for n-grams that occur in no word, and one
    row for all that are always met together (`jaxembed.subwords.word_parts`).
    """

    min_n: CountOrZero = 3  # Number of characters of the shortest n-grams; the two ends of a word count as characters.
    max_n: CountOrZero = 6  # Number of characters of the longest n-grams; 0 for none, which is Skip-gram.
    # Number of n-grams that are distinguished, by their hash modulo this; 0 for none. Those that do not occur take no memory.
    bucket: CountOrZero = 2_000_000

    def __post_init__(self):
        super().__post_init__()
        if 0 < self.max_n < self.min_n:
            raise ValueError(
                f"min_n must not be above max_n, but {self.min_n} is above {self.max_n}; for no n-grams at all pass max_n=0"
            )
        if self.bucket >= 1 << 32:
            raise ValueError(f"bucket must be below 2^32, the number of hashes, not {self.bucket}")

    def parts(self, words: Sequence[str]) -> WordParts:
        """The rows that words are made of."""
        return _parts_of(tuple(words), self.min_n, self.max_n, self.bucket if self.max_n else 0)

    def subwords(self, words: list[str], params: Params) -> Subwords:
        """What was learned of the parts of `words`."""
        parts = self.parts(words)
        table = np.asarray(params.tables["in"])[:, : self.vector_size]
        return Subwords(self.min_n, self.max_n, self.bucket, len(words), table, parts.grams, parts.gram_rows)

    def extended(self, words: list[str], learned: Subwords, key: jax.Array) -> np.ndarray:
        """The vectors of the parts of `words`, which begin with those that were learned of; what was not starts at random."""
        parts = self.parts(words)
        table = np.array(SkipGramModel(parts.number, self.vector_size, key=key).centres.embedding[...])
        # Parts that are always met together were so before, too, among fewer words, and have one vector.
        table[: learned.words] = learned.table[: learned.words]
        _, now, before = np.intersect1d(parts.grams, learned.grams, assume_unique=True, return_indices=True)
        table[parts.gram_rows[now]] = learned.table[learned.rows[before]]
        return table

    def source(self, corpus: Corpus) -> Source:
        """As Skip-gram's, with the rows that words are made of."""
        source, parts = super().source(corpus), self.parts(corpus.vocabulary.words)
        groups = _groups(parts)
        room = self._room(corpus, source.constants["keep"], groups.counts)
        parts = {"groups": groups._asdict(), "rows": Static(parts.number), "room": Static(room)}
        return replace(source, constants={**source.constants, **parts})

    def _room(self, corpus: Corpus, keep: np.ndarray, counts: np.ndarray) -> int:
        """The number of groups that the words of a step stay under, all but certainly, by steps drawn from the corpus."""
        rng, blocks, needed = np.random.default_rng(0), self._blocks, []
        whole = min(int(counts.sum()), blocks * self.block * int(counts.max()))
        for _ in range(_TRIALS):
            # Places are drawn as they are met, and blocks are as long as they were before words were dropped.
            length = min(2 * self.block, len(corpus.tokens))
            starts = rng.integers(0, len(corpus.tokens) - length + 1, blocks)
            tokens = corpus.tokens[starts[:, None] + np.arange(length)]
            kept = rng.random(tokens.shape) < keep[tokens]
            kept &= np.cumsum(kept, 1) <= self.block
            needed.append(counts[np.unique(tokens[kept])].sum())
        likely = np.mean(needed) + _DEVIATIONS * np.std(needed) + counts.max()
        return max(1, min(whole, int(likely)))

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts as Skip-gram does, with a row for every part of words."""
        model = SkipGramModel(constants["rows"].value, self.vector_size, key=key)
        outputs = jnp.zeros((constants["keep"].shape[0], self.vector_size), model.contexts.embedding.dtype)
        return Params({"in": lanes(model.centres.embedding[...]), "out": lanes(outputs)})

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """As Skip-gram's, with the groups of rows of its distinct words; `place` says which of these each token is."""
        batch, groups, room = super().batch(shard, step, key), shard.constants["groups"], shard.constants["room"].value
        tokens = batch["tokens"] if "nodes" in batch else self.centres(batch["tokens"])
        words, place, known = _distinct(tokens.reshape(-1), groups["counts"].shape[0])
        # The groups of the words one after the other: `of` is the word of each, and the last bag is that of none.
        ends = lax.associative_scan(jnp.add, jnp.where(known, groups["counts"][words], 0))
        begins = jnp.concatenate([jnp.zeros(1, ends.dtype), ends[:-1]])
        of = lax.associative_scan(jnp.add, jnp.zeros(room, jnp.int32).at[begins].add(1, mode="drop")) - 1
        there = jnp.arange(room) < ends[-1]
        group = jnp.where(there, (groups["starts"][words] - begins)[of] + jnp.arange(room), 0)
        return batch | {
            "parts": groups["rows"][group], "weights": jnp.where(there[:, None], groups["weights"][group], 0),
            "of": jnp.where(there, of, len(words)), "place": place.reshape(tokens.shape),
        }  # fmt: skip

    def lookups(self, batch: dict[str, jax.Array]) -> Lookups:
        """As Skip-gram's, with words that are put together in place of the rows of `in`."""
        others = {name: (table, ids) for name, (table, ids) in super().lookups(batch).items() if table != "in"}
        return {"words": ("in", Bags(batch["parts"], batch["weights"], batch["of"], batch["place"].size + 1)), **others}

    def loss(self, rows: dict[str, jax.Array], net: Any, kept: Any, batch: dict[str, jax.Array], key: Any) -> Loss:
        """Returns the loss of Skip-gram, given the vectors of words that were put together."""
        found = {"neighbours" if "nodes" in batch else "centres": gather(rows["words"], batch["place"])}
        return super().loss({**rows, **found}, net, kept, batch, key)

    def vectors(self, params: Params, constants: Mapping[str, Any]) -> jax.Array:
        """Returns the vectors of words, put together: `[V, vector_size]`."""
        table, groups = params.tables["in"], constants["groups"]
        count, size = groups["rows"].shape[0], min(_AT_ONCE, groups["rows"].shape[0])

        def add(i: jax.Array, words: jax.Array) -> jax.Array:
            first = jnp.minimum(
                i * size, count - size
            )  # the last part begins earlier, and leaves out what was added already
            here = first + jnp.arange(size)
            of = jnp.searchsorted(groups["starts"], here, side="right") - 1
            rows, weights = (lax.dynamic_slice_in_dim(groups[name], first, size) for name in ("rows", "weights"))
            weights = jnp.where((here >= i * size)[:, None], weights, 0)
            return scatter_add(words, of, weighted_rows(table, rows, weights))

        words = jnp.zeros((constants["keep"].shape[0], table.shape[1]), table.dtype)
        return lax.fori_loop(0, -(-count // size), add, words)[:, : self.vector_size]


@lru_cache(2)  # a training needs them where it begins and where it ends
def _parts_of(words: tuple[str, ...], min_n: int, max_n: int, bucket: int) -> WordParts:
    return word_parts(words, min_n, max_n, bucket)


class _Groups(NamedTuple):
    """Rows of words in groups of a few, padded with weights of 0: starts, counts [V], rows, weights [groups, GROUP]."""

    starts: np.ndarray
    counts: np.ndarray
    rows: np.ndarray
    weights: np.ndarray


def _groups(parts: WordParts) -> _Groups:
    sizes = np.diff(parts.offsets)
    width = min(GROUP, int(sizes.max()))
    counts = -(-sizes // width)
    starts = np.cumsum(counts) - counts
    # Padding is the word's own row, which is at hand.
    rows = np.repeat(np.arange(len(sizes), dtype=np.int32), counts * width)
    weights = np.zeros(len(rows), np.float32)
    place = np.repeat(starts * width - parts.offsets[:-1], sizes) + np.arange(len(parts.rows))
    rows[place], weights[place] = parts.rows, parts.weights
    shaped = lambda x: x.reshape(-1, width)
    return _Groups(starts.astype(np.int32), counts.astype(np.int32), shaped(rows), shaped(weights))


def _distinct(tokens: jax.Array, size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The distinct ones of `tokens [n]` below `size`, in ascending order: `[n]`, of which the first are used; the place of each
    token among them `[n]`; and which are used `[n]`.
    """
    n, places = tokens.shape[0], jnp.arange(tokens.shape[0], dtype=tokens.dtype)
    if n * size < 1 << 31:  # a sort of one array takes a third of the time of two
        both = jnp.sort(tokens * n + places)
        ordered, order = both // n, both % n
    else:
        ordered, order = lax.sort((tokens, places), num_keys=1)
    fresh = jnp.concatenate([jnp.ones(1, bool), ordered[1:] != ordered[:-1]])
    number = lax.associative_scan(jnp.add, fresh.astype(jnp.int32)) - 1
    empty = jnp.zeros(n, jnp.int32)
    return empty.at[number].set(ordered), empty.at[order].set(number), places <= number[-1]
