"""Which model completes a knowledge graph best? Training, candidates and passes as each has them by itself, over seeds.

    python -m experiments.knowledge_graphs --preset smoke --results runs/graphs-smoke   # a minute, 2 cores; the shipped graph
    python -m experiments.knowledge_graphs                             # cpu: FB15k-237, rank 100; minutes a contender and seed
    python -m experiments.knowledge_graphs --preset fast --seeds 1     # ComplEx of rank 200: .34 within four minutes, 2 cores
    python -m experiments.knowledge_graphs --preset wide               # ComplEx of rank 300; twenty minutes a seed on one core
    python -m experiments.knowledge_graphs --preset wn18rr
    python -m experiments.knowledge_graphs --preset tuned              # as cpu, with three learning rates tried for each
    python -m experiments.knowledge_graphs --preset accelerator        # rank 1,000 with all entities as candidates

    python -m experiments.knowledge_graphs --data my-facts.tsv --contenders complex/infonce rotate --results runs/mine

Expect a filtered test MRR of .32 for TransE and RotatE, .33 for DistMult and .34 for ComplEx in `cpu`, of .355 in `wide`, and in
`wn18rr` of .22, .46, .44 and .47.
Every contender is judged on the best pass by a part of the validation split. Finished runs are kept, and a killed call goes on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment, Preset
from jaxembed.tasks.triples import MRR

ALL = ("transe", "distmult", "complex", "rotate")
RATES = ("learning_rate=0.05,0.1,0.2",)
WORDNET = {"data": "wn18rr", "candidates": 2048}
# Bilinear models of WordNet: more regularisation, and steps four times as long.
STRONG = {"regularization": 0.1, "learning_rate": 0.4, "epochs": 20}
# All entities are candidates of a step, and a complex vector has 1,000 numbers.
WIDE: dict[str, Any] = {"objective": "softmax", "vector_size": 2000, "batch_size": 1024, "epochs": 100}

FIVE = (1, 2, 3, 4, 5)  # where a run takes less than ten minutes

PRESETS = {
    "smoke": Preset(ALL, Path("runs/graphs-smoke"), {"vector_size": 32, "epochs": 5}, seeds=(1, 2)),
    # A run of RotatE takes the better part of an hour.
    "wn18rr": Preset(
        ALL, Path("results/knowledge_graphs_wn18rr"), WORDNET, {"complex": STRONG, "distmult": STRONG}, FIVE,
        own_seeds={"rotate": (1, 2, 3)},
    ),
    # A run alone ends soonest: one seed for each call.
    "fast": Preset(
        ("complex",), Path("results/knowledge_graphs_fast"), {"data": "fb15k-237", "vector_size": 400, "epochs": 20}, seeds=FIVE
    ),
    "wide": Preset(
        ("complex",), Path("results/knowledge_graphs_wide"),
        {"data": "fb15k-237", "vector_size": 600, "relation_weight": 1.0, "answers": 2, "epochs": 25},
    ),
    "tuned": Preset(ALL, Path("results/knowledge_graphs_tuned"), {"data": "fb15k-237"}, tune=RATES, select=MRR),
    "accelerator": Preset(ALL, Path("results/knowledge_graphs_accelerator"), {"data": "fb15k-237"},
                          own={"complex": WIDE, "distmult": {**WIDE, "vector_size": 1000}}),
    "cpu": Preset(ALL, Path("results/knowledge_graphs"), {"data": "fb15k-237"}, seeds=FIVE),
}  # fmt: skip


def notes(recipes: Mapping[str, Any]) -> list[str]:
    """What the table should be read with."""
    data = next(iter(recipes.values())).task.data
    sizes = [f"{label} {one.method.vector_size}" for label, one in recipes.items()]
    unseen = {"fb15k-237": "28 of 20,466", "wn18rr": "210 of 3,134"}
    return [
        *(
            [f"{unseen[data]} test facts of {data} name an entity that the training facts lack; they count."]
            if data in unseen
            else []
        ),
        *(
            [f"Numbers of a vector: {'; '.join(sizes)}."]
            if len({one.method.vector_size for one in recipes.values()}) > 1
            else []
        ),
        "MRR, Hits@k and MR (mean rank): filtered by the facts of all splits, heads and tails together, ties by the mean rank; "
        "dev: of the validation facts.",
    ]


EXPERIMENT = Experiment("knowledge_graphs", "Knowledge graphs", __doc__, PRESETS, notes=notes)

if __name__ == "__main__":
    EXPERIMENT.main()
