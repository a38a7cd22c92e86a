"""Which objective makes the best image vectors without labels? Encoder, views and passes held fixed, over seeds.

    python -m experiments.contrastive_images --preset smoke --results runs/images-smoke   # a minute, 2 cores
    python -m experiments.contrastive_images --preset demo --results runs/images          # two minutes; in `make demo`
    python -m experiments.contrastive_images                                              # cpu: about 25 minutes, 2 cores
    python -m experiments.contrastive_images --preset objectives   # ten methods at two learning rates, 45 minutes
    python -m experiments.contrastive_images --preset sweep        # batches x temperatures, a quarter of an hour
    python -m experiments.contrastive_images --preset gpu --results results/contrastive_images_gpu
    python -m experiments.contrastive_images --preset cifar10 --results results/contrastive_images_cifar10   # a GPU

    python -m experiments.contrastive_images --data uoft-cs/cifar10 --image img --patch 4 --color --contenders simclr/infonce byol

Trains an encoder with each method, and writes the study's tables, plots and a folder for each run; beside them stand the
pixels themselves and the encoder untrained. The linear probe and the 200 nearest neighbours see all training images, and
are measured on the test images. Finished runs are kept, and a killed call goes on where it was.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from experiments.settings import main
from experiments.vary import Varied, crossed, varied_note
from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods import images
from jaxembed.methods.dense import named_objective
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.study.plan import Variant
from jaxembed.study.study import Study
from jaxembed.tasks.images import COLUMNS, CURVES, ImageTask
from jaxembed.training.dense import Dense
from jaxembed.training.settings import Training

BASELINES = ("pixels", "untrained")
ALL = (
    *BASELINES, "simclr/infonce", "simclr/dcl", "simclr/spectral", "simclr/align_uniform", "moco/infonce", "vicreg",
    "barlow_twins", "byol", "simsiam", "supcon",
)  # fmt: skip
KINDS = {
    "pixels": images.Pixels, "untrained": images.Untrained, "simclr": images.SimCLR, "supcon": images.SupCon,
    "moco": images.MoCo, "vicreg": images.VICReg, "barlow_twins": images.BarlowTwins, "byol": images.BYOL,
    "simsiam": images.SimSiam,
}  # fmt: skip


@dataclass(frozen=True)
class Settings(Varied):
    """What is compared, on what, and how long.

    preset: where the other settings start from.
    data: a dataset with images, local, shipped or on the hub; image, label: its columns; label none where it has none.
    contenders: METHOD or METHOD/OBJECTIVE. temperature: of the objectives that are named and have one.
    encoder: vit or resnet. hidden_size, depth, heads, patch, features: of the ViT; width, resnet_depth: of the ResNet.
    projection: widths of the head of SimCLR, SupCon and MoCo; the others have heads of their own papers' kind.
    max_images: only so many of the training split, 0 for all.
    """

    preset: Literal["smoke", "demo", "objectives", "sweep", "gpu", "cifar10", "cpu"] = "cpu"
    results: Path = Path("results/contrastive_images")
    data: str = "fashion-mnist"
    train_split: str = "train"
    test_split: str = "test"
    image: str = "image"
    label: str = "label"
    max_images: int = 0
    contenders: tuple[str, ...] = (*BASELINES, "simclr/infonce")
    encoder: Literal["vit", "resnet"] = "vit"
    hidden_size: int = 96
    depth: int = 3
    heads: int = 3
    patch: int = 7
    features: int | None = 384
    width: int = 64
    resnet_depth: int = 18
    dtype: str = "float32"
    projection: tuple[int, ...] = (256, 64)
    temperature: float = 0.2
    crop: float = 0.3
    color: bool = False
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    epochs: int = 8
    seeds: tuple[int, ...] = (1, 2, 3)


_CPU = Settings()
PRESETS = {
    "smoke": replace(
        _CPU, preset="smoke", data="fashion-mnist-small", max_images=512, hidden_size=32, depth=1, heads=2, features=None,
        contenders=(*BASELINES, "simclr/infonce", "byol"), epochs=1, seeds=(1, 2), results=Path("runs/images-smoke"),
    ),
    "demo": replace(
        _CPU, preset="demo", data="fashion-mnist-small", contenders=(*BASELINES, "simclr/infonce", "supcon"), epochs=5,
        seeds=(1, 2), results=Path("runs/images"),
    ),
    "objectives": replace(
        _CPU, preset="objectives", contenders=ALL, max_images=10_000, epochs=4, batch_size=64,
        vary=("learning_rate=0.001,0.003",), results=Path("results/contrastive_images_objectives"),
    ),
    "sweep": replace(
        _CPU, preset="sweep", max_images=10_000, epochs=2, vary=("batch_size=64,256", "temperature=0.1,0.2,0.5"),
        results=Path("results/contrastive_images_sweep"),
    ),
    "gpu": replace(
        _CPU, preset="gpu", hidden_size=192, depth=6, patch=4, projection=(512, 128), batch_size=512, epochs=40,
        dtype="bfloat16", results=Path("results/contrastive_images_gpu"),
    ),
    "cifar10": replace(
        _CPU, preset="cifar10", data="cifar10-jpeg", encoder="resnet", color=True, crop=0.2, projection=(512, 128),
        batch_size=512, epochs=60, dtype="bfloat16", results=Path("results/contrastive_images_cifar10"),
    ),
    "cpu": _CPU,
}  # fmt: skip


def net(settings: Settings) -> Encoder:
    """The encoder that the settings ask for."""
    if settings.encoder == "resnet":
        return encoder("resnet", depth=settings.resnet_depth, width=settings.width, dtype=settings.dtype)
    return encoder(
        "vit", hidden_size=settings.hidden_size, depth=settings.depth, heads=settings.heads, patch=settings.patch,
        features=settings.features, dtype=settings.dtype,
    )  # fmt: skip


def contender(name: str, settings: Settings) -> Variant:
    """The method and the training behind a name."""
    kind, _, objective = name.partition("/")
    if kind not in KINDS:
        raise ValueError(f"unknown contender {name!r}: the methods are {', '.join(KINDS)}, some with /OBJECTIVE")
    augmentation = Augmentation(
        crop=(settings.crop, 1.0), jitter=0.8, grayscale=0.2 if settings.color else 0.0, mean=0.5, std=0.5
    )
    how: dict = {"encoder": net(settings), "augmentation": augmentation, "batch_size": settings.batch_size}
    if kind not in ("simsiam", "byol", "vicreg", "barlow_twins"):
        how["projection"] = settings.projection
    if objective:
        how["objective"] = named_objective(objective, settings.temperature)
    dense = Dense(optimizer="adamw", weight_decay=settings.weight_decay, schedule="cosine", warmup=0.1)
    epochs = 1 if kind in BASELINES else settings.epochs
    training = Training(epochs, settings.learning_rate, reports=20, dense=dense)
    return Variant(name, KINDS[kind](**how), training, {"method": kind, "objective": objective or kind})


def task(settings: Settings) -> ImageTask:
    """The images."""
    return ImageTask.read(
        settings.data, train_split=settings.train_split, test_split=settings.test_split, max_images=settings.max_images,
        column=settings.image, label=settings.label or None,
    )  # fmt: skip


def study(settings: Settings) -> Study:
    """The study that the settings ask for."""
    small = (
        " CIFAR-10 here is its JPEG copy, which costs every model several points."
        if "cifar10-jpeg" in settings.data
        else ""
    )
    return Study(
        name="contrastive_images",
        title=f"Image vectors without labels: {settings.data}",
        folder=settings.results,
        tasks={settings.data: lambda: task(settings)},
        variants=crossed(settings, contender, BASELINES),
        seeds=settings.seeds,
        columns=COLUMNS,
        unranked=("effective rank",),
        curves=CURVES,
        settings={"experiment": "contrastive_images"},
        notes=[
            f"{settings.data}, {settings.encoder}, batch {settings.batch_size}, crops of {settings.crop:g} to 1 of the area, "
            f"flips, brightness and contrast{', colour and grey' if settings.color else ''}; {settings.epochs} passes."
            + small,
            "linear: logistic regression on all training vectors (100 L-BFGS steps), l2 chosen on a tenth of them, accuracy on "
            "the test images; kNN: the 200 nearest training images vote, weighted by exp(cosine / .07). Effective rank: of the "
            "test vectors.",
            "supcon sees the labels; the others do not.",
            *varied_note(settings),
        ],
    )


def show(settings: Settings) -> None:
    """Where the pictures are."""
    print(
        "\nNearest neighbours as pictures (query left; green: same class): RUN/retrieval.png, and in TensorBoard's images"
    )


if __name__ == "__main__":
    main(PRESETS, study, show, __doc__)
