"""CLIP or SigLIP? Images and their texts in one space, judged by retrieval both ways, over seeds.

    python -m experiments.contrastive_image_text --preset smoke --results runs/image-text-smoke   # needs JAXEMBED_DATA
    python -m experiments.contrastive_image_text                                                  # cpu: about 15 minutes, 2 cores
    python -m experiments.contrastive_image_text --preset sweep   # objectives x batches, 20 minutes
    python -m experiments.contrastive_image_text --preset gpu --results results/contrastive_image_text_gpu

    python -m experiments.contrastive_image_text --data jxie/flickr8k --text caption_0 --size 64 64 --patch 8

Trains two towers, a ViT and a Transformer, with each objective; beside them stand the towers untrained and a random
ranking. Products whose names recur count as right for each other, and are no negatives of each other in training.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from experiments.settings import main
from experiments.vary import Varied, crossed, varied_note
from jaxembed.encoders.functional import encoder
from jaxembed.methods import image_text
from jaxembed.objectives import pairwise
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.study.plan import Variant
from jaxembed.study.study import Study
from jaxembed.tasks.image_text import COLUMNS, CURVES, ImageTextTask
from jaxembed.training.dense import Dense
from jaxembed.training.settings import Training

BASELINES = ("untrained",)
ALL = (*BASELINES, "clip/infonce", "siglip/negative_sampling")


@dataclass(frozen=True)
class Settings(Varied):
    """What is compared, on what, and how long.

    preset: where the other settings start from.
    data: a dataset with images and texts; image, text: its columns; text may be a template of columns, such as
    "{name}, {base_colour}". size: height and width that images are brought to.
    contenders: METHOD/OBJECTIVE. max_images: only so many of the training split, 0 for all.
    temperature: where CLIP's learned temperature starts; SigLIP's starts at .1, as its paper's.
    """

    preset: Literal["smoke", "sweep", "gpu", "cpu"] = "cpu"
    results: Path = Path("results/contrastive_image_text")
    data: str = "fashion-products"
    train_split: str = "train"
    test_split: str = "test"
    image: str = "image"
    text: str = "name"
    size: tuple[int, int] = (48, 36)
    max_images: int = 0
    contenders: tuple[str, ...] = ALL
    tokenizer: str = "wordpiece"
    vocab_size: int = 4000
    max_length: int = 16
    hidden_size: int = 128
    depth: int = 2
    heads: int = 4
    patch: int = 12
    features: int | None = 256
    text_depth: int = 1
    vector_size: int = 128
    temperature: float = 0.07
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    dropout: float = 0.1
    epochs: int = 8
    seeds: tuple[int, ...] = (1, 2, 3)


_CPU = Settings()
PRESETS = {
    "smoke": replace(
        _CPU, preset="smoke", max_images=512, hidden_size=32, depth=1, heads=2, vocab_size=1000, epochs=1,
        seeds=(1, 2), batch_size=64, contenders=("untrained", "clip/infonce"), results=Path("runs/image-text-smoke"),
    ),
    "sweep": replace(
        _CPU, preset="sweep", contenders=(*BASELINES, "clip/infonce", "clip/dcl", "siglip/negative_sampling"), epochs=3,
        vary=("batch_size=64,256",), results=Path("results/contrastive_image_text_sweep"),
    ),
    "gpu": replace(
        _CPU, preset="gpu", size=(80, 60), patch=10, hidden_size=256, depth=6, text_depth=4, epochs=60, batch_size=1024,
        results=Path("results/contrastive_image_text_gpu"),
    ),
    "cpu": _CPU,
}  # fmt: skip
KINDS = {"untrained": image_text.UntrainedTowers, "clip": image_text.CLIP, "siglip": image_text.SigLIP}


def contender(name: str, settings: Settings) -> Variant:
    """The method and the training behind a name."""
    kind, _, objective = name.partition("/")
    if kind not in KINDS:
        raise ValueError(f"unknown contender {name!r}: the methods are {', '.join(KINDS)}, some with /OBJECTIVE")
    how: dict[str, Any] = {"objective": pairwise(objective)} if objective else {}
    if kind == "clip":
        how["scale"] = 1 / settings.temperature
    method = KINDS[kind](
        image_encoder=encoder(
            "vit", hidden_size=settings.hidden_size, depth=settings.depth, heads=settings.heads, patch=settings.patch,
            features=settings.features, dropout=settings.dropout,
        ),
        text_encoder=encoder(
            "transformer", vocab_size=settings.vocab_size, hidden_size=settings.hidden_size, depth=settings.text_depth,
            heads=settings.heads, dropout=settings.dropout, segments=0, norm="pre",
        ),
        vector_size=settings.vector_size,
        augmentation=Augmentation(crop=(0.6, 1.0), flip=0.5, jitter=0.0, grayscale=0.0),
        batch_size=settings.batch_size,
        **how,
    )  # fmt: skip
    dense = Dense(optimizer="adamw", weight_decay=settings.weight_decay, warmup=0.1, clip=1.0, schedule="cosine")
    training = Training(1 if kind == "untrained" else settings.epochs, settings.learning_rate, reports=20, dense=dense)
    return Variant(name, method, training, {"method": kind, "objective": objective or "none"})


def task(settings: Settings) -> ImageTextTask:
    """The pairs."""
    return ImageTextTask.read(
        settings.data, train_split=settings.train_split, test_split=settings.test_split, max_images=settings.max_images,
        image=settings.image, text=settings.text, size=settings.size, channels=3, tokenizer=settings.tokenizer,
        vocab_size=settings.vocab_size, max_length=settings.max_length,
    )  # fmt: skip


def study(settings: Settings) -> Study:
    """The study that the settings ask for."""
    height, width = settings.size
    return Study(
        name="contrastive_image_text",
        title=f"Images and texts in one space: {settings.data}",
        folder=settings.results,
        tasks={settings.data: lambda: task(settings)},
        variants=crossed(settings, contender, BASELINES),
        seeds=settings.seeds,
        columns=COLUMNS,
        unranked=("random R@10",),
        curves=CURVES,
        settings={"experiment": "contrastive_image_text"},
        notes=[
            f"Pictures of {height} x {width}, ViT of {settings.depth} layers, {settings.hidden_size} wide, patches of "
            f"{settings.patch}; Transformer of {settings.text_depth}; text: {settings.text}; {settings.epochs} passes, batch "
            f"{settings.batch_size}.",
            "R@k: share of queries with a right item among the first k of all test pairs; an item with the same text, but for "
            "case, is right. Ties count against. random: the expectation of a random ranking, in closed form.",
            "clip excludes pairs of the same text from the negatives; siglip takes them as positives.",
            *varied_note(settings),
        ],
    )


def show(settings: Settings) -> None:
    """Where the pictures are."""
    print(
        "\nRetrieval as pictures: RUN/retrieval-text-to-image.png, RUN/retrieval-images.png, and in TensorBoard's images"
    )


if __name__ == "__main__":
    main(PRESETS, study, show, __doc__)
