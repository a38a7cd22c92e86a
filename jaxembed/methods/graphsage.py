"""GraphSAGE: an encoder of nodes by their features and neighbours, which embeds nodes that it has not met as well."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Annotated, Any, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxembed.data.graphs import Graph
from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods.dense import Fixed
from jaxembed.methods.drawn import Drawn
from jaxembed.methods.examples import met
from jaxembed.ranges import Count, NotNegative, Range
from jaxembed.sampling import negatives, neighbours, random, walks
from jaxembed.training.method import Batch, Loss, Method, Params, Shard, Source, Static

Rows = Mapping[str, Any]

_DEGREES = 32  # sizes that the degree of a node may have: how many bits it takes
_SPARSE = 8  # features are kept as lists where these are so many times shorter than rows


@dataclass(frozen=True)
class NodeMethod(Method):
    """Methods that compute nodes by their features and links. A subclass says what is learned from."""

    encoder: Encoder = field(default_factory=lambda: encoder("sage", input_size=_DEGREES))  # Encoder of nodes.
    # What a node is known by: its features; its id, so that nodes with other ids are known by their neighbours alone; or its
    # degree, the number of bits that the number of its links has (Hamilton et al. 2017, section 4, have degrees, too). Where
    # there are no features, ids take their place, or degrees where nodes are kept from training.
    inputs: Literal["features", "ids", "degrees"] = "features"
    scaled: bool = True  # Whether the features of each node are divided by the sum of their absolute values.
    # Number of neighbours that are drawn anew in each step: of a node, of each of its neighbours, and so on, one number for each
    # layer of the encoder. Of a node that has fewer, they are drawn several times. By default, with none, all neighbours count,
    # and each step computes the whole graph.
    fanout: tuple[Count, ...] = ()
    batch_size: Count = 512  # Number of nodes in one step.
    repeats: Count = 10  # Number of times that a pass meets each node.

    def __post_init__(self):
        super().__post_init__()
        if self.fanout and len(self.fanout) != self.encoder["depth"]:
            depth = self.encoder["depth"]
            raise ValueError(
                f"fanout must have a number for each of the {depth} layers (depth), or none, not {self.fanout}"
            )

    # What a method declares.

    def known(self, data: Graph) -> dict[str, np.ndarray]:
        """Returns arrays with one row per example: `node`, its number, and what is learned of it."""
        raise NotImplementedError

    def nets(self) -> dict[str, Encoder]:
        """Returns the encoder and what stands on it."""
        return {"encoder": self.encoder}

    def groups(self, net: Any, vectors: jax.Array) -> jax.Array | None:
        """Returns the logits of groups `[n, groups]` of vectors `[n, d]`; None if the method predicts no groups."""
        return None

    # The engine's contract.

    def suited_to(self, data: Graph) -> Self:
        """Takes the width of the features, and batches no larger than the examples."""
        inputs = self.inputs
        if inputs == "features" and data.features is None:
            inputs = "ids" if data.unseen is None else "degrees"
        method = replace(self, inputs=inputs, encoder=self.encoder.with_(input_size=width_of(inputs, data)))
        examples = random.shuffle_size(len(method.known(data)["node"]))
        most = max(1, int(data.degrees.max(initial=0))) * max(self.fanout, default=1)
        if most >= 2**31:
            raise ValueError(
                f"a node with {data.degrees.max():,} links is too large for a fanout of {max(self.fanout)}"
            )
        return replace(method, batch_size=min(self.batch_size, examples))

    def source(self, data: Graph) -> Source:
        """Returns the examples as one piece, and the graph with its features."""
        known = self.known(data)
        depth = max(1, int(data.degrees.max(initial=0)).bit_length())
        constants = {"features": features_of(data, self.inputs, self.scaled), "rows": neighbours.rows_of(data)}
        return Source.cut(known, constants=constants | {"depth": Static(depth)}, size=len(known["node"]) * self.repeats)

    def init(self, key: jax.Array, constants: Rows) -> Params:
        """Starts with fresh nets, each from its own key."""
        nets = self.nets()
        keys = jax.random.split(key, len(nets))
        return Params({}, {name: net.init(one)[0] for (name, net), one in zip(nets.items(), keys, strict=True)})

    def prepare(self, shard: Shard, key: jax.Array) -> dict[str, jax.Array]:
        """Draws the order of a pass."""
        return {"order": key}

    def steps(self, shard: Shard) -> int:
        """The number of batches in a pass."""
        return self._each(shard) * self.repeats

    def _each(self, shard: Shard) -> int:
        return -(-random.shuffle_size(shard.columns["node"].shape[0]) // self.batch_size)

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """Returns the examples at place `step` of a pass, which meets all of them in turn, each time in another order."""
        each = self._each(shard)
        turn = shard.prepared({"order": jax.random.fold_in(shard.own["order"], step // each)})
        return met(turn, tuple(shard.columns), step % each, self.batch_size)

    def drawn(self, shard: Shard, nodes: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """Returns drawn neighbours of nodes `[b]` for a batch, `{"level_1": [b, f1], ...}`; nothing where all count."""
        if not self.fanout:
            return {}
        constants = shard.constants
        found = neighbours.levels(key, constants["rows"], nodes, self.fanout, constants["depth"].value)
        return {f"level_{i}": level for i, level in enumerate(found) if i}

    def encoded(self, net: Any, shard: Shard, nodes: jax.Array, batch: Batch, key: jax.Array) -> jax.Array:
        """Returns the vectors of nodes `[b]` of a batch in training, `[b, d]`, by the neighbours that were drawn, or by all."""
        features, rows, run = shard.constants["features"], shard.constants["rows"], self.encoder.apply
        if not self.fanout:
            return run(net["encoder"], {}, features, rows, train=True, key=key)[0][nodes]
        levels = [nodes, *(batch[f"level_{i + 1}"] for i in range(len(self.fanout)))]
        return run(net["encoder"], {}, features, rows, levels, train=True, key=key, call="drawn")[0]

    def vectors(self, params: Params, constants: Rows) -> jax.Array:
        """Returns the vectors of all nodes, by all of their neighbours."""
        return self.encoder.apply(params.net["encoder"], {}, constants["features"], constants["rows"])[0]


@dataclass(frozen=True)
class GraphSAGE(NodeMethod):
    """GraphSAGE: a node's group is predicted from its features and those of nodes around it (Hamilton et al. 2017)."""

    classes: Count = 2  # Number of groups, which comes from the data.

    def suited_to(self, data: Graph) -> Self:
        """Takes the number of groups, too."""
        return replace(super().suited_to(data), classes=len(data.label_names))

    def known(self, data: Graph) -> dict[str, np.ndarray]:
        """Returns the nodes of the training part with their groups."""
        nodes, labels = check_groups(data)
        return {"node": nodes.astype(np.int32), "group": labels[nodes].argmax(1).astype(np.int32)}

    def nets(self) -> dict[str, Encoder]:
        """Returns the encoder, and a linear map to a score for each group."""
        return {**super().nets(), "head": encoder("head", sizes=(self.encoder.vector_size, self.classes), norm="none")}

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """The nodes, with drawn neighbours."""
        batch = super().batch(shard, step, key)
        return batch | self.drawn(shard, batch["node"], key)

    def loss_in(self, shard: Shard, rows: Rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the mean cross-entropy of the groups."""
        logits = self.groups(net, self.encoded(net, shard, batch["node"], batch, key))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["group"]) * batch["present"]
        total, weight = jnp.sum(losses), jnp.sum(batch["present"])
        return Loss(total / jnp.maximum(weight, 1), {"loss": total, "weight": weight})

    def groups(self, net: Any, vectors: jax.Array) -> jax.Array:
        """Returns the logits of groups."""
        return self.nets()["head"].apply(net["head"], {}, vectors)[0]


@dataclass(frozen=True)
class GraphSAGEUnsupervised(NodeMethod, Drawn):
    """GraphSAGE without groups: a node is near to those that random walks from it meet (Hamilton et al. 2017, eq. 1).

    A walk starts at each node of a batch, and one of the nodes that it meets, other than the first, is the positive. Any pairwise
    objective but hierarchical softmax distinguishes it from nodes drawn by their number of links.
    """

    walk_length: Annotated[int, Range(least=2)] = 5  # Number of nodes in a walk.
    ns_exponent: NotNegative = 0.75  # Negatives are drawn in proportion to links^ns_exponent; 0 draws all alike.

    def suited_to(self, data: Graph) -> Self:
        """Raises ValueError for a graph without links."""
        if not len(data.neighbours):
            raise ValueError("there is nothing to train on: the graph has no links between two nodes")
        return super().suited_to(data)

    def known(self, data: Graph) -> dict[str, np.ndarray]:
        """Returns the nodes that have links, from which walks start."""
        return {"node": np.flatnonzero(data.degrees).astype(np.int32)}

    def source(self, data: Graph) -> Source:
        """Adds the distribution that negatives are drawn from; nodes that no link leads from are never drawn."""
        source = super().source(data)
        often = np.where(data.degrees > 0, np.maximum(data.degrees, 1).astype(np.float64) ** self.ns_exponent, 0)
        return replace(source, constants=source.constants | negatives.alias_table(often)._asdict())

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """Returns nodes and what walks from them met, `node, positive, present [B]`, and `negatives [N]`."""
        batch, constants = super().batch(shard, step, key), shard.constants
        walk_key, choice_key, negative_key, level_key = jax.random.split(key, 4)
        met_on, reached = walks.walk(
            walk_key, constants["rows"], batch["node"], self.walk_length, constants["depth"].value
        )
        # Walks return, and stay at a node from which no link leads: the start is not its own positive.
        others = reached & (met_on != batch["node"][:, None])
        choice = jnp.argmax(jnp.where(others, random.uniform(choice_key, others.shape), -1), 1)
        batch |= {
            "positive": jnp.take_along_axis(met_on, choice[:, None], 1)[:, 0],
            "present": batch["present"] * others.any(1),
            **self.negatives_of(shard, negative_key, shard.columns["node"]),
        }
        return batch | self.drawn(shard, self._compared(batch), level_key)

    def _compared(self, batch: Batch) -> jax.Array:
        return jnp.concatenate([batch[name] for name in ("node", "positive", "negatives")])

    def loss_in(self, shard: Shard, rows: Rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the mean of the objective over the pairs."""
        nodes = self._compared(batch)
        vectors, size = self.encoded(net, shard, nodes, batch, key), batch["node"].shape[0]
        pairs = jnp.stack([batch["node"], batch["positive"]], 1)
        found = self.contrasted(vectors[:size], vectors[size : 2 * size], vectors[2 * size :], batch, pairs)
        return found._replace(value=found.value / jnp.maximum(found.metrics["weight"], 1))


@dataclass(frozen=True)
class NodeFeatures(Fixed):
    """The features of nodes as they are, or the bits of their degrees: what links have to add to."""

    scaled: bool = True  # Whether the features of each node are divided by the sum of their absolute values.

    def source(self, data: Graph) -> Source:
        """Returns the features. Raises ValueError for nodes that are kept from training, whose features would be missing."""
        if data.unseen is not None:
            raise ValueError("features are what they are, inductive or not: leave inductive out")
        found = features_of(data, "degrees" if data.features is None else "features", self.scaled)
        rows = found.get("rows")
        if rows is None:
            rows = np.zeros((len(data), _DEGREES if data.features is None else data.features.shape[1]), np.float32)
            np.put_along_axis(rows, found["ids"], found["values"], 1)
        return Source.cut({"node": np.arange(len(data), dtype=np.int32)}, constants={"rows": rows})

    def init(self, key: jax.Array, constants: Rows) -> Params:
        """There is nothing to learn."""
        return Params({}, {})

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """Returns a node."""
        return {"node": shard.columns["node"][:1]}

    def vectors(self, params: Params, constants: Rows) -> jax.Array:
        """Returns the features."""
        return constants["rows"]


def check_groups(data: Graph) -> tuple[np.ndarray, np.ndarray]:
    """The nodes of the training part, and the labels of all; ValueError where groups cannot be learned from these."""
    part, labels = data.part, data.labels
    if labels is None or part is None or not len(nodes := np.flatnonzero(part == "train")):
        raise ValueError(
            "there are no nodes to learn groups from: name the columns of groups (--label) and of parts (--part), one of them "
            "called train"
        )
    if (labels[nodes].sum(1) > 1).any():
        raise ValueError("nodes have several groups, and graphsage predicts one for each: train graphsage_unsupervised")
    if len(without := nodes[~labels[nodes].any(1)]):
        raise ValueError(
            f"the node {data.nodes[without[0]]} is of the training part and has no group: give it one, or take it out of the part"
        )
    return nodes, labels


def width_of(inputs: str, data: Graph) -> int:
    """The number of features of a node."""
    if inputs == "features" and data.features is not None:
        return data.features.shape[1]
    return len(data) if inputs == "ids" else _DEGREES


def features_of(
    data: Graph, inputs: str = "features", scaled: bool = True, ids: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Features of nodes as encoders take them: rows, or lists where most are 0 (`jaxembed.encoders.sage.Features`).

    Ids are a 1 at the place of a node, or of its id among `ids`, if these are given, and nothing for another id. Degrees are a
    1 at the number of bits that a node's number of links has: at 0 for none, 1 for one, 2 for two or three.
    """
    if inputs != "features":
        if inputs == "degrees":
            place = [int(degree).bit_length() for degree in data.degrees]
        elif ids is None:
            place = range(len(data))
        else:
            known = {name: number for number, name in enumerate(ids)}
            place = [known.get(name, -1) for name in data.nodes]
        found = np.array(place, np.int32)[:, None]
        return {"ids": np.maximum(found, 0), "values": (found >= 0).astype(np.float32)}
    rows = np.asarray(data.features, np.float32)
    if scaled:
        rows = rows / np.maximum(np.abs(rows).sum(1, keepdims=True), np.finfo(np.float32).tiny)
    most = max(1, int((rows != 0).sum(1).max(initial=0)))
    if most * _SPARSE > rows.shape[1]:
        return {"rows": rows}
    there = np.argsort(rows == 0, axis=1, kind="stable")[:, :most]  # those that a node has come first
    return {"ids": there.astype(np.int32), "values": np.take_along_axis(rows, there, 1)}


def embed_nodes(
    method: NodeMethod, params: Params, data: Graph, ids: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Vectors of all nodes of a graph, float32 `[n, d]`, and probabilities of groups, `[n, groups]`, if the method predicts any.

    `ids` are those of the nodes that were trained on, if these are of another graph. Raises ValueError for features of another
    width than those that were trained on, or none.
    """
    wanted, there = method.encoder["input_size"], data.features
    if method.inputs == "features" and (there is None or there.shape[1] != wanted):
        has = "none" if there is None else there.shape[1]
        raise ValueError(f"nodes are known by {wanted} features, and these have {has}: give those that were trained on")
    arrays = _on_device(data, method.inputs, method.scaled, None if ids is None else tuple(ids))
    vectors, logits = _embedded(method, jax.device_put(params), arrays)
    return np.asarray(vectors), None if logits is None else np.asarray(jax.nn.softmax(logits))


@lru_cache(maxsize=2)
def _on_device(data: Graph, *inputs: Any) -> dict[str, Any]:
    """A graph as encoders take it; it is embedded after each pass of each run."""
    return jax.device_put({"features": features_of(data, *inputs), "rows": neighbours.rows_of(data)})


@partial(jax.jit, static_argnums=0)
def _embedded(method: NodeMethod, params: Params, arrays: Rows) -> tuple[jax.Array, jax.Array | None]:
    vectors = method.vectors(params, arrays)
    return vectors, method.groups(params.net, vectors)
