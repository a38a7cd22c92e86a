"""Which positions still tell places in texts, and in pictures, that are larger than those of training?

    python -m experiments.positions --preset smoke --results runs/positions-smoke   # a minute, 2 cores; the shipped text
    python -m experiments.positions                    # texts: GPT on enwik8-text, rows of 64 tokens, judged at 128 and 256
    python -m experiments.positions --preset pictures  # ViT on fashion-mnist, 28 pixels wide, judged at 42

Texts: none (a causal model can still tell how much it has seen), learned, sinusoidal, rotary. Vectors of places beyond the 64th
are there, but no row of training has so many tokens. A model to which longer texts are no harder has a lower perplexity in longer
rows, for each token then rests on more of the text. Pictures: none, learned (resized to the larger grid), 2-D sine-cosine, rotary
axial; the probe learns from pictures of 28 x 28 and is judged at both sizes. Five seeds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment, Preset
from jaxembed.recipes import RECIPES

TEXTS = {f"gpt_{one}": RECIPES["gpt"].with_(positions=one) for one in ("none", "learned", "sinusoidal", "rotary")}
PICTURES = {f"vit_{one}": RECIPES["supcon"].with_(positions=one) for one in ("none", "learned", "sincos2d", "rotary")}
SEEDS = (1, 2, 3, 4, 5)

PRESETS = {
    "smoke": Preset(
        ("gpt_none", "gpt_rotary"), Path("runs/positions-smoke"),
        {
            "max_tokens": 40_000, "vocab_size": 1000, "hidden_size": 32, "depth": 1, "length": 16, "encoder.max_length": 32,
            "longer": (32,),
        },
        seeds=(1, 2),
    ),
    "pictures": Preset(
        tuple(PICTURES), Path("results/positions_pictures"),
        {"data": "fashion-mnist", "max_images": 10_000, "larger": 42}, seeds=SEEDS,
    ),
    "accelerator": Preset(
        tuple(TEXTS), Path("results/positions_accelerator"),
        {
            "data": "enwik8-text", "consecutive": True, "length": 256, "encoder.max_length": 1024, "longer": (512, 1024),
            "hidden_size": 512, "depth": 8, "heads": 8, "epochs": 5,
        },
        seeds=SEEDS,
    ),
    "texts": Preset(
        tuple(TEXTS), Path("results/positions_texts"),
        {
            "data": "enwik8-text", "consecutive": True, "max_tokens": 2_000_000, "length": 64, "encoder.max_length": 256,
            "longer": (128, 256), "hidden_size": 128, "depth": 2, "epochs": 2,
        },
        seeds=SEEDS,
    ),
}  # fmt: skip


SMALL = "What two cores can train in minutes is small; --preset accelerator trains larger models of texts."


def notes(recipes: Mapping[str, Any]) -> list[str]:
    """What the table should be read with."""
    first = next(iter(recipes.values()))
    if hasattr(first.task, "longer"):
        rows = " and ".join(map(str, first.task.longer))
        return [
            f"perplexity: in rows of {first.method.length} tokens, as in training; at {rows}: in rows of so many tokens.",
            SMALL,
        ]
    return [
        f"larger: the probe of pictures at their own size is judged on test pictures resized to {first.task.larger}.",
        SMALL,
    ]


EXPERIMENT = Experiment(
    "positions", "Positions beyond those of training", __doc__, PRESETS, {**TEXTS, **PICTURES}, notes=notes
)

if __name__ == "__main__":
    EXPERIMENT.main()
