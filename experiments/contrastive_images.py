"""Which objective makes the best image vectors without labels? Encoder, views and passes held fixed, over seeds.

    python -m experiments.contrastive_images --preset smoke --results runs/images-smoke   # a minute, 2 cores
    python -m experiments.contrastive_images --preset demo --results runs/images          # two minutes; in `make demo`
    python -m experiments.contrastive_images                                              # cpu: about 25 minutes, 2 cores
    python -m experiments.contrastive_images --preset objectives   # ten methods, each at its best learning rate; about an hour
    python -m experiments.contrastive_images --preset sweep        # batches x temperatures, a quarter of an hour
    python -m experiments.contrastive_images --preset gpu --results results/contrastive_images_gpu
    python -m experiments.contrastive_images --preset cifar10 --results results/contrastive_images_cifar10   # a GPU

    python -m experiments.contrastive_images --data uoft-cs/cifar10 --column img --patch 4 --grayscale 0.2 --contenders byol

Expect of `cpu`: .88 by the linear probe and .82 by the 200 nearest neighbours for SimCLR, .85 and .79 for the pixels. Probe and
neighbours see all training images, and are measured on the test images. Finished runs are kept, and a killed call goes on.

In `objectives` each method is tried at three learning rates. The best by the linear probe on the validation part, a tenth of the
training images that nothing is trained on, is trained with five seeds, and only these runs are compared on the test images.
In the other presets the learning rate is the same for all methods, and nothing is chosen.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment, Preset, set_apart
from jaxembed.recipes import RECIPES

BASELINES = ("pixels", "untrained")
ALL = (
    *BASELINES, "simclr/infonce", "simclr/dcl", "simclr/spectral", "simclr/align_uniform", "moco/infonce", "vicreg",
    "barlow_twins", "byol", "simsiam", "supcon",
)  # fmt: skip
FASHION = {"data": "fashion-mnist"}
FIVE = (1, 2, 3, 4, 5)  # where a run takes less than ten minutes
RATES = ("learning_rate=0.001,0.003,0.01",)
LOWER = ("learning_rate=0.0003,0.001,0.003",)  # for methods without negatives, which collapse at high rates
FOUND = (
    "found by a part: share of the test images that are among the 10 nearest to a random part of themselves, which has .3 to 1 "
    "of the area and is mirrored half of the time. Views of training are such parts, too."
)
WIDE = {"projection": (512, 128)}
GPU = {"batch_size": 512, "encoder.dtype": "bfloat16"}
WIDE_HEADS: dict[str, Any] = dict.fromkeys(("pixels", "untrained", "simclr", "supcon", "moco"), WIDE)

PRESETS = {
    "smoke": Preset(
        (*BASELINES, "simclr/infonce", "byol"), Path("runs/images-smoke"),
        {"max_images": 512, "hidden_size": 32, "depth": 1, "heads": 2, "features": None, "epochs": 1}, seeds=(1, 2),
    ),
    # So few pictures teach no more about classes than pixels tell; `cpu` has twelve times as many. What SimCLR is trained for
    # shows at once: a part of a picture is near the picture.
    "demo": Preset(
        (*BASELINES, "simclr/infonce"), Path("runs/images"), {"epochs": 3, "batch_size": 64, "k": 20, "crops": True},
    ),
    "objectives": Preset(
        ALL, Path("results/contrastive_images_objectives"),
        {**FASHION, "max_images": 10_000, "epochs": 4, "batch_size": 64},
        seeds=FIVE, tune=RATES, own_tune={"byol": LOWER, "simsiam": LOWER}, select="probe/linear-dev",
    ),
    "sweep": Preset(
        (*BASELINES, "simclr/infonce"), Path("results/contrastive_images_sweep"),
        {**FASHION, "max_images": 10_000, "epochs": 2}, seeds=FIVE, vary=("batch_size=64,256", "temperature=0.1,0.2,0.5"),
    ),
    "gpu": Preset(
        (*BASELINES, "simclr/infonce"), Path("results/contrastive_images_gpu"),
        {**FASHION, **GPU, "hidden_size": 192, "depth": 6, "patch": 4, "epochs": 40}, own=WIDE_HEADS,
    ),
    "cifar10": Preset(
        (*BASELINES, "simclr/infonce"), Path("results/contrastive_images_cifar10"),
        {**GPU, "data": "cifar10-jpeg", "encoder": "resnet", "grayscale": 0.2, "crop": (0.2, 1.0), "epochs": 60}, own=WIDE_HEADS,
    ),
    "cpu": Preset((*BASELINES, "simclr/infonce"), Path("results/contrastive_images"), FASHION, seeds=FIVE),
}  # fmt: skip


def notes(recipes: Mapping[str, Any]) -> list[str]:
    """What the table should be read with."""
    last = list(recipes.values())[-1]
    method, data = last.method, last.task.data
    small = " CIFAR-10 here is its JPEG copy, which costs every model several points." if data == "cifar10-jpeg" else ""
    crop, color = method.augmentation.crop[0], ", colour and grey" if method.augmentation.grayscale else ""
    return [
        f"{data}, {method.encoder.kind}, batch {method.batch_size}, crops of {crop:g} to 1 of the area, flips, brightness "
        f"and contrast{color}; {last.training.epochs} passes.{small}",
        "linear: logistic regression on all training vectors (100 L-BFGS steps), l2 chosen on a tenth of them, accuracy on "
        f"the test images; kNN: the {last.task.k} nearest training images vote, weighted by exp(cosine / .07). Effective rank: "
        "of the test vectors.",
        *([FOUND] if last.task.crops else []),
        *(
            ["supcon sees the labels; the others do not."]
            if any(label.startswith("supcon") for label in recipes)
            else []
        ),
        set_apart(last.task.validation, "images"),
    ]


EXPERIMENT = Experiment(
    "contrastive_images", "Image vectors without labels", __doc__, PRESETS,
    {"untrained": RECIPES["untrained_images"]}, notes=notes,
    hint="Nearest neighbours as pictures (query left; green: same class): RUN/retrieval.png, and in TensorBoard's images",
)  # fmt: skip

if __name__ == "__main__":
    EXPERIMENT.main()
