"""Which objective makes the best sentence vectors from nothing but captions? Judged on STS-B, over seeds.

    python -m experiments.contrastive_sentences --preset smoke --results runs/sentences-smoke   # needs JAXEMBED_DATA
    python -m experiments.contrastive_sentences                                                 # cpu: about 25 minutes, 2 cores
    python -m experiments.contrastive_sentences --preset sweep   # batches x temperatures, 15 minutes
    python -m experiments.contrastive_sentences --preset gpu --results results/contrastive_sentences_gpu

    python -m experiments.contrastive_sentences --data sentence-transformers/all-nli --config triplet \\
        --pair anchor positive --negative negative

No pretrained weights: captions of the same picture are pairs (multi30k-captions), the tokenizer is trained on them, and
token vectors start from Skip-gram on enwik8-text (`--no-start`: from noise). words is their mean, trained (Wieting et al.
2016), transformer has layers above them. Beside these stand the mean of the token vectors and the encoder of words untrained.
What is chosen is chosen on STS-B's dev split; the test split is only measured. Expect .71 (words) and .66 (transformer).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment, Preset
from jaxembed.encoders.functional import encoder
from jaxembed.recipes import RECIPES

BASELINES = ("mean_of_tokens", "untrained")
ALL = (
    *BASELINES, "words/infonce", "words/dcl", "words/align_uniform", "words/triplet", "words_unsupervised/infonce",
    "transformer/infonce",
)  # fmt: skip
KINDS = {
    "untrained": RECIPES["untrained_sentences"],
    "words": RECIPES["simcse"],
    "words_unsupervised": RECIPES["simcse_unsupervised"],
    "transformer": RECIPES["simcse"].with_(
        encoder=encoder(
            "transformer", vocab_size=40_000, hidden_size=256, depth=1, heads=4, mlp_size=256, dropout=0.1, max_length=24,
            segments=0, norm="pre",
        ),
        learning_rate=5e-4, epochs=1,
    ),
}  # fmt: skip

PRESETS = {
    "smoke": Preset(
        ("mean_of_tokens", "words/infonce"), Path("runs/sentences-smoke"),
        {
            "max_rows": 512, "hidden_size": 32, "heads": 2, "vocab_size": 2000, "epochs": 1,
            "batch_size": 64, "start.data": "enwik8-small", "max_words": 50_000, "start.epochs": 1, "vector_size": 32,
        },
        seeds=(1, 2),
    ),
    "sweep": Preset(
        ("mean_of_tokens", "words/infonce"), Path("results/contrastive_sentences_sweep"), {"epochs": 2},
        vary=("batch_size=64,256,1024", "temperature=0.02,0.05,0.1"),
    ),
    "gpu": Preset(
        ALL, Path("results/contrastive_sentences_gpu"), {"batch_size": 1024, "mlp_size": 1024},
        own={"transformer": {"encoder.depth": 4, "epochs": 20}},
    ),
    "cpu": Preset(ALL, Path("results/contrastive_sentences")),
}  # fmt: skip


def notes(recipes: Mapping[str, Any]) -> list[str]:
    """What the table should be read with."""
    lengths = [f"{label}: {one.training.epochs} at {one.training.learning_rate:g}" for label, one in recipes.items()
               if one.method.trained]  # fmt: skip
    one = list(recipes.values())[-1]
    start, method = one.task.start, one.method
    return [
        f"words: the mean of token vectors, {method.encoder['hidden_size']} wide; transformer has layers above them; batch "
        f"{method.batch_size}; tokens: {one.task.tokenizer}; token vectors start from "
        f"{f'Skip-gram on {start.data}' if start else 'noise'}. Passes and learning rates: {'; '.join(lengths)}.",
        "STS-B: Spearman's rho of cosines with people's scores. STS-B shares sentences with multi30k-captions (about a tenth "
        "of its distinct test sentences): no score was seen, but such sentences were.",
        "mean_of_tokens: the mean of the token vectors that the encoders start from. words_unsupervised: each caption "
        "alone, two dropout masks (Gao et al. 2021), one pass, which has as many steps as five over groups.",
    ]


EXPERIMENT = Experiment(
    "contrastive_sentences", "Sentence vectors without pretrained weights", __doc__, PRESETS, KINDS, notes=notes
)

if __name__ == "__main__":
    EXPERIMENT.main()
