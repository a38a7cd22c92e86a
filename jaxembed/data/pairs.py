"""Data that belong together: texts that mean the same, scored pairs of texts, images with their texts."""

import hashlib
import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from string import Formatter
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxembed.data.columns import Opened, digest, open_split, read_values, rows_of
from jaxembed.data.images import Images, read_images
from jaxembed.data.parts import set_apart

if TYPE_CHECKING:
    import datasets


def text_ids(texts: Iterable[str]) -> np.ndarray:
    """Returns a number for each text, int32 [n], by first appearance.

    Texts have the same number if a reader would call them the same: they differ only in case, in white space, or in how
    Unicode composes a letter (NFC or NFD).
    """
    composed = lambda text: unicodedata.normalize("NFC", text)
    return numbered(composed(composed(" ".join(text.split())).casefold()) for text in texts)


def row_ids(rows: np.ndarray) -> np.ndarray:
    """Returns a number for each row of an array [n, ...], int32 [n], by first appearance; rows with equal bytes share it."""
    return numbered(hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=16).digest() for row in rows)


def numbered(keys: Iterable[Hashable]) -> np.ndarray:
    """Returns a number for each key, int32 [n], by first appearance."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in keys], np.int32)


@dataclass(frozen=True, eq=False)
class Sentences:
    """Texts in groups; texts of one group mean the same and are positives of each other.

    texts: [n], group after group. group: int32 [n], ascending from 0. negatives: for each group a text that looks
    similar and means something else, or () if there are none. fingerprint: 32 hexadecimal digits that depend only on
    these. origin: the source of the texts, for the record of a run (JSON-ready).
    """

    texts: tuple[str, ...]
    group: np.ndarray
    negatives: tuple[str, ...]
    fingerprint: str
    origin: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        groups: Iterable[Sequence[str]],
        negatives: Iterable[str] | None = None,
        origin: dict[str, Any] | None = None,
    ) -> "Sentences":
        """Builds groups from lists of texts that mean the same; a list may hold a single text.

        Raises ValueError for an empty group or text, a text that is not a string, if the numbers of negatives and
        groups differ, and if there are no groups.
        """
        groups = [tuple(one) if isinstance(one, Iterable) and not isinstance(one, str) else (one,) for one in groups]
        hard = () if negatives is None else tuple(negatives)
        if not groups:
            raise ValueError("there are no texts")
        if negatives is not None and len(hard) != len(groups):
            raise ValueError(f"expected a negative for each of the {len(groups)} groups, found {len(hard)}")
        for row, one in enumerate(groups):
            parts = one + hard[row : row + 1]
            if not one or not all(isinstance(text, str) and text.strip() for text in parts):
                raise ValueError(f"group {row} holds no text, an empty one, or one that is not a string: {parts!r:.60}")
        texts = tuple(text for one in groups for text in one)
        sizes = [len(one) for one in groups]
        group = np.repeat(np.arange(len(groups), dtype=np.int32), sizes)
        return cls(texts, group, hard, digest(sizes, texts, hard), origin or {})

    @property
    def groups(self) -> int:
        """The number of groups."""
        return int(self.group[-1]) + 1

    @cached_property
    def ids(self) -> np.ndarray:
        """The `text_ids`, int32 [n]."""
        return text_ids(self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def head(self, groups: int) -> "Sentences":
        """Returns the first `groups` groups, or all if that is 0 or too large."""
        if groups < 1 or groups >= self.groups:
            return self
        n = int(np.searchsorted(self.group, groups))
        texts, hard = self.texts[:n], self.negatives[:groups]
        sizes = np.bincount(self.group[:n]).tolist()
        origin = self.origin | {"groups": groups}
        return replace(
            self,
            texts=texts,
            group=self.group[:n],
            negatives=hard,
            fingerprint=digest(sizes, texts, hard),
            origin=origin,
        )

    def summary(self) -> dict[str, Any]:
        """Returns what a run's environment.json records of its data; `single` counts the groups of one text."""
        sizes = np.bincount(self.group)
        counts = {"texts": len(self), "groups": self.groups, "single": int((sizes == 1).sum())}
        counts |= {"distinct": int(self.ids.max()) + 1, "negatives": len(self.negatives)}
        return {**self.origin, **counts, "fingerprint": self.fingerprint}


