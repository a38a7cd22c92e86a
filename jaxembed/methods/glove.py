"""GloVe: logarithms of co-occurrence counts are factorised by weighted least squares (Pennington et al. 2014)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.cooccurrence import Cooccurrences, count_cooccurrences
from jaxembed.data.text import Corpus
from jaxembed.encoders.tables import GloVeModel
from jaxembed.objectives import glove_weight, weighted_squares
from jaxembed.ranges import Count, NotNegative, Positive
from jaxembed.sampling import random
from jaxembed.tables import lanes
from jaxembed.training.method import Lookups, Loss, Method, Params, Shard, Source

_CHUNK = 1 << 22


@dataclass(frozen=True)
class GloVe(Method):
    """Counts which words occur together, and factorises the logarithms of the counts (Pennington et al. 2014).

    The matrix is symmetric and only its lower triangle is stored: an entry (i, j) is trained as (i, j) and as (j, i).

    A row of either table holds a vector and, in the column after it, its bias, so that one update of a row moves both.
    """

    vector_size: Count = 100  # Dimension of the vectors.
    window: Count = 10  # Largest distance of a co-occurrence that counts; a pair at distance d counts 1 / d.
    x_max: Positive = 10.0  # The weight of an entry is `min(1, count / x_max)^alpha`.
    alpha: NotNegative = 0.75  # See x_max.
    # "independence" starts the biases where `b_i + b_j` is the logarithm of the count that words i and j would have if they
    # met by chance, so that vectors are not spent on frequencies first; "random" is the reference's start.
    bias_start: Literal["independence", "random"] = "independence"
    # Number of entries of the full matrix in one step; fewer if a pass would have fewer than 200 steps.
    step_entries: Count = 2048
    shard_entries: Count = 1 << 23  # Number of entries of the triangle on the device at a time.
    # Number of consecutive entries that stay together when a pass is shuffled; the counts are shuffled already.
    run: Count = 64

    traced: ClassVar[tuple[str, ...]] = ("x_max", "alpha")

    def read(self, data: Corpus | Cooccurrences) -> Cooccurrences:
        """Counts the co-occurrences of a corpus; counts are returned as they are."""
        return data if isinstance(data, Cooccurrences) else count_cooccurrences(data, self.window)

    def suited_to(self, counts: Cooccurrences) -> Self:
        """Chooses steps small enough that a pass has a few hundred of them."""
        steps = self.step_entries
        while steps > 2 * self.run and 2 * counts.nnz_full < 200 * steps:
            steps //= 2
        return replace(self, step_entries=steps)

    def source(self, counts: Cooccurrences) -> Source:
        """Returns the entries in pieces of `shard_entries`; a pass has as many examples as the full matrix has entries."""
        entries = len(counts.counts)
        if not entries:
            raise ValueError("there are no co-occurrences to train on: the corpus has no two words within the window")
        columns = {"rows": counts.rows, "columns": counts.columns, "counts": counts.counts}
        return Source.cut(
            columns, -(-entries // self.shard_entries), {"biases": _chance_biases(counts)}, counts.nnz_full
        )

    @property
    def row_size(self) -> int:
        """The columns of a row that are not padding."""
        return self.vector_size + 1

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts as `GloVeModel` does: a vector and its bias in a row, padded to whole lanes."""
        biases = constants["biases"] if self.bias_start == "independence" else None
        model = GloVeModel(constants["biases"].shape[0], self.vector_size, key=key, biases=biases)
        row = lambda table, bias: lanes(jnp.concatenate([table.embedding[...], bias[...][:, None]], 1))
        word, context = row(model.words, model.word_biases), row(model.contexts, model.context_biases)
        return Params({"word": word, "context": context})

    def prepare(self, shard: Shard, key: jax.Array) -> dict[str, jax.Array]:
        """Draws the order of a pass."""
        return {"order": key}

    @property
    def _runs(self) -> int:
        return max(1, self.step_entries // (2 * self.run))

    def _places(self, shard: Shard) -> int:
        return random.shuffle_size(-(-shard.columns["counts"].shape[0] // self.run))

    def steps(self, shard: Shard) -> int:
        """The number of batches in a shard."""
        return -(-self._places(shard) // self._runs)

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """Returns runs of entries in shuffled order: `rows, columns, counts [E]`; a count of 0 marks padding."""
        places, size = self._places(shard), shard.columns["counts"].shape[0]
        turn = step * self._runs + jnp.arange(self._runs)
        start = random.shuffled(shard.own["order"], places, jnp.minimum(turn, places - 1)) * self.run
        # Entries come shuffled from the counting; here runs of them change their order, for a gather of whole runs reads
        # memory in lines. Places behind the last run start behind the column, where a count of 0 makes them padding.
        start = jnp.where(turn < places, start, size)
        at = (start[:, None] + jnp.arange(self.run)[None, :]).reshape(-1)
        take = lambda name: shard.columns[name].at[at].get(mode="fill", fill_value=0)
        return {name: take(name) for name in ("rows", "columns", "counts")}

    def lookups(self, batch: dict[str, jax.Array]) -> Lookups:
        """Looks up both directions of each entry."""
        rows, columns = batch["rows"], batch["columns"]
        return {
            "words": ("word", jnp.concatenate([rows, columns])),
            "contexts": ("context", jnp.concatenate([columns, rows])),
        }

    def loss(self, rows: dict[str, jax.Array], net, kept, batch: dict[str, jax.Array], key) -> Loss:
        """Returns half the weighted squared error of `w . c + b + b' - log count`, summed; `weight` counts the entries."""
        count, word, context = batch["counts"], rows["words"], rows["contexts"]
        # The columns are selected by masks, not slices: autodiff would pad a slice's gradient back, a pass over all rows.
        column = jnp.arange(word.shape[-1])
        vector, bias = column < self.vector_size, column == self.vector_size
        prediction = jnp.sum(jnp.where(vector, word * context, jnp.where(bias, word + context, 0)), -1)
        # A diagonal entry is one entry of the full matrix: its mirror image does not count.
        mirrored = jnp.where(batch["rows"] == batch["columns"], 0.0, count)
        weight = glove_weight(jnp.concatenate([count, mirrored]), self.x_max, self.alpha)
        target = jnp.tile(jnp.log(jnp.maximum(count, 1e-30)), 2)
        total = jnp.sum(weighted_squares(prediction, target, weight))
        return Loss(total, {"loss": total, "weight": jnp.sum((weight > 0).astype(jnp.float32))})

    def vectors(self, params: Params, constants: Any = None) -> jax.Array:
        """Returns the sums of word and context vectors (Pennington et al. 2014, section 4.2): `[V, vector_size]`."""
        return (params.tables["word"] + params.tables["context"])[:, : self.vector_size]


def _chance_biases(counts: Cooccurrences) -> np.ndarray:
    """Returns `log(X_i / sqrt(X))` of each word; the sum of two is the logarithm of `X_i X_j / X`. Float32 `[V]`.

    A word without co-occurrences gets 0, and its biases are never trained.
    """
    size = len(counts.vocabulary.words)
    sums = np.zeros(size)
    for start in range(0, len(counts.counts), _CHUNK):  # the counts may be larger than memory
        part = slice(start, start + _CHUNK)
        rows, columns, values = counts.rows[part], counts.columns[part], counts.counts[part]
        sums += np.bincount(rows, values, size) + np.bincount(columns, np.where(rows == columns, 0, values), size)
    return np.where(sums > 0, np.log(np.maximum(sums, 1e-300) / np.sqrt(sums.sum())), 0).astype(np.float32)
