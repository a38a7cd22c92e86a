"""DeepWalk, node2vec and LINE: Skip-gram whose stream is not read but drawn from a graph, on the device, anew in each pass."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.graphs import Graph
from jaxembed.methods.skipgram import SkipGram
from jaxembed.ranges import Count, Positive, Range
from jaxembed.sampling import negatives, random, walks, windows
from jaxembed.sampling.huffman import huffman_paths
from jaxembed.scores import normalized
from jaxembed.training.method import Lookups, Loss, Params, Shard, Source, Static, share_of


@dataclass(frozen=True)
class GraphMethod(SkipGram):
    """Skip-gram on the nodes of a graph; a subclass draws the stream. Nothing of the stream is stored or read."""

    vector_size: Count = 128  # Dimension of the vectors.
    sample: Annotated[float, Range(least=0, most=0)] = 0.0  # All that is drawn is kept.
    halo: Annotated[int, Range(least=-1)] = 0  # What is drawn stands in whole blocks, which see nothing of each other.

    def suited_to(self, data: Graph) -> Self:
        """Chooses steps small enough that a pass has a few hundred of them.

        Raises ValueError for a graph without links, and for nodes that are kept from training.
        """
        if data.unseen is not None:
            raise ValueError(
                "inductive: this method has vectors of the nodes that it is trained on alone; graphsage computes others"
            )
        if not len(data.neighbours):
            raise ValueError("there is nothing to train on: the graph has no links between two nodes")
        return self

    def with_(self, **values: Any) -> Self:
        """Like Method's: blocks and tiles follow from what is drawn."""
        return replace(self, **values)

    def band(self) -> np.ndarray:
        """As of Skip-gram; no pair is lost at the borders of what is drawn, so that none weighs more for it."""
        return windows.window_weights(self.tile, self.window, self.halo, self.shrink_windows, moving=False)

    def _drawn(self, data: Graph, visits: np.ndarray, draws: int, tokens: int, constants: dict[str, Any]) -> Source:
        """A source of so many draws in a pass, of so many `tokens` each; `visits` is how often each node is met.

        A column of a piece says no more than at which node a draw starts: all nodes take turns. Draws that fill up the last piece
        are the start of another turn.
        """
        n, pieces = len(data), -(-draws * tokens // self.shard_tokens)
        rows = -(-draws // pieces)
        constants |= {"keep": np.ones(n, np.float32), "capacity": Static(rows * tokens)}
        if self.objective.negatives == "path":
            constants |= huffman_paths(np.maximum(visits.round().astype(np.int64), 1))._asdict()
        elif self.objective.negatives != "everybody":
            constants |= negatives.unigram_table(visits, self.ns_exponent)._asdict()

        def piece(i: int, share: int = 0, shares: int = 1) -> dict[str, np.ndarray]:
            first, size = share_of(rows, share, shares)
            return {"start": ((i * rows + first + np.arange(size)) % n).astype(np.int32)}

        return Source(constants, pieces, piece, pieces * rows * tokens, rows)


@dataclass(frozen=True)
class DeepWalk(GraphMethod):
    """Skip-gram on random walks: a node predicts the nodes that a walk meets shortly before and after it (Perozzi et al. 2014).

    A walk is a block of its own, so that all its pairs within the window count. A pass has `walks` walks from each node, and no
    two passes have the same ones. Of a directed graph walks follow the links.
    """

    window: Count = 10  # Largest distance in a walk of a neighbour that counts; nearer ones count more, as for words.
    walks: Count = 80  # Number of walks from each node in a pass.
    walk_length: Annotated[int, Range(least=2)] = 40  # Number of nodes in a walk.
    # Negatives drawn for each walk; they are weighted so that they count as `negative` per positive.
    shared_negatives: Count = 32
    step_tokens: Count = 1280  # Nodes of walks in one step; fewer where a pass would have less than 200 steps.
    # Whether all passes have the same walks, as programs that write them to a file do; to measure what new ones are worth.
    stored: bool = False
    block: Count = 40  # The length of a walk.
    tile: Count = 40  # The length of a walk.

    second_order: ClassVar[bool] = False

    def suited_to(self, data: Graph) -> Self:
        """Makes a walk one block, and chooses the steps."""
        length, total = self.walk_length, len(data) * self.walks
        at_once = max(1, min(self.step_tokens // length, total // 200))
        # A window over the whole walk is as wide as one that is longer.
        window = min(self.window, length - 1)
        return replace(super().suited_to(data), block=length, tile=length, step_tokens=at_once * length, window=window)

    def source(self, data: Graph) -> Source:
        """Returns the graph, and the nodes from which walks start."""
        length, draws = self.walk_length, len(data) * self.walks
        constants = {"graph": walks.rows_of(data), "depth": Static(int(data.degrees.max()).bit_length())}
        found = self._drawn(data, walks.expected_visits(data, length), draws, length, constants)
        if self.stored and found.pieces > 1:
            raise ValueError(f"stored walks are one piece: raise shard_tokens to {draws * length}, or have fewer walks")
        return found

    def prepare(self, shard: Shard, key: jax.Array) -> dict[str, jax.Array]:
        """Walks: the stream that Skip-gram trains on, in which each walk is a document of its own."""
        walk_key, order_key = jax.random.split(key)
        walk_key = random.key_of(0) if self.stored else walk_key
        starts = shard.columns["start"]
        nodes, reached = walks.walk(
            walk_key, shard.constants["graph"], starts, self.walk_length, shard.constants["depth"].value,
            *self.bias(), second_order=self.second_order,
        )  # fmt: skip
        documents = jnp.where(reached, jnp.arange(len(starts), dtype=jnp.int32)[:, None], -1)
        return _stream(nodes, documents, order_key)

    def bias(self) -> tuple[Any, Any]:
        """Returns p and q of second-order walks."""
        return 1.0, 1.0


@dataclass(frozen=True)
class Node2Vec(DeepWalk):
    """DeepWalk with walks that tend to return, or to move away (Grover and Leskovec 2016)."""

    # The chance to go back to the node before is 1/p as high as that to go to another node that is linked with it.
    p: Positive = 1.0
    # The chance to go to a node that is not linked with the one before is 1/q as high.
    q: Positive = 1.0

    traced: ClassVar[tuple[str, ...]] = (*SkipGram.traced, "p", "q")
    second_order: ClassVar[bool] = True

    def bias(self) -> tuple[Any, Any]:
        """Returns p and q."""
        return self.p, self.q


@dataclass(frozen=True)
class LINE(GraphMethod):
    """Skip-gram on single links, drawn in proportion to their weights (Tang et al. 2015).

    By the first order the two ends of a link have similar vectors (eq. 1), by the second each predicts the other by a vector of
    its own as a context (eq. 4). With both, each order has half of the columns, scaled to length 1.
    """

    order: Literal["first", "second", "both"] = "both"  # Which ends are compared.
    samples: Count = 50  # How often a pass draws a link on average.
    window: Count = 1  # The two ends of a link are neighbours.
    block: Count = 64  # Number of consecutive ends of links that share their negatives; a multiple of the tile.
    tile: Count = 16  # Number of ends of links that are scored in one matrix product; even.
    step_tokens: Count = 2048  # Ends of links in one step; fewer where a pass would have less than 200 steps.
    # Only the first end of a link predicts the other, as in directed graphs, by which this is set.
    one_way: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.objective.negatives not in ("noise", "importance"):
            raise ValueError(
                "line draws negatives: choose an objective that has some, such as negative_sampling or infonce"
            )
        if self.tile % 2 or (self.order == "both" and self.vector_size % 2):
            raise ValueError("tile must be even, and vector_size as well where both orders share it")

    def suited_to(self, data: Graph) -> Self:
        """Chooses the steps, and who predicts whom."""
        steps, total = self.step_tokens, 2 * len(data.links) * self.samples
        while steps > self.block and total < 200 * steps:
            steps //= 2
        return replace(super().suited_to(data), step_tokens=steps, one_way=data.directed)

    def source(self, data: Graph) -> Source:
        """Returns the links, with the chance of each."""
        n, links = len(data), len(data.neighbours)
        weights = np.ones(links) if data.weights is None else data.weights.astype(np.float64)
        if data.weights is None:  # all alike: no table to build
            table = negatives.AliasTable(np.ones(links, np.float32), np.arange(links, dtype=np.int32), np.zeros(0))
        else:
            table = negatives.alias_table(weights)
        source = np.repeat(np.arange(n, dtype=np.int32), data.degrees)
        visits = np.bincount(source, weights, n) + np.bincount(data.neighbours, weights, n)
        ends = {"threshold": table.threshold, "alias": table.alias, "ends": np.stack([source, data.neighbours], 1)}
        return self._drawn(data, visits, len(data.links) * self.samples, 2, {"links": ends})

    def prepare(self, shard: Shard, key: jax.Array) -> dict[str, jax.Array]:
        """Draws links: a stream of their ends, in which each link is a document of its own."""
        draw_key, order_key = jax.random.split(key)
        links, rows = shard.constants["links"], len(shard.columns["start"])
        table = negatives.AliasTable(links["threshold"], links["alias"], links["threshold"])
        ends = links["ends"][negatives.draw(draw_key, table, (rows,))]
        return _stream(ends, jnp.broadcast_to(jnp.arange(rows, dtype=jnp.int32)[:, None], (rows, 2)), order_key)

    def band(self) -> np.ndarray:
        """As of Skip-gram; one way only the first end of a link sees the second."""
        weights = super().band()
        return np.triu(weights) if self.one_way else weights

    def lookups(self, batch: dict[str, jax.Array]) -> Lookups:
        """Looks up contexts and negatives in `out` for the second order, and in `in` for the first."""
        found: Lookups = {"centres": ("in", self.centres(batch["tokens"]))}
        for name, table in (("first", "in"), ("second", "out")):
            if self.order in (name, "both"):
                found |= {
                    f"{name}/contexts": (table, batch["tokens"]),
                    f"{name}/negatives": (table, batch["negatives"]),
                }
        return found

    def loss(self, rows: dict[str, jax.Array], net: Any, kept: Any, batch: dict[str, jax.Array], key: Any) -> Loss:
        """Returns the sum of the objectives of the orders."""
        total, weight = jnp.float32(0), jnp.float32(0)
        for name, columns in self._columns().items():
            own = {"centres": rows["centres"][..., columns]} | {
                kind: rows[f"{name}/{kind}"][..., columns] for kind in ("contexts", "negatives")
            }
            one = super().loss(own, net, kept, batch, key)
            total, weight = total + one.value, one.metrics["weight"]
        return Loss(total, {"loss": total, "weight": weight})

    def _columns(self) -> dict[str, slice]:
        half = self.vector_size // 2
        if self.order == "both":
            return {"first": slice(0, half), "second": slice(half, self.vector_size)}
        return {self.order: slice(0, self.vector_size)}

    def vectors(self, params: Params, constants: Any = None) -> jax.Array:
        """Returns the vectors of the nodes; of both orders, each half has length 1."""
        whole = super().vectors(params)
        if self.order != "both":
            return whole
        return jnp.concatenate([normalized(whole[:, columns]) for columns in self._columns().values()], 1)


def _stream(tokens: jax.Array, documents: jax.Array, order: jax.Array) -> dict[str, jax.Array]:
    """What is drawn, `[draws, tokens]`, as a prepared shard of Skip-gram; blocks begin where draws do."""
    return {"tokens": tokens.reshape(-1), "documents": documents.reshape(-1), "order": order, "offset": jnp.int32(0)}
