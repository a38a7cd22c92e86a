"""Clicks as a task: rows of categorical fields, and the probability that each is clicked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import jax
import numpy as np

from jaxembed.data.fields import Fields, FieldsInput, held_out, read_fields
from jaxembed.evaluation.top_k import click_figures
from jaxembed.methods.clicks import logits_of_many
from jaxembed.ranges import Range
from jaxembed.tasks.base import DEV, Figures, Read, Task, Trained, measured, parted, refusal, shape_of_vectors
from jaxembed.training.method import Params
from jaxembed.vectors import KeyedVectors

TEST = 0.2  # share of the rows that the method is judged on where there is no split for that
_SHOWN = 2000  # number of values whose geometry is watched


@dataclass(frozen=True)
class Clicks(Task):
    """A table of rows with a label each: clicked or not."""

    # Names of the columns with the fields. Every value in them is treated as a category.
    fields: tuple[str, ...] = ("user", "item", "genre", "weekday", "device")
    label: str = "label"  # Column of the labels: 1 for a click, 0 for none.
    train_split: str = "train"  # Split to train on.
    # Split on which the method is judged; None takes a fifth of the rows of the split to train on, by a hash.
    test_split: str | None = "test"
    # Share of the rows, chosen by a hash, that is not trained on; settings are chosen by the figures on it. 0 sets none apart.
    validation: Annotated[float, Range(least=0, most=0.5)] = 0.1

    unit: ClassVar[str] = "rows"
    columns: ClassVar[Mapping[str, str]] = {"AUC": "clicks/auc", "log-loss": "clicks/log_loss"}
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", "held_out/loss", f"watched/auc{DEV}")
    lower_is_better: ClassVar[tuple[str, ...]] = ("log-loss",)
    select: ClassVar[str] = f"watched/auc{DEV}"

    def read(self) -> Read:
        """Reads both splits, and divides the first into two parts."""
        reading: dict[str, Any] = {"fields": self.fields, "label": self.label, **self.origin}
        whole = read_fields(self.data, split=self.train_split, **reading)
        if self.test_split is None:
            whole, test = held_out(whole, TEST, "test")
            if test is None:
                raise ValueError(
                    f"{self.data} has too few rows to set some apart for the test: name a split with others"
                )
            test = test.among(whole)
        else:
            test = read_fields(self.data, split=self.test_split, like=whole, **reading)
        train, dev = held_out(whole, self.validation)
        inputs = {"fields": FieldsInput(train.fields, train.values)}
        about = train.summary() | {"test": test.summary()}
        return Read(train, len(train), train.fingerprint, about, held_out=dev, dev=dev, inputs=inputs, rest=test,
                    judged_by=test.fingerprint)  # fmt: skip

    def unmeasurable(self) -> dict[str, str]:
        """The AUC cannot be measured if all labels are equal."""
        test = self.found.rest
        why = refusal(lambda: click_figures(np.zeros(len(test)), test.label))
        return dict.fromkeys(self.columns.values(), why) if why else {}

    def probes(self) -> tuple[Any, Any]:
        """Measures the geometry of the vectors of some values. The held-out loss shows the rest."""
        return lambda vectors: shape_of_vectors(vectors[:, :_SHOWN]), lambda vectors: {}

    def examine(self, method: Any, params: Params) -> dict[str, float]:
        """Measures `watched/auc-dev` and `watched/log_loss-dev` on the rows that are set apart, if they hold both labels."""
        if self.found.dev is None:
            return {}
        found, _ = parted(self._judged(method, params, self.found.dev, "watched/"))
        return {f"{name}{DEV}": value for name, value in found.items() if value is not None}

    def product(self, method: Any, params: Params, vectors: np.ndarray) -> KeyedVectors:
        """Returns the vectors of all values, named `field/value`."""
        return KeyedVectors(self.found.train.keys, vectors)

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """Not supported: vectors alone do not determine how likely a click is."""
        raise ValueError("clicks are judged by the method's own logits, not by vectors")

    def figures(self, trained: Trained) -> Figures:
        """Returns `clicks/auc` and `clicks/log_loss` on the test part and, with the suffix `-dev`, on the rows set apart."""
        method, params = trained.learned()
        params, figures = jax.device_put(params), Figures()
        parts: list[tuple[Fields | None, str]] = [(self.found.rest, ""), (self.found.dev, DEV)]
        for part, end in parts:
            if part is not None:
                found = self._judged(method, params, part, "clicks/")
                figures |= {f"{name}{end}": value for name, value in found.items()}
        return figures

    def _judged(self, method: Any, params: Params, part: Fields, prefix: str) -> Figures:
        of = lambda: click_figures(logits_of_many(method, params, part.ids), part.label)
        return measured(("auc", "log_loss"), of, prefix)
