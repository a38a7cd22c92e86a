"""The contract of a kind of data: how it is read, and how vectors made from it are judged."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar

import jax
import numpy as np

from jaxembed.data.inputs import Input
from jaxembed.evaluation.geometry import geometry
from jaxembed.methods.dense import embed
from jaxembed.ranges import Checked, Range
from jaxembed.training.method import Params
from jaxembed.vectors import KeyedVectors

DEV = "-dev"  # what figures of the validation part end in
Channels = Annotated[int, Range(least=1, most=3)]


@dataclass(frozen=True)
class Unmeasured:
    """Stands in the place of a figure that could not be measured, with the reason."""

    reason: str


Figures = dict[str, float | Unmeasured | None]


@dataclass(frozen=True, eq=False)
class Read:
    """What a task has read.

    train: what methods train on; held_out: the same, on which the loss is measured and which is never trained.
    dev: what settings are chosen on, where the data have no split for it: examples that are judged and never trained.
    examples: of a pass, which speeds are counted in. fingerprint: of what is trained on. about: for environment.json.
    inputs: what turns raw things into examples of a method, which a run keeps. judged: examples by the names of their parts,
    whose vectors are the product of an encoder: `{"test": {"images": [n, h, w, c]}}`; {} where the product is a table.
    rest: whatever else `judge` needs. judged_by: fingerprint of what the vectors are judged by, "" where they are not.
    """

    train: Any
    examples: int
    fingerprint: str
    about: Mapping[str, Any]
    held_out: Any = None
    dev: Any = None
    inputs: Mapping[str, Input] = field(default_factory=dict)
    judged: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    rest: Any = None
    judged_by: str = ""


@dataclass(frozen=True)
class Task(Checked):
    """Data by name and how they are read, as settings alone; the data themselves are read when they are first needed.

    A task says `read` and `judge`; the rest of this class serves most tasks as it is.
    """

    data: str  # A dataset's name (shipped, under JAXEMBED_DATA, or on the Hugging Face hub), or the path of a file or folder.
    config: str | None = None  # Configuration of the dataset, such as wikitext-103-raw-v1.
    # Commit or tag of a dataset on the hub, which is then read even where the name is known here.
    revision: str | None = None

    unit: ClassVar[str] = "examples"
    columns: ClassVar[Mapping[str, str]] = {}  # of a table: `{header: key of a run's summary}`
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", "geometry/effective_rank")  # metrics that are worth drawing
    unranked: ClassVar[tuple[str, ...]] = ()  # headers of which no value is better
    lower_is_better: ClassVar[tuple[str, ...]] = ()  # headers of which less is better
    sees_params: ClassVar[bool] = (
        False  # whether the figures need the method and what it has learned, not vectors alone
    )

    def read(self) -> Read:
        """Reads the data."""
        raise NotImplementedError

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """The final figures, by the tags of a summary, of the vectors `[n, d]` of each part of what is judged.

        `Unmeasured`, or None, stands for what cannot be measured. Where the product is a table, it is the part called "".
        """
        raise NotImplementedError

    def measure(self, method: Any, params: Params, product: KeyedVectors) -> Figures:
        """The final figures of a run. By default those of its vectors; a task that `sees_params` has all it needs here."""
        return self.judge(self.parts(product))

    def unmeasurable(self) -> dict[str, str]:
        """Figures that these data do not allow, whatever the vectors are, with the reasons: known before training."""
        return {}

    @cached_property
    def found(self) -> Read:
        """What `read` gave, once."""
        return self.read()

    @property
    def origin(self) -> dict[str, Any]:
        """How a dataset is found, as the readers of `jaxembed.data` take it."""
        return {"config": self.config, "revision": self.revision}

    def half(self, figure: str) -> str:
        """ "dev" where settings may be chosen by this figure of a summary, "test" where it only confirms them."""
        return "dev" if figure.endswith(DEV) else "test"

    def settings(self) -> dict[str, Any]:
        """What of this task decides a result, and how to read the data again."""
        found = self.found
        return {
            "data": self.data, "data_fingerprint": found.fingerprint, "judged_fingerprint": found.judged_by or None,
            "task": self,
        }  # fmt: skip

    def probes(self) -> tuple[Any, Any]:
        """What is measured now and then, and after each pass: `vectors [runs, n, d] -> {tag: [runs]}`.

        By default the shape of the watched examples' vectors, by which a collapse shows.
        """
        return shape_of_vectors, lambda vectors: {}

    def product(self, method: Any, params: Params, vectors: np.ndarray) -> KeyedVectors:
        """What a run keeps: `vectors` as training ended with them, or those of what is judged, named PART/0, PART/1, ..."""
        parts = {part: embed(method, params, examples) for part, examples in self.found.judged.items()}
        return KeyedVectors([f"{part}/{i}" for part, rows in parts.items() for i in range(len(rows))],
                            np.concatenate(list(parts.values())))  # fmt: skip

    def parts(self, product: KeyedVectors) -> dict[str, np.ndarray]:
        """A product's vectors by part."""
        sizes = {part: len(next(iter(examples.values()))) for part, examples in self.found.judged.items()}
        ends = np.cumsum(list(sizes.values()))[:-1]
        return dict(zip(sizes, np.split(product.vectors, ends), strict=True)) if sizes else {"": product.vectors}

    def pictures(self, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Pictures worth looking at, uint8 `[h, w, 3]` by tag."""
        return {}

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """What TensorBoard's projector shows of the product."""
        return product


def set_apart(n: int, share: float, most: int = sys.maxsize) -> tuple[np.ndarray, np.ndarray]:
    """Places of the things to train on, and of those to choose settings on: a `share` of `n`, and no more than `most`.

    They are spread evenly, so that data sorted by class lose some of each, and are the same for every run.
    """
    count = min(int(n * share), most)
    dev = np.arange(count) * n // max(count, 1)
    return np.delete(np.arange(n), dev), dev


def with_dev(wanted: int, share: float, most: int = sys.maxsize) -> int:
    """How many things to read so that `wanted` are left when a `share` is set apart; 0 stands for all."""
    return wanted and wanted + min(math.ceil(wanted * share / (1 - share)), most)


def shape_of_vectors(vectors: jax.Array) -> dict[str, np.ndarray]:
    """`geometry/...` of each run's vectors `[runs, n, d]`."""
    found = [jax.device_get(_geometry(one)) for one in vectors]
    return {f"geometry/{name}": np.stack([one[name] for one in found]) for name in found[0]}


_geometry = jax.jit(geometry)

GEOMETRY = ("uniformity", "effective_rank", "dimension_std")  # what `geometry` measures


def checked(figures: Mapping[str, Any], prefix: str = "", why: str = "the measure gives no finite number") -> Figures:
    """Figures as `judge` returns them; where one is not finite, `why` is the reason."""
    return {
        f"{prefix}{name}": float(value) if np.isfinite(value) else Unmeasured(why) for name, value in figures.items()
    }


def measured(
    names: Iterable[str], measure: Callable[[], Mapping[str, Any]], prefix: str = "", **options: str
) -> Figures:
    """`checked` of what `measure` returns; where it raises ValueError, its message is the reason for all `names`."""
    try:
        return checked(measure(), prefix, **options)
    except ValueError as error:
        return {f"{prefix}{name}": Unmeasured(str(error)) for name in names}


def refusal(check: Callable[[], Any]) -> str | None:
    """The message of the ValueError that `check` raises; None where it raises none."""
    try:
        check()
    except ValueError as error:
        return str(error)
    return None


def parted(figures: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Figures as a summary has them, None for those that could not be measured, and the reasons for these."""
    reasons = {name: value.reason for name, value in figures.items() if isinstance(value, Unmeasured)}
    return {name: None if name in reasons else value for name, value in figures.items()}, reasons