def read_sentences(
    data: "str | datasets.Dataset",
    *,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    column: str = "text",
    pair: tuple[str, str] | None = None,
    negative: str | None = None,
    max_rows: int = 0,
) -> Sentences:
    """Reads texts and what is known of their meaning; `data` is named as `jaxembed.data.load` takes it, or is a dataset.

    A `column` of lists of texts: a row's texts mean the same. A `column` of texts: each is alone. `pair` names two
    columns instead, whose texts mean the same, and `negative` one whose text means something else than the other(s).
    Missing and blank texts are left out, and so are rows without a text, those that lack one of a pair and those that
    lack their negative; the origin counts the rows.

    Raises ValueError for an unknown column (those there are are named), one that holds no text, and where nothing is left.
    """
    columns = list(pair) if pair is not None else [column]
    named = columns if negative is None else [*columns, negative]
    opened = open_split(data, split, config, revision)
    dataset = rows_of(opened, named, max_rows)
    values = [_texts(dataset, name, opened.title) for name in columns]
    hard = None if negative is None else [_single(row, negative) for row in _texts(dataset, negative, opened.title)]
    rows = list(zip(*values, strict=True))
    kept = [row for row, parts in enumerate(rows) if all(parts) and (hard is None or hard[row])]
    groups = [list(chain.from_iterable(rows[row])) for row in kept]
    negatives = None if hard is None else [hard[row] for row in kept]
    if not groups:
        raise ValueError(f"{opened.title} has no row with text in {' and '.join(named)}")
    origin = opened.record | {"columns": columns, "negative": negative, "rows_left_out": len(rows) - len(kept)}
    return Sentences.build(groups, negatives, origin | ({"max_rows": max_rows} if max_rows else {}))


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """Pairs of texts with human scores of their similarity: a [n], b [n], scores float64 [n]."""

    a: tuple[str, ...]
    b: tuple[str, ...]
    scores: np.ndarray
    fingerprint: str
    origin: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.scores)

    def summary(self) -> dict[str, Any]:
        """Returns what a run's environment.json records of its data."""
        return {**self.origin, "pairs": len(self), "fingerprint": self.fingerprint}


def read_scored_pairs(
    data: "str | datasets.Dataset" = "stsb",
    *,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    pair: tuple[str, str] = ("sentence1", "sentence2"),
    score: str = "score",
) -> ScoredPairs:
    """Reads pairs of texts with scores (STS benchmark, Cer et al. 2017).

    Nothing is left out, since a figure on fewer pairs is another figure: raises ValueError, naming the row, for a missing
    or blank text and a score that is missing or not finite; also for an unknown column and one of another kind.
    """
    opened = open_split(data, split, config, revision)
    dataset = rows_of(opened, [*pair, score])
    kind = dataset.features[score]
    if not str(getattr(kind, "dtype", kind)).startswith(("float", "int", "uint")):
        raise ValueError(f"the column {score!r} of {opened.title} holds {kind}, not numbers")
    scores = np.array(read_values(dataset, score), np.float64)
    if len(wrong := np.flatnonzero(~np.isfinite(scores))):
        raise ValueError(
            f"row {wrong[0]} of {opened.title} has the {score} {scores[wrong[0]]}: drop the row or mend it"
        )
    columns = []
    for name in pair:
        texts = [_single(row, name) for row in _texts(dataset, name, opened.title)]
        if "" in texts:
            raise ValueError(
                f"row {texts.index('')} of {opened.title} has no text in {name!r}: drop the row or mend it"
            )
        columns.append(tuple(texts))
    a, b = columns
    origin = opened.record | {"columns": list(pair), "score": score}
    return ScoredPairs(a, b, scores, digest(scores.tolist(), a, b), origin)


