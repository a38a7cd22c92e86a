"""`jaxembed train`: the methods with encoders as commands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class _Encoders:
    """How an encoder is trained, and where it is written."""

    epochs: int = 10  # Passes over the data.
    batch_size: int = 256  # Examples in a step.
    learning_rate: float = 1e-3  # Step after a warm-up of a tenth of all steps; it falls to 0 along a cosine.
    weight_decay: float = 0.05  # Of AdamW.
    hidden_size: int = 128  # Width of the encoders, and dimension of the vectors.
    depth: int = 3  # Layers.
    heads: int = 4  # Of attention.
    seeds: tuple[int, ...] = (1,)  # Seeds, all trained at once: 1 2 3.
    output: Path | None = None  # Folder of the runs, one folder a seed; default: runs/METHOD.
    overwrite: bool = False  # Train runs anew that are finished already.
    checkpoint_seconds: float = 60  # Time between checkpoints, from which the same command goes on after it was killed.
    mesh: tuple[int, int] | None = None  # Devices for data and for columns of tables. Default: one device.
    deterministic: bool = False  # Ask a GPU for the same bits each time, at a cost; a CPU always gives them.
    profile: bool = False  # Write a trace of some steps for TensorBoard's profiler (pip install jaxembed[profile]).


@dataclass(frozen=True)
class _Images(_Encoders):
    """What the methods of images share."""

    data: str = (
        "fashion-mnist-small"  # A dataset with images: shipped, under JAXEMBED_DATA, or on the Hugging Face hub.
    )
    config: str | None = None  # Configuration of the dataset.
    revision: str | None = None  # Commit or tag of a dataset on the hub.
    train_split: str = "train"  # What is trained on.
    test_split: str = "test"  # What the vectors are judged on.
    column: str = "image"  # Column of the images.
    label: str | None = "label"  # Column of their classes, by which vectors are judged; None: there is none.
    size: int | None = None  # Side that images of several sizes are brought to.
    max_images: int = 0  # Only so many of the training images; 0 takes all.
    patch: int = 7  # Side of the ViT's patches.
    crop: float = 0.3  # Least share of the area that a view is cut from.


@dataclass(frozen=True)
class SimCLR(_Images):
    """SimCLR: a view of an image finds the other among all of the batch.

    Writes a folder a seed with the vectors, the encoder, settings, metrics, pictures and TensorBoard events; a run that is
    finished already, with the same settings, is kept.

        jaxembed train simclr --data fashion-mnist --epochs 5
        jaxembed train simclr --objective dcl --seeds 1 2 3
        jaxembed train simclr --data uoft-cs/cifar10 --column img --patch 4
    """

    objective: str = "infonce"  # One of infonce, dcl, spectral, align_uniform, triplet, negative_sampling, margin, bpr.
    temperature: float | None = None  # Of infonce, softmax and dcl (default 0.2).
    method: ClassVar[str] = "SimCLR"


@dataclass(frozen=True)
class SupCon(_Images):
    """SupCon: SimCLR in which images of one class belong together.

    Options and output are those of `jaxembed train simclr`.
    """

    method: ClassVar[str] = "SupCon"


@dataclass(frozen=True)
class MoCo(SimCLR):
    """MoCo: negatives are a queue of earlier images, encoded by an averaged encoder.

    Options and output are those of `jaxembed train simclr`.
    """

    method: ClassVar[str] = "MoCo"


@dataclass(frozen=True)
class BYOL(_Images):
    """BYOL: a view predicts the other's vector by an averaged encoder; no negatives.

    Options and output are those of `jaxembed train simclr`.
    """

    method: ClassVar[str] = "BYOL"


@dataclass(frozen=True)
class SimSiam(_Images):
    """SimSiam: a view predicts the other's vector, which takes no gradient.

    Options and output are those of `jaxembed train simclr`.
    """

    method: ClassVar[str] = "SimSiam"


@dataclass(frozen=True)
class VICReg(_Images):
    """VICReg: views agree, dimensions vary and differ; no negatives.

    Options and output are those of `jaxembed train simclr`.
    """

    method: ClassVar[str] = "VICReg"


@dataclass(frozen=True)
class BarlowTwins(_Images):
    """Barlow Twins: the views' cross-correlation is to be the identity.

    Options and output are those of `jaxembed train simclr`.
    """

    method: ClassVar[str] = "BarlowTwins"


@dataclass(frozen=True)
class _Texts(_Encoders):
    """What the methods of texts share."""

    depth: int = 2  # Layers.
    tokenizer: str = "wordpiece"  # wordpiece, bpe or word, trained on the texts, or a tokenizer.json.
    vocab_size: int = 8000  # Of a tokenizer that is trained.
    max_length: int = 32  # Tokens of a text, those at its ends included; longer texts are cut, and counted.


@dataclass(frozen=True)
class SimCSE(_Texts):
    """SimCSE: a sentence finds another of the same meaning among all of the batch.

    A column of lists gives groups that mean the same; a column of texts trains by dropout alone; --pair names two columns.
    Judged on STS-B (--sts "" where it cannot be had). Output is that of `jaxembed train simclr`.

        jaxembed train simcse --data multi30k-captions --column captions
        jaxembed train simcse --data enwik8-small --column text --sts "" --max-rows 2000
        jaxembed train simcse --data sentence-transformers/all-nli --config triplet --pair anchor positive --negative negative
    """

    data: str = "multi30k-captions"  # A dataset of texts.
    config: str | None = None  # Configuration of the dataset.
    revision: str | None = None  # Commit or tag of a dataset on the hub.
    split: str | None = "train"  # What is trained on.
    column: str = "captions"  # Column of texts, or of lists of texts that mean the same.
    pair: tuple[str, str] | None = None  # Two columns whose texts mean the same.
    negative: str | None = None  # Column of texts that mean something else.
    sts: str = "stsb"  # Pairs with people's scores, splits validation and test; "" for none.
    max_rows: int = 0  # Only so many rows; 0 takes all.
    objective: str = "infonce"  # As of simclr.
    temperature: float | None = None  # Of infonce, softmax and dcl (default 0.05).
    method: ClassVar[str] = "SimCSE"


@dataclass(frozen=True)
class CLIP(_Texts):
    """CLIP: an image finds its text among all of the batch, and back.

    Output is that of `jaxembed train simclr`.

        jaxembed train clip --data fashion-products --text name --size 48 36
        jaxembed train clip --data jxie/flickr8k --text caption_0 --size 64 64 --patch 8
    """

    data: str = "fashion-products"  # A dataset of images and texts.
    config: str | None = None  # Configuration of the dataset.
    revision: str | None = None  # Commit or tag of a dataset on the hub.
    train_split: str = "train"  # What is trained on.
    test_split: str = "test"  # What is searched.
    image: str = "image"  # Column of the images.
    text: str = "name"  # Column of the texts, or a template of columns: "{name}, {base_colour}".
    size: tuple[int, int] = (48, 36)  # Height and width that images are brought to.
    max_images: int = 0  # Only so many of the training images; 0 takes all.
    patch: int = 6  # Side of the ViT's patches.
    image_depth: int = 3  # Layers of the ViT.
    method: ClassVar[str] = "CLIP"


@dataclass(frozen=True)
class SigLIP(CLIP):
    """SigLIP: CLIP by a logistic loss of every pair on its own.

    Options and output are those of `jaxembed train clip`.
    """

    method: ClassVar[str] = "SigLIP"


COMMANDS: dict[str, type[_Encoders]] = {
    "simclr": SimCLR, "supcon": SupCon, "moco": MoCo, "byol": BYOL, "simsiam": SimSiam, "vicreg": VICReg,
    "barlow-twins": BarlowTwins, "simcse": SimCSE, "clip": CLIP, "siglip": SigLIP,
}  # fmt: skip


def train(asked: Any) -> None:
    """Trains a run a seed, records them and prints what they came to."""
    from jaxembed.study.plan import Planned, Variant
    from jaxembed.study.train import Options, train_group
    from jaxembed.terminal import show_summaries
    from jaxembed.training.dense import Dense
    from jaxembed.training.processes import is_first
    from jaxembed.training.settings import Training

    build: Callable[[Any], tuple[Any, Any]] = next(
        build for kind, build in _BUILDERS.items() if issubclass(type(asked), kind)
    )
    method, task = build(asked)
    dense = Dense(optimizer="adamw", weight_decay=asked.weight_decay, schedule="cosine", warmup=0.1)
    training = Training(asked.epochs, asked.learning_rate, dense=dense)
    cut = task.about().get("truncated", 0)
    print(
        f"{asked.data}: {task.examples:,} {task.unit}"
        + (f", {cut:,} texts cut to {asked.max_length} tokens" if cut else "")
    )
    name = type(asked).method.lower()
    output = asked.output or Path("runs") / name
    options = Options.of(asked)
    plans = [
        Planned(output / f"seed-{seed}", Variant(name, method, training), seed, asked.data) for seed in asked.seeds
    ]
    runs = train_group(plans, task, options, description=name)
    if is_first():
        show_summaries(runs)
        print(f"TensorBoard: tensorboard --logdir {output}")


def _given(asked: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(asked, name) for name in names}


def _objective(asked: Any, temperature: float) -> Any:
    from jaxembed.methods.dense import named_objective

    made = named_objective(asked.objective, asked.temperature or temperature)
    if asked.temperature is not None and not hasattr(made, "temperature"):
        raise ValueError(f"the objective {asked.objective} has no temperature: leave --temperature out")
    return made


def _of_images(asked: Any) -> tuple[Any, Any]:
    from jaxembed.encoders.functional import encoder
    from jaxembed.methods import images
    from jaxembed.sampling.augmentation import Augmentation
    from jaxembed.tasks.images import ImageTask

    shape = _given(asked, ("hidden_size", "depth", "heads", "patch"))
    how: dict[str, Any] = {"objective": _objective(asked, 0.2)} if isinstance(asked, SimCLR) else {}
    method = getattr(images, type(asked).method)(
        encoder=encoder("vit", **shape),
        augmentation=Augmentation(crop=(asked.crop, 1.0)),
        batch_size=asked.batch_size,
        **how,
    )
    reading = _given(
        asked, ("train_split", "test_split", "config", "revision", "column", "label", "size", "max_images")
    )
    return method, ImageTask.read(asked.data, **reading)


def _text_encoder(asked: Any) -> Any:
    from jaxembed.encoders.functional import encoder

    shape = _given(asked, ("vocab_size", "hidden_size", "depth", "heads", "max_length"))
    return encoder("transformer", **shape, segments=0, norm="pre")


def _of_sentences(asked: Any) -> tuple[Any, Any]:
    from jaxembed.methods.sentences import SimCSE as Method
    from jaxembed.tasks.sentences import SentenceTask

    method = Method(encoder=_text_encoder(asked), objective=_objective(asked, 0.05), batch_size=asked.batch_size)
    names = (
        "config",
        "revision",
        "split",
        "column",
        "pair",
        "negative",
        "max_rows",
        "tokenizer",
        "vocab_size",
        "max_length",
    )
    splits = ("validation", "test") if asked.sts else ()
    return method, SentenceTask.read(asked.data, sts=asked.sts, splits=splits, **_given(asked, names))


def _of_pairs(asked: Any) -> tuple[Any, Any]:
    from jaxembed.encoders.functional import encoder
    from jaxembed.methods import image_text
    from jaxembed.tasks.image_text import ImageTextTask

    picture = encoder(
        "vit", hidden_size=asked.hidden_size, depth=asked.image_depth, heads=asked.heads, patch=asked.patch
    )
    method = getattr(image_text, type(asked).method)(
        image_encoder=picture, text_encoder=_text_encoder(asked), batch_size=asked.batch_size
    )
    names = ("train_split", "test_split", "config", "revision", "image", "text", "size", "max_images", "tokenizer",
             "vocab_size", "max_length")  # fmt: skip
    return method, ImageTextTask.read(asked.data, channels=3, **_given(asked, names))


_BUILDERS: dict[type, Callable[[Any], tuple[Any, Any]]] = {
    _Images: _of_images, SimCSE: _of_sentences, CLIP: _of_pairs,
}  # fmt: skip
