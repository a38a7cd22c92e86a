"""The contract of a kind of data: how the data are read, and how the vectors made from them are judged."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Self

import jax
import numpy as np

from jaxembed.data.inputs import DocumentInput, GraphInput, Input
from jaxembed.evaluation.geometry import geometry
from jaxembed.methods.dense import embed
from jaxembed.pretrained import Parts
from jaxembed.ranges import Checked, Range
from jaxembed.training.method import Params
from jaxembed.vectors import KeyedVectors

_COMPARED, _SAMPLED = (
    16_384,
    4_096,
)  # number of vectors up to which all are compared, and of those that then stand for all
DEV = "-dev"  # suffix of figures of the validation part
Channels = Annotated[int, Range(least=1, most=3)]


@dataclass(frozen=True)
class Unmeasured:
    """A figure that could not be measured, with the reason."""

    reason: str


Figures = dict[str, float | Unmeasured | None]


@dataclass(frozen=True)
class Trained:
    """The outcome of a run: its product, and a function that reads the method and the parameters that it learned."""

    product: KeyedVectors
    learned: Callable[[], tuple[Any, Params]]


@dataclass(frozen=True, eq=False)
class Read:
    """The data of a task, as `Task.read` returns them.

    train: the data that methods train on. held_out: data of the same kind that are never trained on; the loss is
    measured on them.
    dev: examples to choose settings on, where the dataset has no split for that; they are judged and never trained on.
    examples: the number of examples in a pass, in which speeds are counted. drawn: whether methods draw their examples from the
    data, each as many as it likes, so that speeds count those. fingerprint: that of the training data.
    about: entries for environment.json.
    inputs: they turn raw inputs into examples of a method; a run keeps them. judged: the examples whose vectors are the
    product of an encoder, by part: `{"test": {"images": [n, h, w, c]}}`; {} if the product is a table.
    rest: whatever else `judge` needs. judged_by: the fingerprint of the data that vectors are judged by, "" if there
    are none.
    """

    train: Any
    examples: int
    fingerprint: str
    about: Mapping[str, Any]
    held_out: Any = None
    dev: Any = None
    inputs: Mapping[str, Input | GraphInput | DocumentInput] = field(default_factory=dict)
    judged: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    rest: Any = None
    judged_by: str = ""
    drawn: bool = False


@dataclass(frozen=True)
class Task(Checked):
    """A dataset by its name, and the settings by which it is read. The data themselves are read when they are first needed.

    A task defines `read` and `judge`; the defaults of the other methods suit most tasks.
    """

    data: str  # A dataset's name (shipped, under JAXEMBED_DATA, or on the Hugging Face hub), or the path of a file or folder.
    config: str | None = None  # Configuration of the dataset, such as wikitext-103-raw-v1.
    # Commit or tag of a dataset on the hub. If it is given, the hub's dataset is read, even if there is a local one.
    revision: str | None = None

    unit: ClassVar[str] = "examples"  # in which speeds are counted
    shown: ClassVar[str] = ""  # what the vectors in the projector are of; by default the unit
    columns: ClassVar[Mapping[str, str]] = {}  # of a table: `{header: key of a run's summary}`
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", "geometry/effective_rank")  # metrics that reports draw
    unranked: ClassVar[tuple[str, ...]] = ()  # headers of columns in which no value is better than another
    lower_is_better: ClassVar[tuple[str, ...]] = ()  # headers of columns in which a lower value is better
    spread: ClassVar[bool] = True  # whether vectors in a small part of the space are a sign that training has failed
    # the figure, measured after each pass, by which the best pass is chosen; higher is better
    select: ClassVar[str] = ""

    def read(self) -> Read:
        """Reads the data."""
        raise NotImplementedError

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """Returns the final figures by the tags of a summary; `vectors` are those of each judged part, `[n, d]`.

        A figure that cannot be measured is `Unmeasured` or None. If the product is a table, it is the part called "".
        """
        raise NotImplementedError

    def started(self, parts: Parts) -> Self:
        """Returns the task for encoders that start from a checkpoint: with its tokenizer, and pictures of its size."""
        return self

    def unmeasurable(self) -> dict[str, str]:
        """Returns the figures that cannot be measured on these data, whatever the vectors are, with the reasons."""
        return {}

    @cached_property
    def found(self) -> Read:
        """The data, which are read once."""
        return self.read()

    @property
    def origin(self) -> dict[str, Any]:
        """The arguments by which the readers of `jaxembed.data` find the dataset."""
        return {"config": self.config, "revision": self.revision}

    def half(self, figure: str) -> str:
        """Returns "dev" if settings may be chosen by this figure of a summary, and "test" if it only confirms them."""
        return "dev" if figure.endswith(DEV) else "test"

    def settings(self) -> dict[str, Any]:
        """Returns everything in this task that determines a result, and what is needed to read the data again."""
        found = self.found
        return {
            "data": self.data, "data_fingerprint": found.fingerprint, "judged_fingerprint": found.judged_by or None,
            "task": self,
        }  # fmt: skip

    def probes(self) -> tuple[Any, Any]:
        """Returns two functions `vectors [runs, n, d] -> {tag: [runs]}`: one for now and then, one for the end of each pass.

        By default they measure the geometry of the watched examples' vectors, which shows whether these have collapsed.
        """
        return shape_of_vectors, lambda vectors: {}

    def examine(self, method: Any, params: Params) -> dict[str, float]:
        """Returns figures of everything that a run has learned, by tag. It is called after each pass."""
        return {}

    def inputs_of(self, method: Any) -> Mapping[str, Any]:
        """Returns what turns raw inputs into examples of a method, by kind; where there is something, a run keeps the method."""
        return self.found.inputs

    def figures(self, trained: Trained) -> Figures:
        """Like `judge`, but given the whole outcome of a run, for tasks that cannot be judged by vectors alone."""
        return self.judge(self.parts(trained.product))

    def product(self, method: Any, params: Params, vectors: np.ndarray) -> KeyedVectors:
        """Returns the vectors that a run keeps.

        By default they are those of all judged examples, named PART/0, PART/1, ...; `vectors` are those at the end of
        training.
        """
        parts = {part: embed(method, params, examples) for part, examples in self.found.judged.items()}
        return KeyedVectors([f"{part}/{i}" for part, rows in parts.items() for i in range(len(rows))],
                            np.concatenate(list(parts.values())))  # fmt: skip

    def parts(self, product: KeyedVectors) -> dict[str, np.ndarray]:
        """Returns the vectors of a product by part."""
        sizes = {part: len(next(iter(examples.values()))) for part, examples in self.found.judged.items()}
        ends = np.cumsum(list(sizes.values()))[:-1]
        return dict(zip(sizes, np.split(product.vectors, ends), strict=True)) if sizes else {"": product.vectors}

    def pictures(self, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns pictures for people to look at, uint8 `[h, w, 3]` by tag."""
        return {}

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """Returns the part of the product that TensorBoard's projector shows."""
        return product