@dataclass(frozen=True, eq=False)
class ImageTexts:
    """Images with one text each.

    texts: [n]. ids: int32 [n], as `text_ids` numbers them, so that any image with the same text counts as right.
    pictures: int32 [n], equal for the same picture; a picture may occur once for each of its captions. named: whether
    pictures were identified by a column instead of their pixels. fingerprint: 32 hexadecimal digits that depend only on
    the images, the texts, and that column.
    """

    images: Images
    texts: tuple[str, ...]
    ids: np.ndarray
    pictures: np.ndarray
    fingerprint: str
    origin: dict[str, Any] = field(default_factory=dict)
    named: bool = False

    @classmethod
    def build(
        cls,
        images: Images,
        texts: Iterable[str],
        origin: dict[str, Any] | None = None,
        names: Iterable[Hashable] | None = None,
    ) -> "ImageTexts":
        """Builds pairs from images and their texts; `names` identify pictures, by default their pixels do.

        Raises ValueError if the numbers differ, and for a text that is blank or missing.
        """
        texts = tuple(texts)
        if len(texts) != len(images):
            raise ValueError(f"expected a text for each of the {len(images)} images, found {len(texts)}")
        for row, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise ValueError(
                    f"image {row} has {'a blank text' if isinstance(text, str) else f'{text!r:.40} for a text'}: leave it out"
                )
        pictures = row_ids(images.images) if names is None else numbered(names)
        if len(pictures) != len(images):
            raise ValueError(f"expected a name for each of the {len(images)} images, found {len(pictures)}")
        content = images.fingerprint if names is None else [images.fingerprint, pictures.tolist()]
        key = digest(content, texts)
        return cls(images, texts, text_ids(texts), pictures, key, origin or images.origin, names is not None)

    def __len__(self) -> int:
        return len(self.texts)

    def head(self, n: int) -> "ImageTexts":
        """Returns the first `n` pairs, or all if that is 0 or too large."""
        if n < 1 or n >= len(self):
            return self
        names = self.pictures[:n].tolist() if self.named else None
        return ImageTexts.build(self.images.head(n), self.texts[:n], self.origin | {"pairs": n}, names)

    def parted(self, share: float) -> tuple["ImageTexts", "ImageTexts | None"]:
        """Returns the pairs to train on, and those of a `share` of the pictures, with all their texts; None for no picture."""
        held = set_apart(int(self.pictures.max()) + 1, share)[1]
        if not len(held):
            return self, None
        apart = np.isin(self.pictures, held)
        part = lambda rows, name: self.take(np.flatnonzero(rows), {"validation": share, "part": name})
        return part(~apart, "train"), part(apart, "dev")

    def take(self, rows: np.ndarray, note: dict[str, Any]) -> "ImageTexts":
        """Returns the pairs at `rows`; `note`, which must identify these rows, is added to the origin and the fingerprint."""
        names = self.pictures[rows].tolist() if self.named else None
        return ImageTexts.build(
            self.images.take(rows, note), [self.texts[row] for row in rows], self.origin | note, names
        )

    def summary(self) -> dict[str, Any]:
        """Returns what a run's environment.json records of its data."""
        sizes = {
            "pairs": len(self),
            "distinct_texts": int(self.ids.max()) + 1,
            "distinct_pictures": int(self.pictures.max()) + 1,
            "shape": list(self.images.images.shape[1:]),
        }
        return {**self.origin, **sizes, "fingerprint": self.fingerprint}


