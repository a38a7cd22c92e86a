"""The task of knowledge graphs: what is odd in a graph, and how it is judged."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.tasks.base import Trained
from jaxembed.tasks.triples import Triples
from jaxembed.vectors import KeyedVectors

#: A loop, a fact that comes twice, and in the test an entity and a relation that nothing is known of.
TRAIN = "a\tlikes\tb\nb\tlikes\tc\na\tlikes\tb\nc\tlikes\tc\n"
TEST = "a\tlikes\tc\nc\tlikes\tc\nb\tlikes\td\na\thates\tb\n"


@dataclass(frozen=True)
class Numbers:
    """The score of an entity is its number, whatever is asked."""

    def answer(self, params, asked, relations, back):
        return jnp.broadcast_to(params, (len(asked), len(params)))


def task(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.tsv").write_text(text)
    return Triples(str(folder), validation_split=None, share=0.01)


def test_odd_facts_are_ranked_like_all_others_and_counted(tmp_path):
    made = task(tmp_path, train=TRAIN, test=TEST)
    graph = made.found.train
    assert (graph.entities, graph.relations) == (("a", "b", "c", "d"), ("likes", "hates"))
    assert made.unmeasurable() == {"ranking/mrr-dev": "there are no validation facts"}
    found = made.figures(
        Trained(KeyedVectors(graph.entities, np.zeros((4, 1))), lambda: (Numbers(), np.arange(4.0, dtype=np.float32)))
    )
    # The higher number is better; other answers that are known are left out. Tails: c below d; c, the loop, below d; d; b below
    # c and d. Heads: a below d (b and c like c too); c below d; b below c and d; a below all others.
    ranks = {"tail": [2, 2, 1, 3], "head": [2, 2, 3, 4]}
    assert found["ranking/mr"] == np.mean(ranks["tail"] + ranks["head"])
    for side, of in ranks.items():
        assert found[f"ranking/mrr/{side}"] == pytest.approx(np.mean(1 / np.array(of)))
    assert found["ranking/unseen"] == 0.5


def test_a_split_without_facts_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"test\.tsv has no rows"):
        _ = task(tmp_path, train=TRAIN, test="").found
    (tmp_path / "facts.tsv").write_text("a\tlikes\tb\n")
    alone = Triples(str(tmp_path / "facts.tsv"))
    assert set(alone.unmeasurable()) == set(alone.columns.values())
