"""The common part of Skip-gram and CBOW: a subsampled stream in blocks, and candidates for every kind of objective."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.text import Corpus
from jaxembed.encoders.tables import SkipGramModel
from jaxembed.objectives import Logistic, pairwise
from jaxembed.ranges import Count, CountOrZero, Finite, NotNegative, Range
from jaxembed.sampling import negatives, random, windows
from jaxembed.sampling.huffman import huffman_paths
from jaxembed.tables import lanes
from jaxembed.training.method import Method, Params, Shard, Source, Static, share_of

#: Number of pairs that a pass must have on average. With fewer, subsampling leaves nothing in most passes.
FEW = 0.25

SMALLEST = 64  # number of tokens in a step if the corpus is short


@dataclass(frozen=True)
class WordMethod(Method):
    """Methods that learn words from the words around them."""

    vector_size: Count = 100  # Dimension of the vectors.
    # Largest distance of a neighbour that counts. Nearer ones count more, as they do on average by word2vec's random windows.
    window: Count = 5
    # Give nearer neighbours more weight; otherwise all neighbours in the window have the same weight.
    shrink_windows: bool = True
    # Number of negatives for each positive, for objectives with sampled negatives.
    negative: Annotated[float, Range(above=0, why="for none, choose hierarchical_softmax")] = 5
    ns_exponent: Finite = 0.75  # Negatives are drawn in proportion to count^ns_exponent.
    sample: NotNegative = 1e-3  # Threshold above which frequent words are subsampled; 0 keeps all.
    objective: Any = field(default_factory=Logistic)  # Any pairwise objective, or its name.
    # Number of consecutive tokens that share a halo of neighbours and their negatives; a multiple of the tile.
    block: Count = 64
    # Number of tokens scored in one matrix product; 0 chooses 16, or 4 if a Huffman path makes products wide.
    tile: CountOrZero = 0
    # Number of neighbours that a tile sees beyond either end; -1 chooses 0, or the window if that is more than half a tile or a
    # Huffman path makes tiles short. With less than the window, pairs that cross the borders of tiles are left out and the
    # others weigh more; borders lie elsewhere in each pass, so every pair counts on average as it should.
    halo: Annotated[int, Range(least=-1)] = -1
    # Negatives drawn for each block; they are weighted so that they count as `negative` per positive.
    shared_negatives: Count = 24
    step_tokens: Count = 512  # Tokens in one step; fewer where a pass would have less than 200 steps.
    shard_tokens: Count = 1 << 24  # Tokens on the device at a time.

    traced: ClassVar[tuple[str, ...]] = ("negative", "objective.temperature", "objective.margin")

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.objective, str):
            object.__setattr__(self, "objective", pairwise(self.objective))
        objective: Any = self.objective
        if self.tile == 0:
            object.__setattr__(self, "tile", math.gcd(self.block, 4 if objective.negatives == "path" else 16))
        if self.halo == -1:
            short = objective.negatives != "path" and 2 * self.window <= self.tile
            object.__setattr__(self, "halo", 0 if short else self.window)
        if self.block % self.tile:
            raise ValueError(f"block must be a multiple of tile, but {self.block} is not one of {self.tile}")
        if not self.window < self.tile + self.halo <= self.tile + self.window:
            raise ValueError(
                f"halo must be from 0 to window and tile + halo above window, not halo {self.halo}, tile {self.tile} and "
                f"window {self.window}"
            )

    def suited_to(self, corpus: Corpus) -> Self:
        """Chooses steps small enough that a pass has a few hundred of them, and blocks no longer than a step.

        Raises ValueError for a corpus of which nothing is left to train on.
        """
        self._check_pairs(corpus)
        steps = self.step_tokens
        while steps > min(self.block, SMALLEST) and len(corpus.tokens) < 200 * steps:
            steps //= 2
        block = self.block if steps >= self.block else max(steps // self.tile, 1) * self.tile
        return replace(self, step_tokens=steps, block=block)

    def _check_pairs(self, corpus: Corpus) -> None:
        keep = windows.keep_probability(corpus.vocabulary.counts, self.sample)
        pairs = windows.expected_pairs(corpus.tokens, corpus.offsets, keep, FEW, min(self.shard_tokens, 1 << 16))
        if pairs >= FEW:
            return
        if np.diff(corpus.offsets).max(initial=0) < 2:
            raise ValueError(
                "there is nothing to train on: no document (line, sentence) holds two words of the vocabulary, and a word "
                "learns from its neighbours in its document. Put several words into a line, or lower min_count"
            )
        raise ValueError(
            f"there is nothing to train on: subsampling with sample={self.sample:g} leaves {pairs:.2g} pairs of neighbours "
            f"in a pass over {len(corpus.tokens):,} tokens. Pass sample=0, or a larger corpus"
        )

    def check_learned(self, params: Params, start: Params | None = None) -> None:
        """Raises ValueError if training from `start`, or from scratch, has changed nothing: every pair was subsampled away."""
        out = params.tables["out"]
        if not (out.any() if start is None else (out != start.tables["out"]).any()):
            raise ValueError(
                f"nothing was trained: subsampling with sample={self.sample:g} left nothing to learn from. Pass sample=0, more "
                "epochs or a larger corpus"
            )

    def with_(self, **values: Any) -> Self:
        """Like Method's; a tile and a halo that were chosen automatically are chosen again."""
        free = replace(self, tile=0, halo=-1)
        own = {"tile": 0} if free.tile == self.tile else {}
        own |= {"halo": -1} if free.halo == self.halo else {}
        return replace(self, **{**own, **values})

    def source(self, corpus: Corpus) -> Source:
        """Returns the corpus in pieces of `shard_tokens`, with the tables that sampling needs."""
        counts = np.asarray(corpus.vocabulary.counts)
        keep = windows.keep_probability(counts, self.sample)
        pieces = max(1, -(-len(corpus.tokens) // self.shard_tokens))
        length = -(-len(corpus.tokens) // pieces)
        capacity = max(windows.kept_capacity(corpus.tokens[i * length : (i + 1) * length], keep) for i in range(pieces))
        constants = word_constants(self, counts) | {"capacity": Static(min(capacity, length))}

        def piece(i: int, share: int = 0, shares: int = 1) -> dict[str, np.ndarray]:
            first, size = share_of(length, share, shares)
            return windows.piece(corpus.tokens, corpus.offsets, i * length + first, size, i * length)

        return Source(constants, pieces, piece, len(corpus.tokens), length)

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts as `SkipGramModel` does, padded to whole lanes."""
        model = SkipGramModel(constants["keep"].shape[0], self.vector_size, key=key)
        return Params({"in": lanes(model.centres.embedding[...]), "out": lanes(model.contexts.embedding[...])})

    def prepare(self, shard: Shard, key: jax.Array) -> dict[str, jax.Array]:
        """Subsamples the tokens and closes the gaps; `key` determines the order in which a pass meets the blocks."""
        keep_key, order_key, offset_key = jax.random.split(key, 3)
        columns, constants = shard.columns, shard.constants
        tokens, documents = columns["tokens"], columns["documents"]
        if self.sample:
            tokens, documents, _ = windows.subsample(
                tokens, documents, constants["keep"], keep_key, constants["capacity"].value
            )
        return {"tokens": tokens, "documents": documents, "order": order_key,
                "offset": jax.random.randint(offset_key, (), 0, self.tile)}  # fmt: skip

    def steps(self, shard: Shard) -> int:
        """The number of batches in a prepared shard."""
        return -(-self._count(shard) // self._blocks)

    def _count(self, shard: Shard) -> int:
        """The number of blocks in a prepared shard, one more than fit, for the random offset of the first."""
        return windows.block_count(shard.constants["capacity"].value + self.tile, self.block)

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """Returns blocks with their halo, and candidates: `tokens, documents [B, L]`, L = block + 2 * halo."""
        blocks, own, constants = self._count(shard), shard.own, shard.constants
        place = step * self._blocks + jnp.arange(self._blocks)
        drawn = random.shuffled(own["order"], blocks, jnp.minimum(place, blocks - 1))
        # Each block is met once a pass, in an order that is a function of the place (blocks drawn with replacement cost .02
        # of SimLex). The offset, new in each pass, moves the borders of tiles, across which no pair is seen. Places behind
        # the last block, in the last step, start behind the stream: there all is of document -1 and weighs nothing.
        starts = drawn * self.block - own["offset"]
        starts = jnp.where(place < blocks, starts, own["tokens"].shape[0] + self.halo)
        tokens, documents = windows.take_blocks(own["tokens"], own["documents"], starts, self.block, self.halo)
        batch = {"tokens": tokens, "documents": documents}
        if self.objective.negatives == "path":
            centres = self.centres(tokens)
            batch |= {"nodes": constants["nodes"][centres], "turns": constants["turns"][centres]}
        elif self.objective.negatives == "everybody":
            batch["everybody"] = jnp.arange(constants["keep"].shape[0])
        else:
            table = negatives.AliasTable(constants["threshold"], constants["alias"], constants["log_probability"])
            drawn = negatives.draw(key, table, (self._blocks, self.shared_negatives))
            batch["negatives"] = drawn
            if self.objective.negatives == "importance":
                batch["log_probability"] = table.log_probability[drawn]
        return batch

    def vectors(self, params: Params, constants: Any = None) -> jax.Array:
        """Returns the input vectors, `[V, vector_size]`."""
        return params.tables["in"][:, : self.vector_size]

    @property
    def row_size(self) -> int:
        """The columns of a row that are not padding."""
        return self.vector_size

    @property
    def _blocks(self) -> int:
        return max(1, self.step_tokens // self.block)

    def centres(self, halo: jax.Array) -> jax.Array:
        """Cuts the block itself out of block and halo: `[..., L]` -> `[..., block]`."""
        return halo[..., self.halo : self.halo + self.block]

    def centre_tiles(self, centres: jax.Array) -> jax.Array:
        """Cuts a block into tiles: `[B, block, ...]` -> `[B, tiles, tile, ...]`."""
        return centres.reshape(centres.shape[0], -1, self.tile, *centres.shape[2:])

    def halo_tiles(self, halo: jax.Array) -> jax.Array:
        """Returns what each tile sees: `[B, block + 2 * halo, ...]` -> `[B, tiles, tile + 2 * halo, ...]`."""
        if self.halo == 0:
            return self.centre_tiles(halo)
        width = self.tile + 2 * self.halo
        return jnp.stack([halo[:, start : start + width] for start in range(0, self.block, self.tile)], 1)

    def band(self) -> np.ndarray:
        """Returns the weight of each pair of a tile and what it sees: float32 `[tile, tile + 2 * halo]`."""
        return windows.window_weights(self.tile, self.window, self.halo, self.shrink_windows)

    def pair_weights(self, batch: dict[str, jax.Array], band: np.ndarray) -> jax.Array:
        """Returns `band.T` where neighbour and centre share a document, else 0: `[B, tiles, tile + 2 * halo, tile]`.

        `band` is `[tile, tile + 2 * halo]`. The axis of neighbours comes first, since the products of a tile are
        fastest so.
        """
        documents = batch["documents"]
        centres, halo = self.centre_tiles(self.centres(documents)), self.halo_tiles(documents)
        same = (halo[..., :, None] == centres[..., None, :]) & (centres[..., None, :] >= 0)
        return jnp.where(same, jnp.asarray(band.T), 0)

    @staticmethod
    def against(score: Callable, centres: jax.Array, others: jax.Array) -> jax.Array:
        """Scores centres `[B, T, d]` with the candidates of their block, `[B, N, d]`, or of all, `[1, N, d]`: `[B, T, N]`."""
        if len(others) == len(centres):
            return score(centres, others)
        return score(centres.reshape(1, -1, centres.shape[-1]), others).reshape(*centres.shape[:2], -1)

    def negative_weights(self, batch: dict[str, jax.Array], positives: jax.Array) -> jax.Array:
        """Returns the weights of the shared negatives, `[B, tiles, tile or 1, 1 or N]`; `positives [B, tiles, tile]`."""
        if self.objective.negatives == "noise":
            return (self.negative / self.shared_negatives) * positives[..., None]
        # With the weight 1 / (N q), the drawn negatives stand for the whole vocabulary.
        return jnp.exp(-batch["log_probability"])[:, None, None, :] / self.shared_negatives


def word_constants(method: WordMethod, counts: np.ndarray) -> dict[str, Any]:
    """Returns what drawing words takes, by their counts alone."""
    found: dict[str, Any] = {"keep": windows.keep_probability(counts, method.sample)}
    if method.objective.negatives == "path":
        return found | huffman_paths(counts)._asdict()
    if method.objective.negatives == "everybody":
        return found
    return found | negatives.unigram_table(counts, method.ns_exponent)._asdict()
