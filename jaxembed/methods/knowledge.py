"""Knowledge graphs: a relation maps the head of a fact to its tail among all entities (TransE, DistMult, ComplEx, RotatE).

A fact is two questions: for its tail, given head and relation, and for its head. Equal questions share a row of a
batch, with up to `answers` right ones, and all questions of a batch share their candidates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.triples import Triples, queries
from jaxembed.methods.examples import ExampleMethod
from jaxembed.naming import unknown
from jaxembed.objectives import InfoNCE, pairwise
from jaxembed.ranges import Count, Finite, NotNegative, Positive
from jaxembed.sampling import negatives, random
from jaxembed.sampling.corruption import CORRUPTIONS
from jaxembed.scores import TRIPLE_SCORES, TripleScore, normalized
from jaxembed.tables import LANE, gather
from jaxembed.training.method import Batch, Lookups, Loss, Params, Shard, Source, Static

SMALLEST, FEWEST = 16, 100  # questions in a step, and the number of steps in a pass below which it is made smaller

_ADAGRAD: Mapping[str, Any] = {
    "optimizer": "adagrad", "learning_rate": 0.1, "final_rate": 0.1, "initial_accumulator": 0.0, "eps": 1e-10,
}  # fmt: skip


@dataclass(frozen=True)
class KnowledgeMethod(ExampleMethod):
    """Methods that learn a vector for each entity and each relation of a knowledge graph."""

    batch_size: Count = 512  # Number of questions in one step; fewer if a pass would have fewer than 100 steps.
    # Dimension of an entity's vector. It is even for ComplEx and RotatE, where two numbers make a complex one: rank 100 is 200.
    vector_size: Count = 200
    answers: Count = (
        8  # Maximum number of right answers to a question in one row of a batch; further answers are in further rows.
    )
    objective: Any = field(default_factory=InfoNCE)  # Any pairwise objective, or its name; softmax scores all entities.
    candidates: Count = 1024  # Number of entities drawn in each step, as wrong answers to all of its questions.
    # How they are drawn and weighted: uniform, bernoulli (a side with many right answers has less weight), or
    # frequency (entities with many facts are drawn more often).
    corruption: str = "uniform"
    # For objectives with sampled negatives (negative_sampling, margin, bpr): the total weight of the wrong answers per right one.
    negative: Positive = 1.0
    # Self-adversarial sampling (RotatE): wrong answers are weighted by a softmax of their scores times this; 0 weights all
    # equally.
    adversarial: NotNegative = 0.0
    # Added to all scores, so that a logistic objective can accept small distances: RotatE's margin.
    gamma: Finite = 0.0
    # Learn a reciprocal relation for the questions for heads; otherwise the same relation is used backwards.
    reciprocal: bool = True
    # Regulariser of the vectors: n3 (sums of cubed moduli: Lacroix et al. 2018), l2 (of squares), or none.
    regularizer: Literal["none", "n3", "l2"] = "none"
    regularization: NotNegative = 0.0  # Weight of the regulariser for each fact.
    normalize: bool = False  # Scale entities to length 1.
    # Weight of predicting the relation among all relations, given head and tail (Chen et al. 2021); not for RotatE.
    relation_weight: NotNegative = 0.0
    start: Positive = 1e-3  # Standard deviation of the initial vectors; RotatE's angles start uniformly.

    traced: ClassVar[tuple[str, ...]] = (
        "negative", "adversarial", "gamma", "regularization", "objective.temperature", "objective.margin",
    )  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.objective, str):
            object.__setattr__(self, "objective", pairwise(self.objective))
        objective: Any = self.objective
        if objective.negatives == "path":
            raise ValueError(
                "hierarchical_softmax needs a tree of entities, and there is none: choose softmax or infonce"
            )
        if self.corruption not in CORRUPTIONS:
            raise unknown("corruption", self.corruption, CORRUPTIONS)
        if self.score.is_complex and self.vector_size % 2:
            raise ValueError(f"vector_size must be even, since two numbers make a complex one, not {self.vector_size}")
        if self.relation_weight and self.score.between is None:
            raise ValueError(f"{type(self).__name__} cannot score all relations at once: leave relation_weight at 0")

    @property
    def score(self) -> TripleScore:
        """The score of a fact."""
        raise NotImplementedError

    def suited_to(self, data: Triples) -> Self:
        """Chooses steps small enough that a pass has a hundred of them, and no more candidates than there are entities."""
        if len(data.entities) < 2:
            raise ValueError("there is only one entity: training needs others as wrong answers")
        rows, size = 2 * len(data.train), self.batch_size
        while size > SMALLEST and rows < FEWEST * size:
            size //= 2
        return replace(self, batch_size=size, candidates=min(self.candidates, len(data.entities)))

    def source(self, data: Triples) -> Source:
        """Returns one row per question: `query [2]` (entity, relation), `back`, `answers`, their `count`, and a weight."""
        entities, relations = len(data.entities), len(data.relations)
        drawn = CORRUPTIONS[self.corruption](data.train, entities, relations)
        columns = []
        for back in (False, True):
            given, answers, count = queries(data.train, back, self.answers)
            weight = drawn.weights[int(back), given[:, 1]].astype(np.float32)
            if back and self.reciprocal:
                given = given + np.array([0, relations], np.int32)
            columns.append({"query": given, "answers": answers, "count": count, "weight": weight,
                            "back": np.full(len(given), back)})  # fmt: skip
        both = {name: np.concatenate([side[name] for side in columns]) for name in columns[0]}
        sizes = {"entities": Static(entities), "relations": Static(relations * (1 + self.reciprocal))}
        sampled = self.objective.negatives != "everybody"
        table = negatives.alias_table(drawn.entities)._asdict() if sampled else {}
        return Source.cut(both, constants=sizes | table, size=len(data.train))

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts with normal numbers, and with uniform angles for RotatE; columns of padding are 0."""
        of_entity, of_relation = jax.random.split(key)
        shape = lambda name, size: (constants[name].value, len(self.stored(size)))
        entities = shape("entities", self.vector_size)
        relations = shape("relations", self.score.width(self.vector_size))
        entity = self.start * jax.random.normal(of_entity, entities, jnp.float32)
        if self.score.is_angle:
            relation = jax.random.uniform(of_relation, relations, jnp.float32, -jnp.pi, jnp.pi)
        else:
            relation = self.start * jax.random.normal(of_relation, relations, jnp.float32)
        clear = lambda table, size: table * self.stored(size)[None, :]
        return Params({
            "entity": clear(entity, self.vector_size),
            "relation": clear(relation, self.score.width(self.vector_size)),
        })  # fmt: skip

    def stored(self, size: int) -> np.ndarray:
        """Returns which columns of a stored row are not padding, float32; complex numbers have padding after each half."""
        parts = 2 if self.score.is_complex and size == self.vector_size else 1
        lane = LANE // 2 if self.score.is_complex else LANE  # both halves, and angles, have the same padding
        each = -(-size // parts // lane) * lane
        return np.tile(np.arange(each) < size // parts, parts).astype(np.float32)

    @property
    def row_size(self) -> int:
        """The columns of an entity that are not padding."""
        return self.vector_size

    @property
    def row_sizes(self) -> Mapping[str, int]:
        """The same by table: RotatE's relations are half as wide."""
        return {"relation": self.score.width(self.vector_size)}

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """Returns questions with their answers, and the candidates that they share, `[candidates]` or all entities."""
        batch, constants = super().batch(shard, step, key), shard.constants
        if self.relation_weight:
            batch["relations"] = jnp.arange(constants["relations"].value, dtype=jnp.int32)
        if self.objective.negatives == "everybody":
            return {**batch, "everybody": jnp.arange(constants["entities"].value, dtype=jnp.int32)}
        table = negatives.AliasTable(constants["threshold"], constants["alias"], constants["log_probability"])
        drawn = negatives.draw(key, table, (self.candidates,))
        return {**batch, "candidates": drawn, "log_probability": table.log_probability[drawn]}

    def lookups(self, batch: Batch) -> Lookups:
        """Looks up the entity and relation of each question, its answers, and the candidates."""
        others = "everybody" if "everybody" in batch else "candidates"
        found = {
            "asked": ("entity", batch["query"][:, 0]),
            "answers": ("entity", batch["answers"]),
            "candidates": ("entity", batch[others]),
            "relation": ("relation", batch["query"][:, 1]),
        }
        return found | ({"relations": ("relation", batch["relations"])} if self.relation_weight else {})

    def loss(self, rows: dict[str, jax.Array], net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the sum of the objective over the questions of the batch; `weight` is the sum of the answers' weights."""
        given, answers, candidates = (self._entities(rows[name]) for name in ("asked", "answers", "candidates"))
        place = jnp.arange(answers.shape[1], dtype=jnp.int32)[None, :]
        weight = batch["weight"][:, None] * (place < batch["count"][:, None])  # [B, T]
        query = self._query(given, rows["relation"], batch["back"])
        pos = self.gamma + self.score.compare(query[:, None, :], answers)[:, 0]
        neg = self.gamma + self.score.compare(query, candidates)
        loss = self.objective(pos, weight, neg, self._weights(batch, neg, jnp.sum(weight, -1, keepdims=True)))
        total = jnp.sum(loss) + self._regularization(rows, weight)
        if self.relation_weight:
            total += self.relation_weight * self._relation_loss(given, answers, rows["relations"], batch, weight, key)
        return Loss(total, {"loss": total, "weight": jnp.sum(weight)})

    def _entities(self, rows: jax.Array) -> jax.Array:
        return normalized(rows) if self.normalize else rows

    def _query(self, given: jax.Array, relation: jax.Array, back: jax.Array) -> jax.Array:
        """Returns the entities after the relations have moved them, `[B, d]`."""
        there = self.score.move(given, relation, False)
        return there if self.reciprocal else jnp.where(back[:, None], self.score.move(given, relation, True), there)

    def _weights(self, batch: Batch, neg: jax.Array, positives: jax.Array) -> Any:
        """Returns the weights of the wrong answers, `[B, N]` or broadcastable to it; `positives [B, 1]`."""
        if self.objective.negatives == "everybody":
            return 1.0
        if self.objective.negatives == "importance":  # the drawn entities stand for all
            return jnp.exp(-batch["log_probability"])[None, :] / self.candidates
        return self.negative * positives * jax.nn.softmax(jax.lax.stop_gradient(self.adversarial * neg), -1)

    def _regularization(self, rows: dict[str, jax.Array], weight: jax.Array) -> jax.Array | float:
        """Returns the regulariser of the head, relation and tail of each fact, times its weight."""
        if self.regularizer == "none":
            return 0.0
        of_question = self._size(rows["asked"])
        if not self.score.is_angle:
            of_question += self._size(rows["relation"])
        return self.regularization * jnp.sum(weight * (of_question[:, None] + self._size(rows["answers"])))

    def _size(self, rows: jax.Array) -> jax.Array:
        """Returns the regulariser of rows `[..., d]`: `[...]`."""
        if self.regularizer == "l2":
            return jnp.sum(rows * rows, -1)
        square = sum(half * half for half in jnp.split(rows, 2, -1)) if self.score.is_complex else rows * rows
        return jnp.sum(square * square * jax.lax.rsqrt(jnp.maximum(square, 1e-24)), -1)

    def _relation_loss(self, given, answers, relations, batch, weight, key):
        """Cross-entropy of a question's relation among all of them, given one of its answers; summed, all answers counting.

        The answer is drawn: most questions have one alone, and places for more would be compared with all relations for nothing.
        """
        assert self.score.between is not None
        one = jnp.take_along_axis(answers, one_of(key, batch["count"])[:, None, None], 1)[:, 0]
        led = self.score.between(given, one)
        if not self.reciprocal:
            led = jnp.where(batch["back"][:, None], self.score.between(one, given), led)
        scores = self.score.compare(led, relations)
        found = jnp.take_along_axis(jax.nn.log_softmax(scores, -1), batch["query"][:, 1:2], -1)[:, 0]
        return -jnp.sum(jnp.sum(weight, -1) * found)

    def vectors(self, params: Params, constants: Any = None) -> jax.Array:
        """Returns the entities, `[E, vector_size]`; of complex numbers first all real parts, then all imaginary ones."""
        return self._entities(params.tables["entity"][:, np.flatnonzero(self.stored(self.vector_size))])

    def answer(self, params: Params, given: jax.Array, relations: jax.Array, back: bool) -> jax.Array:
        """Returns the scores `[q, E]` of all entities as tails of (given, relation) or as heads of (relation, given) (`back`)."""
        everybody = self._entities(params.tables["entity"])
        if back and self.reciprocal:
            relations = relations + params.tables["relation"].shape[0] // 2
        relation = gather(params.tables["relation"], relations)
        query = self.score.move(gather(everybody, given), relation, back and not self.reciprocal)
        return self.gamma + self.score.compare(query, everybody)


def one_of(key: jax.Array, count: jax.Array) -> jax.Array:
    """A place below each of `count` [n], all as likely, int32 [n]."""
    return (random.uniform(key, count.shape) * count).astype(jnp.int32)


@dataclass(frozen=True)
class TransE(KnowledgeMethod):
    """TransE: a relation is a translation from head to tail, by any pairwise objective of distances (Bordes et al. 2013)."""

    norm: Literal[1, 2] = 2  # Distance: 1 is the sum of absolute differences, 2 is Euclidean.
    objective: Any = field(
        default_factory=lambda: InfoNCE(temperature=0.25)
    )  # Any pairwise objective, or the name of one.

    training: ClassVar[Mapping[str, Any]] = {"learning_rate": 0.1, "final_rate": 0.1}

    @property
    def score(self) -> TripleScore:
        """Minus the distance."""
        return TRIPLE_SCORES[f"transe_l{self.norm}"]


@dataclass(frozen=True)
class Bilinear(KnowledgeMethod):
    """Methods that score by products, whose vectors would grow without bounds if they were not regularised."""

    regularizer: Literal["none", "n3", "l2"] = (
        "n3"  # Regulariser of the vectors: n3 (cubed moduli), l2 (squares), or none.
    )
    regularization: NotNegative = 0.05  # Weight of the regulariser for each fact.

    training: ClassVar[Mapping[str, Any]] = _ADAGRAD


@dataclass(frozen=True)
class DistMult(Bilinear):
    """DistMult: a relation weights the products of head and tail, the same in both directions (Yang et al. 2015)."""

    @property
    def score(self) -> TripleScore:
        """The trilinear product."""
        return TRIPLE_SCORES["distmult"]


@dataclass(frozen=True)
class ComplEx(Bilinear):
    """ComplEx: DistMult with complex numbers, whose products are directed (Trouillon et al. 2016; N3: Lacroix et al. 2018)."""

    @property
    def score(self) -> TripleScore:
        """The real part of the trilinear product."""
        return TRIPLE_SCORES["complex"]


@dataclass(frozen=True)
class RotatE(KnowledgeMethod):
    """RotatE: a relation rotates the complex numbers of the head into those of the tail (Sun et al. 2019).

    The paper's distance and loss are `RotatE(norm=1, objective="negative_sampling", adversarial=1.0, gamma=9.0)`.
    """

    # Distance: 1 is the sum of the moduli of the differences, as in the paper; 2 is Euclidean, and several times as fast.
    norm: Literal[1, 2] = 2
    objective: Any = field(
        default_factory=lambda: InfoNCE(temperature=0.25)
    )  # Any pairwise objective, or the name of one.
    # Learn a reciprocal relation for the questions for heads; otherwise they are rotated back.
    reciprocal: bool = False

    training: ClassVar[Mapping[str, Any]] = {"learning_rate": 0.1, "final_rate": 0.1}

    @property
    def score(self) -> TripleScore:
        """Minus the distance."""
        return TRIPLE_SCORES[f"rotate_l{self.norm}"]