def read_image_texts(
    data: "str | datasets.Dataset",
    *,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    image: str = "image",
    text: str = "name",
    picture: str | None = None,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    max_images: int = 0,
    skip_corrupt: bool = False,
    cache: bool = True,
) -> ImageTexts:
    """Reads images with a text each; `size`, `channels` and the rest are those of `read_images`.

    `text` names a column (of a list of captions the first is taken), or is a template of columns, such as
    "{name}, {base_colour} {article_type}", filled in by `str.format`: a missing value is left blank and white space that
    doubles is closed up. Rows without a text are left out; the origin counts them. `picture` names a column that tells
    pictures apart where one stands in several rows, such as image_id; by default pictures of equal pixels are the same.

    Raises as `read_images` does, and ValueError for an unknown column, one that holds no text, a template that cannot be
    read, and where no row has a text.
    """
    opened = open_split(data, split, config, revision)
    texts = _captions(opened, text, max_images)
    names = None if picture is None else _names(opened, picture, max_images)
    options: dict[str, Any] = {"size": size, "channels": channels, "skip_corrupt": skip_corrupt, "cache": cache}
    where: dict[str, Any] = {"split": split, "config": config, "revision": revision}
    images = read_images(data, **where, column=image, label=None, max_images=max_images, **options)
    skipped = set(images.origin["skipped"])
    texts = [one for row, one in enumerate(texts) if row not in skipped]
    names = names and [one for row, one in enumerate(names) if row not in skipped]
    kept = np.flatnonzero([bool(one) for one in texts])
    if not len(kept):
        raise ValueError(f"no image of {opened.title} has a text in {text!r}")
    origin = images.origin | {"text": text, "without_text": len(texts) - len(kept)}
    origin |= {"picture": picture} if picture else {}
    if len(kept) < len(texts):
        images = images.take(kept, {"rows": digest(kept.tolist())})
    return ImageTexts.build(images, [texts[row] for row in kept], origin, names and [names[row] for row in kept])


def _names(opened: Opened, column: str, most: int) -> list[Hashable]:
    """Returns the value that identifies the picture of each row."""
    values = read_values(rows_of(opened, [column], most), column)
    for row, value in enumerate(values):
        if value is None or not isinstance(value, Hashable):
            raise ValueError(
                f"row {row} of {opened.title} has {value!r:.40} in {column!r}, which identifies no picture"
            )
    return values


def _captions(opened: Opened, text: str, most: int) -> list[str]:
    """Returns a text for each row, "" if there is none; `text` is a column or a template."""
    if "{" not in text:
        return [_single(row[:1], text) for row in _texts(rows_of(opened, [text], most), text, opened.title)]
    try:
        columns = list(dict.fromkeys(name for _, name, _, _ in Formatter().parse(text) if name is not None))
    except ValueError as error:
        raise ValueError(f"the template {text!r} cannot be read ({error}): write {{column}} for a column") from error
    dataset = rows_of(opened, columns, most)
    values = zip(*(read_values(dataset, name) for name in columns), strict=True)
    texts = []
    for row, cells in enumerate(values):
        filled = [_Blank() if _is_blank(cell) else cell for cell in cells]
        try:
            whole = text.format_map(dict(zip(columns, filled, strict=True)))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"the template {text!r} does not fit row {row} of {opened.title}: {error}") from error
        texts.append("" if all(isinstance(cell, _Blank) for cell in filled) else " ".join(whole.split()))
    return texts


class _Blank:
    """A missing value in a template: empty in any format."""

    def __format__(self, spec: str) -> str:
        return ""


def _is_blank(cell: Any) -> bool:
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())  # NaN is not itself


def _texts(dataset: "datasets.Dataset", column: str, title: str) -> list[list[str]]:
    """Returns the stripped texts of each row of a column of texts or of lists of texts, without missing and blank ones."""
    import pyarrow as pa

    kind = dataset.features.arrow_schema.field(column).type
    inner = getattr(kind, "value_type", kind)
    if not (pa.types.is_string(inner) or pa.types.is_large_string(inner)):
        raise ValueError(f"the column {column!r} of {title} holds {kind}, not texts or lists of texts; name another")
    values = read_values(dataset, column)
    rows = ([value] for value in values) if inner is kind else (value or [] for value in values)
    return [[stripped for text in row if text and (stripped := text.strip())] for row in rows]


def _single(row: list[str], column: str) -> str:
    """Returns the single text of a row, "" if there is none."""
    if len(row) > 1:
        raise ValueError(f"the column {column!r} holds lists of texts, expected one text a row")
    return row[0] if row else ""
