"""Which vectors of nodes tell most of their groups, and of links that are set apart? Walks and links, objectives, over seeds.

    python -m experiments.graphs --preset smoke --results runs/nodes-smoke      # a minute, 2 cores; the karate club
    python -m experiments.graphs                                  # cpu: BlogCatalog, needs JAXEMBED_DATA; a minute or two a run
    python -m experiments.graphs --preset links                   # a tenth of the links is set apart, and told from other pairs
    python -m experiments.graphs --preset walks                   # new walks in each pass beside stored ones that are repeated
    python -m experiments.graphs --preset accelerator

    python -m experiments.graphs --data my-links.tsv --nodes my-nodes.csv --label group --results runs/mine

Expect of `cpu` a micro-F1 of .365, .411 and .422 for DeepWalk by 10, 50 and 90 % of the groups; the others are not yet measured.
F1 is that of one-vs-rest logistic regression on the raw vectors (C = 1), with as many groups for a node as it has. Learning rates
are chosen by the F1 of nodes that are divided with another seed. Finished runs are kept, and a killed call goes on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment, Preset
from jaxembed.recipes import recipe
from jaxembed.tasks.nodes import DEV_F1

ALL = ("deepwalk/negative_sampling", "deepwalk/infonce", "node2vec/negative_sampling", "line/negative_sampling")
BLOGS: dict[str, Any] = {"data": "blogcatalog"}
# What Grover and Leskovec (2016, section 4.3) chose for BlogCatalog.
BIAS = {"node2vec": {"p": 0.25, "q": 0.25}}
RATES = ("learning_rate=0.15,0.3,0.6",)
KINDS = {"deepwalk_stored": recipe("deepwalk").with_(walks=10, stored=True, epochs=8)}

PRESETS = {
    "smoke": Preset(ALL, Path("runs/nodes-smoke"), {"vector_size": 16, "walks": 20}, seeds=(1, 2)),
    "links": Preset(
        ("deepwalk/negative_sampling", "line/negative_sampling"), Path("results/graphs_links"), {**BLOGS, "removed": 0.1},
    ),
    # The same number of steps.
    "walks": Preset(("deepwalk", "deepwalk_stored"), Path("results/graphs_walks"), BLOGS),
    "accelerator": Preset(ALL, Path("results/graphs_accelerator"), {**BLOGS, "walks": 320}, BIAS, tune=RATES, select=DEV_F1),
    "cpu": Preset(ALL, Path("results/graphs"), BLOGS, BIAS, tune=RATES, select=DEV_F1),
}  # fmt: skip


def notes(recipes: Mapping[str, Any]) -> list[str]:
    """What the table should be read with."""
    task = next(iter(recipes.values())).task
    if task.removed:
        return [
            f"AUC: links set apart ({task.removed:.0%}, by one draw for all) above as many pairs without a link, by cosine."
        ]
    return [
        f"F1 by the share of nodes whose groups are known; means over {task.splits} random divisions, the same for all. "
        "One-vs-rest logistic regression, C = 1, raw vectors, as many groups for a node as it has. dev: halves drawn with "
        "another seed."
    ]


EXPERIMENT = Experiment("graphs", "Graphs", __doc__, PRESETS, KINDS, notes=notes)

if __name__ == "__main__":
    EXPERIMENT.main()
