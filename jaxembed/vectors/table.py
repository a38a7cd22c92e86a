"""Keys and their vectors: looked up, added and replaced."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from jaxembed.naming import UnknownKeyError

Key = str | int | np.integer

_TINY = float(np.finfo(np.float32).tiny)
#: Between these, squares of lengths in float32 have neither overflowed nor lost digits.
_SQUARES = 1e-30, 1e38


def lengths(matrix: np.ndarray) -> np.ndarray:
    """The length of each row [n] of `matrix` [n, d]; a row of zeros counts as of the least positive length."""
    squares = np.einsum("ij,ij->i", matrix, matrix)
    found = np.sqrt(squares)
    odd = ~((squares > _SQUARES[0]) & (squares < _SQUARES[1]))
    if odd.any():
        found[odd] = np.minimum(np.linalg.norm(matrix[odd].astype(np.float64), axis=1), np.finfo(np.float32).max)
    return np.maximum(found, np.float32(_TINY))


def unit(vector: np.ndarray) -> np.ndarray:
    """A vector [d] scaled to length 1; one of zeros stays as it is."""
    return vector / lengths(vector[None])[0]


class Table:
    """Keys [n], the most frequent first if they are words, and their vectors [n, d] (float32).

    `counts` [n] says how often each key occurs. As in gensim, `vector_size` alone, d, makes a table without keys, to
    which vectors are added (`count` is taken, too, but room need not be reserved). Raises ValueError for keys that are
    no strings or come twice, and where the numbers of keys, vectors and counts differ.
    """

    @overload
    def __init__(self, keys: Sequence[str], vectors: ArrayLike, counts: ArrayLike | None = None) -> None: ...
    @overload
    def __init__(self, keys: int, vectors: int = 0) -> None: ...
    @overload
    def __init__(self, *, vector_size: int, count: int = 0) -> None: ...
    def __init__(
        self,
        keys: Sequence[str] | int | None = None,
        vectors: ArrayLike | None = None,
        counts: ArrayLike | None = None,
        *,
        vector_size: int | None = None,
        count: int = 0,
    ) -> None:
        if keys is None or isinstance(keys, int | np.integer):  # gensim's: the dimension and how many are expected
            size = int(keys if vector_size is None and keys is not None else vector_size or 0)
            if size < 1:
                raise ValueError(f"vector_size must be at least 1, not {size}; or give keys and their vectors")
            keys, vectors = (), np.zeros((0, size), np.float32)
        _check_keys(keys)
        self.index_to_key = list(keys)
        self.key_to_index = {key: row for row, key in enumerate(self.index_to_key)}
        # May have more rows than there are keys: room for those to come.
        self._rows = _matrix(vectors, len(self.index_to_key))
        self.expandos: dict[str, np.ndarray] = {}  # {attribute of keys: its values [n]}
        self.counts = counts

    def __repr__(self) -> str:
        return f"{type(self).__name__}<vector_size={self.vector_size}, {len(self)} keys>"

    def __len__(self) -> int:
        return len(self.index_to_key)

    def __contains__(self, key: object) -> bool:
        return self.has_index_for(key)

    @property
    def vectors(self) -> np.ndarray:
        """The matrix [n, d], which may be changed in place, or assigned: one row for each key, in any dimension."""
        return self._rows if len(self._rows) == len(self) else self._rows[: len(self)]

    @vectors.setter
    def vectors(self, matrix: ArrayLike) -> None:
        self._rows = _matrix(matrix, len(self))

    @property
    def counts(self) -> np.ndarray | None:
        """How often each key occurs (int64 [n]), None if that is not known; may be assigned."""
        return self.expandos.get("count")

    @counts.setter
    def counts(self, counts: ArrayLike | None) -> None:
        if counts is None:
            self.expandos.pop("count", None)
        else:
            self.expandos |= _attributes({"count": counts}, len(self))

    @property
    def vector_size(self) -> int:
        """The dimension d."""
        return self._rows.shape[1]

    @property
    def norms(self) -> np.ndarray:
        """The length of each vector [n] as it is now; a vector of zeros counts as of the least positive length."""
        return lengths(self.vectors)

    def fill_norms(self, force: bool = False) -> None:
        """Does nothing: here no length is kept that a change of `vectors` would leave behind. gensim's code calls it."""

    @property
    def vectors_lockf(self) -> np.ndarray:
        """How freely training moves vectors: 1, all of them. Assigning anything else is a ValueError."""
        return np.ones(1, np.float32)

    @vectors_lockf.setter
    def vectors_lockf(self, factors: ArrayLike) -> None:
        if not np.all(np.asarray(factors) == 1):
            raise ValueError(
                "vectors_lockf can only be 1: training moves all vectors. To hold some of them, put them back after "
                "training: model.wv[keys] = vectors"
            )

    def __getitem__(self, key: Key | Iterable[Key]) -> np.ndarray:
        """The vector of a key [d], or of several [k, d]."""
        if isinstance(key, str | int | np.integer):
            return self.get_vector(key)
        return self.vectors[[self.get_index(one) for one in key]]

    def __setitem__(self, keys: str | Sequence[str], weights: ArrayLike) -> None:
        """Sets the vector of a key [d], or those of several [k, d]; keys that are not there yet are added."""
        self.add_vectors(keys, weights, replace=True)

    def add_vector(self, key: str, vector: ArrayLike) -> int:
        """Adds a key with its vector [d] and returns its row; of a key that is there already the vector stays."""
        self.add_vectors([key], np.asarray(vector)[None])
        return self.key_to_index[key]

    def add_vectors(
        self,
        keys: str | Sequence[str],
        weights: ArrayLike,
        extras: Mapping[str, ArrayLike] | None = None,
        replace: bool = False,
    ) -> None:
        """Adds keys [k] with their vectors `weights` [k, d]; `replace` those of keys that are there already, or keep them.

        `extras={"count": [k]}` says how often the keys occur, and other names set other attributes (see `set_vecattr`).
        Raises ValueError for keys that are no strings or come twice, and for other shapes; TypeError as `set_vecattr` does.
        """
        keys = [keys] if isinstance(keys, str | int | np.integer) else list(keys)
        if not keys:
            return
        _check_keys(keys)
        rows = np.asarray(weights, np.float32)
        rows = rows[None] if rows.ndim == 1 and len(keys) == 1 else rows
        if rows.shape != (len(keys), self.vector_size):
            raise ValueError(
                f"expected a vector of dimension {self.vector_size} for each of the {len(keys)} keys, found the shape "
                f"{rows.shape}"
            )
        given = _attributes(extras or {}, len(keys))
        self._check_types(given)
        new = np.array([key not in self.key_to_index for key in keys])
        written = new | replace
        if not written.any():
            return
        before, after = len(self), len(self) + int(new.sum())
        self._make_room(after)
        for row, key in enumerate((key for key, is_new in zip(keys, new, strict=True) if is_new), before):
            self.key_to_index[key] = row
            self.index_to_key.append(key)
        changed = np.array([self.key_to_index[key] for key in keys])
        self._rows[changed[written]] = rows[written]
        for name in {**self.expandos, **given}:
            known = self.expandos.get(name)
            known = _unset(before, given[name].dtype) if known is None else known
            self.expandos[name] = np.concatenate([known, _unset(after - before, known.dtype)])
            if name in given:
                self.expandos[name][changed[written]] = given[name][written]

    def _make_room(self, count: int) -> None:
        """Makes `_rows` the table's own, to be written to, with `count` rows or more."""
        if count > len(self._rows) or not self._rows.flags.writeable:
            # Twice as much each time, so that adding one by one costs no more than adding all at once.
            room = max(count, 2 * len(self)) if count > len(self._rows) else len(self._rows)
            grown = np.empty((room, self.vector_size), np.float32)
            grown[: len(self)] = self.vectors
            self._rows = grown

    def get_index(self, key: object, default: int | None = None) -> int:
        """The row of a key (or of a row number itself); `default`, or else KeyError with near matches, if unknown."""
        if isinstance(key, str) and (row := self.key_to_index.get(key)) is not None:
            return row
        if isinstance(key, int | np.integer) and 0 <= int(key) < len(self):
            return int(key)
        if default is not None:
            return default
        raise UnknownKeyError(key, self.index_to_key)

    def has_index_for(self, key: object) -> bool:
        """Whether the key is there."""
        return self.get_index(key, -1) >= 0

    def get_vector(self, key: Key, norm: bool = False) -> np.ndarray:
        """The vector of a key [d], read-only; of length 1 with `norm`."""
        vector = self.vectors[self.get_index(key)]
        vector = unit(vector) if norm else vector
        vector.setflags(write=False)
        return vector

    def get_normed_vectors(self) -> np.ndarray:
        """All vectors, scaled to length 1: a new matrix [n, d]."""
        return self.vectors / self.norms[:, None]

    def unit_normalize_all(self) -> None:
        """Scales all vectors to length 1, in place of what they were."""
        self.vectors = self.get_normed_vectors()

    def get_vecattr(self, key: Key, attr: str) -> Any:
        """An attribute of a key: "count" (how often it occurs), or what `set_vecattr` set; KeyError for other names."""
        if attr not in self.expandos:
            raise KeyError(f"{attr!r} is not known of these keys")
        return self.expandos[attr][self.get_index(key)]

    def set_vecattr(self, key: Key, attr: str, val: Any) -> None:
        """Sets an attribute of a key, which `save` keeps. Keys for which it was never set have 0, or None if it is no number.

        The first value of an attribute decides its type; TypeError for a value that this type cannot hold.
        """
        row, given = self.get_index(key), _attributes({attr: [val]}, 1)
        self._check_types(given)
        if attr not in self.expandos:
            self.expandos[attr] = _unset(len(self), given[attr].dtype)
        self.expandos[attr][row] = given[attr][0]

    def _check_types(self, given: Mapping[str, np.ndarray]) -> None:
        for name in given.keys() & self.expandos.keys():
            kind, known = given[name].dtype, self.expandos[name].dtype
            if not np.can_cast(kind, known, "same_kind"):
                raise TypeError(f"the attribute {name!r} holds {known}, which cannot hold {kind}")


