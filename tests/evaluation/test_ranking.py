import os
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.data.triples import Triples, read_triples
from jaxembed.evaluation import ranking
from jaxembed.evaluation.ranking import Ranker, figures, summary


@dataclass(frozen=True)
class Table:
    """Scores [2, R, E, E] as they are: of the tails, and of the heads."""

    def answer(self, params, asked, relations, back):
        return params[int(back), relations, asked]


def slowly(graph, facts, scores):
    """Ranks by the definition, a fact at a time: the mean of the best and the worst rank that ties allow."""
    known = set(map(tuple, graph.all.tolist()))
    ranks = {"head": [], "tail": []}
    for head, relation, tail in facts.tolist():
        for side in ranks:
            row = scores[int(side == "head"), relation, tail if side == "head" else head].astype(np.float64)
            row = np.where(np.isnan(row), -np.inf, row)
            right = row[head if side == "head" else tail]
            best = worst = 1
            for other, score in enumerate(row):
                fact = (other, relation, tail) if side == "head" else (head, relation, other)
                if fact not in known:
                    best += score > right
                    worst += score >= right
            ranks[side].append((best + worst) / 2)
    return ranks


def made():
    rng = np.random.default_rng(0)
    facts = np.unique(rng.integers(0, [23, 3, 23], (400, 3)), axis=0)
    facts = rng.permutation(facts).tolist()
    columns = lambda rows: [[f"{kind}{row[i]}" for row in rows] for i, kind in enumerate("ere")]
    return Triples.build([columns(part) for part in (facts[:250], facts[250:300], facts[300:])])


@pytest.fixture(params=["made", "umls"])
def graph(request):
    if request.param == "made":
        return made()
    if "JAXEMBED_DATA" not in os.environ:
        pytest.skip("JAXEMBED_DATA, where umls is, is not set")
    return read_triples("umls")


@pytest.mark.parametrize("chunk", [512, 7])
def test_ranks_are_those_of_a_loop(graph, chunk, monkeypatch):
    monkeypatch.setattr(ranking, "_MOST", chunk)
    rng = np.random.default_rng(1)
    size = len(graph.entities)
    scores = rng.integers(0, size // 3, (2, len(graph.relations), size, size)).astype(np.float32)  # with many ties
    scores[:, 0, :9] = np.nan
    scores[:, 1, 3] = -np.inf
    facts = graph.test[:150]
    ranks = Ranker(graph, facts).ranks(Table(), jnp.asarray(scores))
    expected = slowly(graph, facts, scores)
    np.testing.assert_array_equal(ranks.head, expected["head"])
    np.testing.assert_array_equal(ranks.tail, expected["tail"])
    assert (ranks.head % 1 == 0.5).any()


def test_figures():
    ranks = ranking.Ranks(np.float32([1, 2]), np.float32([4, 11.5]))
    found = figures(ranks)
    assert found["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 4 + 1 / 11.5) / 4)
    assert found["mr/tail"] == 7.75
    assert (found["hits@1"], found["hits@3/head"], found["hits@10"]) == (0.25, 1.0, 0.75)


def test_without_facts_there_is_an_error():
    graph = made()
    with pytest.raises(ValueError, match="no facts"):
        summary(Ranker(graph, graph.test[:0]), Table(), None)


def test_memory_is_that_of_a_chunk():
    graph = made()
    side = Ranker(graph, graph.test)._sides[0]
    shapes = (side.given[0], side.relation[0], side.answers[0], np.zeros((50, 2), np.int32))
    scores = jnp.zeros((2, 3, 23, 23))
    compiled = ranking._ranks.lower(Table(), True, scores, *shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 20 * 4 * side.given[0].size * 23


@pytest.mark.slow
def test_models_rank_as_their_scores_do():
    from jaxembed.methods.knowledge import ComplEx, DistMult, RotatE, TransE
    from jaxembed.training.method import Static

    graph = made()
    for method in (TransE(), TransE(norm=1, normalize=True), DistMult(reciprocal=False), ComplEx(), RotatE()):
        method = method.with_(vector_size=8, start=1.0)
        relations = len(graph.relations) * (1 + method.reciprocal)
        params = method.init(
            jax.random.key(0), {"entities": Static(len(graph.entities)), "relations": Static(relations)}
        )
        ids = np.arange(len(graph.entities))
        scores = np.stack([
            [np.asarray(method.answer(params, ids, np.full(len(ids), r), back)) for r in range(len(graph.relations))]
            for back in (False, True)
        ])  # fmt: skip
        ranks = Ranker(graph, graph.test).ranks(method, params)
        expected = slowly(graph, graph.test, scores)
        np.testing.assert_allclose(ranks.tail, expected["tail"], atol=1)  # two products may round a tie apart
        np.testing.assert_allclose(ranks.head, expected["head"], atol=1)
        assert np.mean(ranks.tail == expected["tail"]) > 0.95
