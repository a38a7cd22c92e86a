"""Which recommender finds what people come to next? Baselines, factorisations, graphs and histories, over seeds.

    python -m experiments.recommendations --preset smoke --results runs/recommendations-smoke   # a minute, 2 cores
    python -m experiments.recommendations                                   # cpu: Gowalla, needs JAXEMBED_DATA
    python -m experiments.recommendations --preset sequences --results results/recommendations_sequences  # MovieLens-100K
    python -m experiments.recommendations --preset clicks --results results/recommendations_clicks        # Frappe's part
    python -m experiments.recommendations --preset accelerator --results results/recommendations_accelerator

Every item is ranked, without those that a user has; no sampled negatives are judged. The baselines without training stand
beside. `cpu` and `accelerator` train on all training items, as published figures do; choose settings with --validation 0.1
--tune NAME=VALUE,... --select ranking/ndcg@20-dev. Finished runs are kept, and a killed call goes on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment, Preset

BASELINES = ("popularity", "item_cosine", "gf_cf")
GOWALLA: dict[str, Any] = {"data": "gowalla", "time": None, "hold": "share", "validation": 0.0}
MOVIELENS: dict[str, Any] = {
    "data": "movielens-100k", "train_split": "ratings", "test_split": None, "time": "timestamp", "hold": "last", "k": 10,
    "item_split": "items", "item_features": ("genres", "year"),
}  # fmt: skip
FRAPPE: dict[str, Any] = {
    "data": "frappe", "train_split": "validation", "test_split": "test",
    "fields": ("user", "item", "daytime", "weekday", "is_weekend", "homework", "cost", "weather", "country", "city"),
}  # fmt: skip
CLICKS = ("logistic_regression", "fm", "deepfm", "dcn")

PRESETS = {
    "smoke": Preset(
        (*BASELINES, "mf/infonce", "lightgcn/infonce", "sasrec/softmax"), Path("runs/recommendations-smoke"),
        {"epochs": 3, "vector_size": 16, "batch_size": 512}, own={"sasrec": {"epochs": 10, "batch_size": 64}}, seeds=(1, 2),
    ),
    "clicks-smoke": Preset(CLICKS, Path("runs/clicks-smoke"), {"epochs": 3}, seeds=(1, 2)),
    "sequences": Preset(
        ("popularity", "item_cosine", "mf/infonce", "two_tower/infonce", "sasrec/softmax"),
        Path("results/recommendations_sequences"), MOVIELENS, own={"two_tower": {"tied": False}},
    ),
    "clicks": Preset(
        CLICKS, Path("results/recommendations_clicks"), 
        {**FRAPPE, "epochs": 20, "learning_rate": 0.02, "vector_size": 32, "dropout": 0.5},
        own={"logistic_regression": {"vector_size": 1}, "deepfm": {"net_rate": 0.1}, "dcn": {"crosses": 1, "net_rate": 0.1}},
        seeds=(1, 2, 3, 4, 5),
        tune=("learning_rate=0.02,0.05", "l2=0.003,0.01"), select="clicks/auc-dev",
    ),
    "accelerator": Preset(
        (*BASELINES, "ials", "mf/bpr", "mf/infonce", "lightgcn/infonce", "two_tower/infonce"),
        Path("results/recommendations_accelerator"), GOWALLA,
        own={"mf": {"epochs": 60}, "lightgcn": {"epochs": 60, "layers": 3}, "two_tower": {"epochs": 30}},
    ),
    # More negatives in a step make better lists of twenty: nDCG on the validation part grows from .106 to .111 of LightGCN's.
    "cpu": Preset(
        (*BASELINES, "ials", "mf/infonce", "two_tower/infonce", "lightgcn/infonce"), Path("results/recommendations"),
        GOWALLA,
        own={
            "ials": {"unobserved": 0.03},
            "two_tower": {"shared_negatives": 4096, "vector_size": 128, "epochs": 12, "learning_rate": 0.01, "length": 50},
            "lightgcn": {"shared_negatives": 4096, "vector_size": 128, "epochs": 24, "learning_rate": 0.02},
        },
    ),
}  # fmt: skip


def notes(recipes: Mapping[str, Any]) -> list[str]:
    """What the table should be read with."""
    task = list(recipes.values())[-1].task
    if "AUC" in task.columns:
        lines = [
            "AUC: equal scores count half. Rows of the test split that hold a value not met in training have it unknown."
        ]
        if "dcn" in recipes and recipes["dcn"].training.dense.net_rate != 1:
            lines.append(
                "Before its trials, dcn's start, its number of cross layers and its net_rate were chosen among dozens on the dev "
                "part, by one to three seeds; the other contenders have not had such a search."
            )
        return lines
    held = {"share": "a share of each user's items, by a hash", "last": "each user's last item but one"}[task.hold]
    apart = f"set apart for validation: {held}" if task.validation else "all training items are trained on"
    return [
        f"Full ranking of all items that somebody has in training, without those of the user; {apart}. recall@{task.k}: of a "
        "user's test items; nDCG: binary gains; MRR: of the first test item. Means over the users with training items.",
        "few items: users with less than 10 items before the test. coverage: items that stand in somebody's list.",
    ]


EXPERIMENT = Experiment(
    "recommendations", "Recommendations", __doc__, PRESETS, notes=notes,
    hint="Ask a run for recommendations: jaxembed recommend RUN USER -k 10, or --history ITEM ITEM ...",
)  # fmt: skip

if __name__ == "__main__":
    EXPERIMENT.main()