def _attributes(given: Mapping[str, ArrayLike], keys: int) -> dict[str, np.ndarray]:
    """Attributes of keys as arrays [keys]: int64 for "count", else of the numbers' type, or of `object` for other things."""
    found = {name: _whole(values) if name == "count" else _values(values) for name, values in given.items()}
    for name, values in found.items():
        if values.shape != (keys,):
            raise ValueError(f"expected {keys} values of the attribute {name!r}, found the shape {values.shape}")
    return found


def _whole(counts: ArrayLike) -> np.ndarray:
    numbers = np.asarray(counts)
    found = numbers.astype(np.int64)
    if (found != numbers).any():
        raise TypeError(f"counts are whole numbers, found {numbers[found != numbers][0]}")
    return found


def _values(given: Any) -> np.ndarray:
    if isinstance(given, np.ndarray) and given.dtype.kind in "biuf":
        return given.copy()
    items = list(given)
    if items and all(isinstance(item, Real | np.bool_) for item in items):
        return np.array(items)
    found = np.empty(len(items), object)
    for place, item in enumerate(items):  # one by one: NumPy would look into lists and arrays
        found[place] = item
    return found


def _unset(count: int, kind: np.dtype) -> np.ndarray:
    """The values of an attribute for keys that it was never set for."""
    return np.full(count, None, object) if kind.kind == "O" else np.zeros(count, kind)


def _check_keys(keys: Sequence[Any]) -> None:
    wrong = next((key for key in keys if not isinstance(key, str)), None)
    if wrong is not None:
        raise ValueError(f"keys are strings, found {wrong!r} of type {type(wrong).__name__}")
    if len(set(keys)) != len(keys):
        rows: dict[str, int] = {}
        row, key = next((row, key) for row, key in enumerate(keys) if rows.setdefault(key, row) != row)
        raise ValueError(f"the key {key!r} comes twice, in rows {rows[key]} and {row}; keep one")


def _matrix(vectors: ArrayLike | None, count: int) -> np.ndarray:
    """`vectors` as a matrix of `count` rows in float32 that may be written to, unless it is a file that is mapped."""
    matrix = np.asarray(vectors, np.float32) if vectors is not None else np.zeros(0, np.float32)
    if matrix.ndim != 2 or len(matrix) != count:
        raise ValueError(f"expected a matrix with a row for each of the {count} keys, found the shape {matrix.shape}")
    return matrix if matrix.flags.writeable or isinstance(vectors, np.memmap) else matrix.copy()
