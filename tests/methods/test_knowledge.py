"""Methods of knowledge graphs against written-out NumPy in float64: the scores of facts, the loss of a batch, its gradient."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxembed.data.triples import Triples
from jaxembed.methods.knowledge import ComplEx, DistMult, RotatE, TransE, one_of
from jaxembed.objectives import Margin, pairwise
from jaxembed.training.loop import fit
from jaxembed.training.method import Shard
from jaxembed.training.settings import Training

PAPERS = RotatE(norm=1, objective="negative_sampling", adversarial=1.0, gamma=9.0)
METHODS = {
    "TransE L1": TransE(norm=1),
    "TransE L2": TransE(norm=2, normalize=True),
    "DistMult": DistMult(reciprocal=False),
    "ComplEx": ComplEx(),
    "RotatE L1": PAPERS,
    "RotatE L2": RotatE(),
}
KEY = jax.random.key(4)
SMALL = {"vector_size": 6, "batch_size": 16, "candidates": 5, "answers": 3, "start": 0.7}
each = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "TransE L2" else n for n in METHODS]
)
some = pytest.mark.parametrize(
    "name", [n if n in ("TransE L1", "ComplEx") else pytest.param(n, marks=pytest.mark.slow) for n in METHODS]
)


def graph(entities=12, relations=3, count=90):
    rng = np.random.default_rng(0)
    facts = np.unique(rng.integers(0, [entities, relations, entities], (count, 3)), axis=0)
    columns = [[f"{kind}{row[i]}" for row in facts] for i, kind in enumerate("ere")]
    return Triples.build([columns, (), ()])


def complex_of(row):
    return row[: len(row) // 2] + 1j * row[len(row) // 2 :]


def score64(method, h, r, t):
    """By the papers' definitions; `r` of a reciprocal relation is one like others."""
    if method.normalize:
        h, t = h / np.linalg.norm(h), t / np.linalg.norm(t)
    if isinstance(method, TransE):
        return -np.linalg.norm(h + r - t, method.norm)
    if isinstance(method, DistMult):
        return np.sum(h * r * t)
    if isinstance(method, ComplEx):
        return np.sum(complex_of(h) * complex_of(r) * np.conj(complex_of(t))).real
    return -np.linalg.norm(complex_of(h) * np.exp(1j * r[: len(h) // 2]) - complex_of(t), method.norm)


def unpadded(method, params):
    """The tables without their padding, in float64."""
    entity = np.asarray(params.tables["entity"], np.float64)[:, np.flatnonzero(method.stored(method.vector_size))]
    size = method.score.width(method.vector_size)
    return entity, np.asarray(params.tables["relation"], np.float64)[:, np.flatnonzero(method.stored(size))]


def started(method, data):
    source = method.source(data)
    params = method.init(jax.random.key(1), source.constants)
    shard = Shard(source.constants, {k: jnp.asarray(v) for k, v in source.piece(0).items()})
    shard = shard.prepared(method.prepare(shard, jax.random.key(2)))
    return params, shard, method.batch(shard, jnp.int32(0), jax.random.key(3))


@each
def test_scores_are_those_of_the_papers(name):
    method, data = replace(METHODS[name], **SMALL), graph()
    params, *_ = started(method, data)
    entity, relation = unpadded(method, params)
    for back in (False, True):
        scores = method.answer(params, np.arange(3), np.array([0, 1, 2]), back)
        for i in range(3):
            for other in range(len(entity)):
                if back and method.reciprocal:  # a relation of its own leads from the tail
                    expected = score64(method, entity[i], relation[i + 3], entity[other])
                else:
                    h, t = (other, i) if back else (i, other)
                    expected = score64(method, entity[h], relation[i], entity[t])
                assert float(scores[i, other]) == pytest.approx(method.gamma + expected, abs=2e-5)


def loss64(method, params, batch):
    """The objective's definition, a question at a time, and the regulariser."""
    entity, relation = unpadded(method, params)
    batch = jax.tree.map(np.asarray, batch)
    total = 0.0
    for row, (asked, kind) in enumerate(batch["query"]):
        back, count = batch["back"][row], batch["count"][row]
        turned = back and not method.reciprocal

        def score(other, asked=asked, kind=kind, turned=turned):
            h, t = (other, asked) if turned else (asked, other)
            return method.gamma + score64(method, entity[h], relation[kind], entity[t])

        weight, answers = float(batch["weight"][row]), batch["answers"][row][:count]
        pos = np.array([score(one) for one in answers])
        everybody = batch.get("everybody", batch.get("candidates"))
        neg = np.array([score(one) for one in everybody])
        kinds = type(method.objective).__name__
        if kinds == "Logistic":
            shares = np.exp(method.adversarial * (neg - neg.max()))
            shares *= method.negative * weight * count / shares.sum()
            total += weight * np.sum(np.log1p(np.exp(-pos))) + np.sum(shares * np.log1p(np.exp(neg)))
        elif kinds == "InfoNCE":
            t = method.objective.temperature
            many = len(entity) / method.candidates * np.sum(np.exp(neg / t))
            total += weight * np.sum(np.log1p(many * np.exp(-pos / t)))
        else:
            assert kinds == "Softmax"
            total += weight * np.sum(np.log(np.sum(np.exp(neg))) - pos)
        for one in answers:
            parts = [entity[asked], entity[one], *([] if method.score.is_angle else [relation[kind]])]
            moduli = [np.abs(complex_of(part)) if method.score.is_complex else np.abs(part) for part in parts]
            power = {"n3": 3, "l2": 2, "none": 0}[method.regularizer]
            total += weight * method.regularization * sum(np.sum(part**power) for part in moduli)
    return total


def in_table(method, params, batch):
    rows = {name: params.tables[table][ids] for name, (table, ids) in method.lookups(batch).items()}
    return method.loss(rows, None, None, batch, KEY).value


@each
@pytest.mark.parametrize(
    ("objective", "more"),
    [
        ("negative_sampling", {"adversarial": 0.7, "negative": 2.0, "corruption": "bernoulli"}),
        ("infonce", {"regularizer": "n3", "regularization": 0.1}),
        ("softmax", {"regularizer": "l2", "regularization": 0.2}),
    ],
)
def test_the_loss_of_a_batch_is_its_definition(name, objective, more):
    method = replace(METHODS[name], **SMALL, objective=pairwise(objective), **more)
    params, _, batch = started(method, graph())
    assert float(in_table(method, params, batch)) == pytest.approx(loss64(method, params, batch), rel=2e-5)


@some
def test_a_step_follows_the_gradient_of_the_definition(name):
    method = replace(METHODS[name], **SMALL, regularizer="n3", regularization=0.1, adversarial=0.0)
    params, _, batch = started(method, graph())
    gradient = jax.grad(lambda tables: in_table(method, params._replace(tables=tables), batch))(params.tables)
    rng = np.random.default_rng(0)
    for table, values in params.tables.items():
        for _ in range(4):
            row, column = rng.integers(0, len(values)), rng.integers(0, 3)
            hot = np.zeros(values.shape)
            hot[row, column] = 1
            shifted = lambda by, table=table, values=values, hot=hot: {
                **params.tables,
                table: np.float64(values) + by * hot,
            }
            moved = lambda by, shifted=shifted: loss64(method, params._replace(tables=shifted(by)), batch)
            slope = (moved(1e-4) - moved(-1e-4)) / 2e-4
            assert float(gradient[table][row, column]) == pytest.approx(slope, rel=2e-3, abs=2e-3)


def test_relations_are_told_by_the_scores():
    for method in (ComplEx(), DistMult(reciprocal=False), TransE()):
        method = replace(method, **SMALL, relation_weight=1.5)
        params, _, batch = started(method, graph())
        without = in_table(replace(method, relation_weight=0.0), params, batch)
        entity, relation = unpadded(method, params)
        expected = 0.0
        drawn = np.asarray(one_of(KEY, batch["count"]))
        for row, (asked, kind) in enumerate(np.asarray(batch["query"])):
            turned = bool(batch["back"][row]) and not method.reciprocal
            one = np.asarray(batch["answers"])[row, drawn[row]]
            h, t = (one, asked) if turned else (asked, one)
            scores = np.array([score64(method, entity[h], r, entity[t]) for r in relation])
            expected += int(batch["count"][row]) * (np.log(np.sum(np.exp(scores))) - scores[kind])
        assert float(in_table(method, params, batch) - without) == pytest.approx(1.5 * expected, rel=1e-4)


def test_each_answer_is_drawn_as_often():
    drawn = np.asarray(one_of(KEY, jnp.tile(jnp.array([1, 2, 3], jnp.int32), 3000))).reshape(-1, 3)
    for place, count in enumerate((1, 2, 3)):
        found = np.bincount(drawn[:, place], minlength=count)
        assert len(found) == count
        assert stats.chisquare(found).pvalue > 0.001 if count > 1 else True


def test_relations_are_told_beside_all_entities_too():
    method = replace(ComplEx(objective="softmax"), **SMALL, relation_weight=1.0)
    params, _, batch = started(method, graph())
    assert float(in_table(method, params, batch)) > float(in_table(replace(method, relation_weight=0.0), params, batch))


@some
def test_padding_stays_zero_and_every_answer_is_met_once_a_pass(name):
    method, data = replace(METHODS[name], **SMALL), graph(count=200)
    result = fit(method, data, replace(Training.of(method), epochs=2))
    trained = result.method
    for table, size in (("entity", 6), ("relation", trained.score.width(6))):
        rows = np.asarray(result.params[0].tables[table])
        assert not rows[:, trained.stored(size) == 0].any()
        assert np.isfinite(rows).all()
    source = trained.source(data)
    piece = source.piece(0)
    assert piece["count"].sum() == 2 * len(data.train)


def test_self_adversarial_weights_take_no_gradient():
    method = replace(PAPERS, **SMALL)
    params, _, batch = started(method, graph())
    neg = jnp.linspace(-1, 1, 5)[None, :] * jnp.ones((16, 1))
    slope = jax.grad(lambda neg: jnp.sum(method._weights(batch, neg, jnp.ones((16, 1)))))(neg)
    assert not np.asarray(slope).any()
    assert params


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ComplEx(vector_size=7), "vector_size must be even"),
        (lambda: DistMult(objective="hierarchical_softmax"), "choose softmax or infonce"),
        (lambda: TransE(corruption="bernouilli"), "did you mean 'bernoulli'"),
        (lambda: TransE(regularizer="n4"), "regularizer must be 'none', 'n3' or 'l2', not 'n4'"),
        (lambda: RotatE(relation_weight=1.0), "leave relation_weight at 0"),
        (lambda: ComplEx(objective=Margin(margin=-1.0)), "margin"),
        (lambda: ComplEx().suited_to(Triples.build([(["a"], ["r"], ["a"]), (), ()])), "only one entity"),
        (lambda: Triples.build([(), (), ()]), "no facts to train on"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_rows_of_each_table_have_their_true_width():
    method = replace(RotatE(), **SMALL)
    optimizers = Training().optimizers(method, {"learning_rate": 0.1, "final_rate": 0.1, "total_steps": 1})
    for table, width in (("entity", 6), ("relation", 3)):
        optimizer, rows = optimizers.of(table), jnp.zeros((2, 8))
        gradient = jnp.float32(np.arange(8) < width)[None, :]
        _, accumulator = optimizer.update(rows, optimizer.init(rows), jnp.zeros(1, jnp.int32), gradient, 0.1)
        np.testing.assert_allclose(accumulator, [2, 1])  # 1, and the mean square of the gradient
