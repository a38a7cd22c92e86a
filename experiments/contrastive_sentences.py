"""Which objective makes the best sentence vectors from nothing but captions? Judged on STS-B, over seeds.

    python -m experiments.contrastive_sentences --preset smoke --results runs/sentences-smoke   # needs JAXEMBED_DATA
    python -m experiments.contrastive_sentences                                                 # cpu: about an hour, 2 cores
    python -m experiments.contrastive_sentences --preset sweep   # batches x temperatures, 15 minutes
    python -m experiments.contrastive_sentences --preset gpu --results results/contrastive_sentences_gpu

    python -m experiments.contrastive_sentences --data sentence-transformers/all-nli --config triplet \\
        --pair anchor positive --negative negative

No pretrained weights: captions of the same picture are pairs (multi30k-captions), the tokenizer is trained on them, and
token vectors start from Skip-gram on enwik8-text (`--no-task.start`: from noise). bag is their weighted mean, trained (Wieting et
al. 2016). Its weights start from inverse frequencies in enwik8-text and imdb (Arora et al. 2017). In further columns each word
starts as like those with which it shares groups of three and four letters (`--own`, `--grams`), so that sentences that share
words are alike beyond what the words mean. layers is a Transformer.

What a reader asks for first stands beside them, untrained: TF-IDF, BM25 (for retrieval), the mean of the vectors that encoders
start from, and the same weighted by inverse frequency, which is the encoder of words before training. Expect Spearman's rho of
.74 on the test split by bag/infonce, where TF-IDF has .69.

Settings were chosen by hand by Spearman's rho on STS-B's dev split (`sts/validation`). In `cpu` each contender is tried at three
learning rates, the best by the same figure is trained with five seeds, and only these runs are compared on the test split.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment, Preset
from jaxembed.encoders.functional import encoder
from jaxembed.methods.sentences import BM25
from jaxembed.recipes import RECIPES

BASELINES = ("tf_idf", "bm25", "mean_of_skipgram", "idf_mean_of_skipgram")
ALL = (
    *BASELINES, "bag/infonce", "bag/dcl", "bag/align_uniform", "bag/triplet", "bag_unsupervised/infonce",
    "layers/infonce",
)  # fmt: skip
KINDS = {
    # A query is not encoded as what it finds, so that this is no encoder of texts that could be trained or opened by name.
    "bm25": replace(RECIPES["tf_idf"], method=BM25(encoder=encoder("bag", vocab_size=40_000))),
    "mean_of_skipgram": RECIPES["mean_of_tokens"].with_(own=0),
    "idf_mean_of_skipgram": RECIPES["untrained_sentences"].with_(own=0, hidden_size=256),
    "bag": RECIPES["simcse"],
    "bag_unsupervised": RECIPES["simcse_unsupervised"],
    "layers": RECIPES["simcse"].with_(
        encoder=encoder(
            "transformer", vocab_size=40_000, hidden_size=256, depth=1, heads=4, mlp_size=256, dropout=0.1, max_length=24,
            segments=0, norm="pre",
        ),
        learning_rate=5e-4, epochs=1, own=0,
    ),
}  # fmt: skip

PRESETS = {
    "smoke": Preset(
        ("mean_of_skipgram", "bag/infonce"), Path("runs/sentences-smoke"),
        {
            "max_rows": 512, "hidden_size": 32, "heads": 2, "vocab_size": 2000, "epochs": 1,
            "batch_size": 64, "start.data": "enwik8-small", "max_words": 50_000, "start.epochs": 1, "vector_size": 32, "own": 0,
            "frequencies": (),
        },
        seeds=(1, 2),
    ),
    "sweep": Preset(
        ("mean_of_skipgram", "bag/infonce"), Path("results/contrastive_sentences_sweep"), {"epochs": 2}, seeds=(1, 2, 3, 4, 5),
        vary=("batch_size=64,256,1024", "temperature=0.02,0.05,0.1"),
    ),
    "gpu": Preset(
        ALL, Path("results/contrastive_sentences_gpu"), {"batch_size": 1024, "mlp_size": 1024},
        own={"layers": {"encoder.depth": 4, "epochs": 20}},
    ),
    # Rows of a table take steps ten times as long as the weights of a Transformer.
    "cpu": Preset(
        ALL, Path("results/contrastive_sentences"), seeds=(1, 2, 3, 4, 5),
        tune=("learning_rate=0.0025,0.005,0.01",), own_tune={"layers": ("learning_rate=0.00025,0.0005,0.001",)},
        select="sts/validation",
    ),
}  # fmt: skip


def notes(recipes: Mapping[str, Any]) -> list[str]:
    """What the table should be read with."""
    lengths = [f"{label} {one.training.epochs}" for label, one in recipes.items() if one.method.trained]
    widths = dict.fromkeys(
        str(of.method.encoder["hidden_size"]) for name, of in recipes.items() if name.startswith("bag")
    )
    one = list(recipes.values())[-1]
    start, method = one.task.start, one.method
    return [
        f"bag: the weighted mean of token vectors, {'/'.join(widths)} wide; layers is a Transformer on them; "
        f"batch {method.batch_size}; tokens: {one.task.tokenizer}; token vectors start from "
        f"{f'Skip-gram on {start.data}' if start else 'noise'}. Passes: {'; '.join(lengths)}.",
        "STS-B: Spearman's rho of cosines with people's scores. Settings were chosen on its dev split. STS-B shares sentences "
        "with multi30k-captions (about a tenth of its distinct test sentences): no score was seen, but such sentences were.",
        "R@1: of the test pairs that people find most alike (above four fifths of the scale), the share whose first "
        "sentence finds the second before all other second sentences of the split.",
        "tf_idf: cosines of TF-IDF vectors (scikit-learn's formula) and bm25: BM25's scores, both fitted to STS-B's own dev and "
        "test sentences without scores; words outside the vocabulary and rare ones share dimensions, which changes figures in "
        "the third digit. BM25 is made for retrieval: its STS-B figure is that of its scores over the square root of a query's "
        "length, and its shape means little.",
        "mean_of_skipgram: the mean of the token vectors that the encoders start from; idf_mean_of_skipgram: the same with each "
        "token weighted by its smooth inverse frequency (Arora et al. 2017), where the encoder of words starts. "
        "bag_unsupervised: each caption alone, without a tenth of its tokens each time (Gao et al. 2021), one pass, which has "
        "as many steps as five over groups.",
    ]


EXPERIMENT = Experiment(
    "contrastive_sentences", "Sentence vectors without pretrained weights", __doc__, PRESETS, KINDS, notes=notes
)

if __name__ == "__main__":
    EXPERIMENT.main()
