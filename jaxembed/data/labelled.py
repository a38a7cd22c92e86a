"""Texts with classes, in the three parts that a classifier is trained, chosen and judged on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jaxembed.data.columns import digest, open_split, read_labels, read_values, rows_of
from jaxembed.data.hub import has_part, splits_of
from jaxembed.data.parts import set_apart

TRAIN, DEV, TEST = "train", "validation", "test"


@dataclass(frozen=True, eq=False)
class LabelledTexts:
    """Texts and their classes: texts [n], labels int32 [n], and the names of the classes.

    fingerprint: 32 hexadecimal digits that depend only on these. origin: their source, for the record of a run (JSON-ready).
    """

    texts: tuple[str, ...]
    labels: np.ndarray
    names: tuple[str, ...]
    fingerprint: str
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray, part: str) -> "LabelledTexts":
        """Some rows, set apart as a part."""
        texts, labels = tuple(self.texts[i] for i in rows), self.labels[rows]
        origin = {**self.origin, "part": part}
        return replace(self, texts=texts, labels=labels, fingerprint=digest(labels.tolist(), texts), origin=origin)

    def summary(self) -> dict[str, Any]:
        """Returns what a run's environment.json records of its data."""
        return {**self.origin, "texts": len(self), "classes": len(self.names), "fingerprint": self.fingerprint}


def read_labelled(
    data: str,
    split: str | None = None,
    column: str | None = None,
    label: str = "label",
    names: Sequence[str] | None = None,
    config: str | None = None,
    revision: str | None = None,
) -> LabelledTexts:
    """Reads a split of texts with classes; `names` numbers the classes as those of another split.

    column: of the texts; None takes "text", or else "sentence"; several, joined by +, are read one after the other. Rows without
    a text, and with a class below 0, which stands for none, are left out and counted. Raises ValueError for an unknown column,
    for a missing class, and where nothing is left.
    """
    opened = open_split(data, split, config, revision)
    if column is None:
        column = "sentence" if set(opened.load().column_names) & {"text", "sentence"} == {"sentence"} else "text"
    columns = column.split("+")
    dataset = rows_of(opened, [*columns, label])
    values = [read_values(dataset, name) for name in columns]
    for name, column_values in zip(columns, values, strict=True):
        if wrong := [i for i, value in enumerate(column_values) if value is not None and not isinstance(value, str)]:
            found = column_values[wrong[0]]
            raise ValueError(f"row {wrong[0]} of {opened.title} has no text in the column {name!r}, but {found!r:.40}")
    texts = [" ".join(part.strip() for part in row if part and part.strip()) for row in zip(*values, strict=True)]
    classes = read_values(dataset, label)
    kept = [i for i, text in enumerate(texts) if text.strip() and not (isinstance(classes[i], int) and classes[i] < 0)]
    if not kept:
        raise ValueError(
            f"{opened.title} has no row with a text in {column!r} and a class in {label!r} that is not below 0: name another "
            "split, or '' for one that is to be set apart"
        )
    labels, known = read_labels(dataset.select(kept), label, opened.title, names, hint="name a column of classes")
    found = tuple(texts[i] for i in kept)
    origin = opened.record | {"column": column, "label": label, "rows_left_out": len(texts) - len(kept)}
    return LabelledTexts(found, labels, known, digest(labels.tolist(), found), origin)


def read_labelled_parts(
    data: str,
    column: str | None = None,
    label: str = "label",
    splits: Mapping[str, str] | None = None,
    share: float = 0.1,
    config: str | None = None,
    revision: str | None = None,
) -> dict[str, LabelledTexts]:
    """Reads the parts "train", "validation" and "test", which are splits of those names, or those that `splits` has for them.

    Where the dataset has no split for one of the others, a `share` of the training part is set apart for it, spread evenly, the
    same rows in every run.
    """
    where = {"column": column, "label": label, "config": config, "revision": revision}
    called = {TRAIN: TRAIN, DEV: DEV, TEST: TEST} | dict(splits or {})
    there = splits_of(data, config, revision)
    first = called[TRAIN] if called[TRAIN] in there or len(there) > 1 else None  # a single split, whatever it is called
    parts = {TRAIN: read_labelled(data, first, **where)}
    names = parts[TRAIN].names
    if len(names) < 2:
        raise ValueError(f"all texts of {data} have one class, {', '.join(names)}: a classifier needs two or more")
    for part in (TEST, DEV):
        if has_part(data, called[part], part, there):
            parts[part] = read_labelled(data, called[part], names=names, **where)
        else:
            train, apart = set_apart(len(parts[TRAIN]), share)
            if not len(apart):
                n = len(parts[TRAIN])
                raise ValueError(f"{data} has {n} texts with classes: a share of {share} of these is none to set apart")
            parts |= {part: parts[TRAIN].take(apart, part), TRAIN: parts[TRAIN].take(train, TRAIN)}
    return parts
