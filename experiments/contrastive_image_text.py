"""CLIP or SigLIP? Images and their texts in one space, judged by retrieval both ways, over seeds.

    python -m experiments.contrastive_image_text --preset smoke --results runs/image-text-smoke   # needs JAXEMBED_DATA
    python -m experiments.contrastive_image_text                                                  # cpu: about an hour, 2 cores
    python -m experiments.contrastive_image_text --preset sweep   # objectives x batches, 20 minutes
    python -m experiments.contrastive_image_text --preset gpu --results results/contrastive_image_text_gpu
    python -m experiments.contrastive_image_text --data jxie/flickr8k --text caption_0 --size 64 64 --patch 8

Trains two towers, a ViT and a Transformer, with each objective; beside them stand the towers untrained and a random
ranking. Products whose names recur count as right for each other, and are no negatives of each other in training.
In `cpu` each objective is tried at three learning rates. The best by recall@10 from images to texts on a tenth of the training
pictures, which nothing is trained on, is trained with five seeds. In the other presets nothing is chosen.
Expect of `cpu` a recall@10 of .46 to .50 by CLIP and .41 to .44 by SigLIP among 1,531 pairs, where a random ranking has .007.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment, Preset, set_apart
from jaxembed.recipes import RECIPES

PAIRS = ("untrained", "clip/infonce", "siglip/negative_sampling")
NARROW = {f"{tower}_encoder.{name}": value for tower in ("image", "text")
          for name, value in {"hidden_size": 32, "depth": 1, "heads": 2}.items()}  # fmt: skip

PRESETS = {
    "smoke": Preset(
        PAIRS[:2], Path("runs/image-text-smoke"),
        {**NARROW, "max_images": 512, "vocab_size": 1000, "epochs": 1, "batch_size": 64}, seeds=(1, 2),
    ),
    "sweep": Preset(  # recorded when no part was set apart yet, and places of positions decayed too
        (*PAIRS, "clip/dcl"), Path("results/contrastive_image_text_sweep"),
        {"epochs": 3, "validation": 0.0, "decay_places": True}, vary=("batch_size=64,256",),
    ),
    "gpu": Preset(
        PAIRS, Path("results/contrastive_image_text_gpu"),
        {"size": (80, 60), "patch": 10, "image_encoder.hidden_size": 256, "text_encoder.hidden_size": 256,
         "image_encoder.depth": 6, "text_encoder.depth": 4, "epochs": 60, "batch_size": 1024},
    ),
    "cpu": Preset(
        PAIRS, Path("results/contrastive_image_text"), seeds=(1, 2, 3, 4, 5),
        tune=("learning_rate=0.001,0.002,0.004",), select="retrieval/image_to_text/recall@10-dev",
    ),
}  # fmt: skip


def notes(recipes: Mapping[str, Any]) -> list[str]:
    """What the table should be read with."""
    *_, one = recipes.values()
    image, text, task = one.method.image_encoder, one.method.text_encoder, one.task
    return [
        f"Pictures of {' x '.join(map(str, task.size))}; ViT of {image['depth']} layers, {image['hidden_size']} wide; "
        f"Transformer of {text['depth']}; text: {task.text}; {one.training.epochs} passes, batch {one.method.batch_size}.",
        "R@k: share of queries with a right item among the first k of all test pairs; an item with the same text, but for "
        "case, is right. Ties count against. random: the expectation of a random ranking, in closed form.",
        "clip excludes pairs of the same text from the negatives; siglip takes them as positives.",
        set_apart(task.validation, "pictures"),
    ]


EXPERIMENT = Experiment(
    "contrastive_image_text", "Images and texts in one space", __doc__, PRESETS,
    {"untrained": RECIPES["untrained_towers"]}, notes=notes,
    hint="Retrieval as pictures: RUN/retrieval-text-to-image.png, RUN/retrieval-images.png; and in TensorBoard",
)  # fmt: skip

if __name__ == "__main__":
    EXPERIMENT.main()