def shape_of_vectors(vectors: jax.Array) -> dict[str, np.ndarray]:
    """Returns the figures `geometry/...` of each run's vectors `[runs, n, d]`; of many, those of some, spread over all.

    Every vector is compared with every other, which takes longer than training does if there are a hundred thousand.
    """
    n = vectors.shape[1]
    vectors = vectors if n <= _COMPARED else vectors[:, :: -(-n // _SAMPLED)]
    found = [jax.device_get(geometry(one)) for one in vectors]
    return {f"geometry/{name}": np.stack([one[name] for one in found]) for name in found[0]}


GEOMETRY = ("uniformity", "effective_rank", "dimension_std")  # the figures that `geometry` returns


def checked(figures: Mapping[str, Any], prefix: str = "", why: str = "the measure gives no finite number") -> Figures:
    """Returns figures in the form of `judge`: those that are not finite become `Unmeasured` with the reason `why`."""
    return {
        f"{prefix}{name}": float(value) if np.isfinite(value) else Unmeasured(why) for name, value in figures.items()
    }


def measured(
    names: Iterable[str], measure: Callable[[], Mapping[str, Any]], prefix: str = "", **options: str
) -> Figures:
    """Returns `checked(measure())`. If `measure` raises ValueError, its message becomes the reason for all `names`."""
    try:
        return checked(measure(), prefix, **options)
    except ValueError as error:
        return {f"{prefix}{name}": Unmeasured(str(error)) for name in names}


def named_by_text(texts: Iterable[str], vectors: np.ndarray) -> KeyedVectors:
    """Returns vectors of texts by the texts, in which white space is one space; of equal texts, the vector of the first."""
    shown: dict[str, int] = {}
    for row, text in enumerate(texts):
        shown.setdefault(" ".join(text.split()), row)
    return KeyedVectors(list(shown), vectors[list(shown.values())])


def refusal(check: Callable[[], Any]) -> str | None:
    """Returns the message of the ValueError that `check` raises, or None if it raises none."""
    try:
        check()
    except ValueError as error:
        return str(error)
    return None


def parted(figures: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Splits figures into those of a summary, None where one could not be measured, and the reasons for these."""
    reasons = {name: value.reason for name, value in figures.items() if isinstance(value, Unmeasured)}
    return {name: None if name in reasons else value for name, value in figures.items()}, reasons
