"""The data that a recommender keeps so that it can be used without its dataset: the ids, and the items of each user."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxembed.data.interactions import Interactions
from jaxembed.naming import UnknownKeyError

_FILE = "interactions.safetensors"


@dataclass(frozen=True, eq=False)
class HistoryInput:
    """Turns lists of item ids into rows of the items, int32 `[n, l]`, with -1 in front of shorter lists.

    known: all items of the users; these are not recommended again. trained: rows of the items that somebody has in
    training, since the rank of any other item would be random.
    """

    known: Interactions
    trained: np.ndarray

    kind: ClassVar[str] = "history"
    column: ClassVar[str] = "items"
    rank: ClassVar[int] = 2

    def blank(self, n: int, length: int = 1) -> np.ndarray:
        """Returns histories without items."""
        return np.full((n, length), -1, np.int32)

    def examples(self, histories: Sequence[Sequence[str | int]] | np.ndarray, first: int = 0) -> dict[str, np.ndarray]:
        """Returns the rows of the items of each history. Raises KeyError, with near matches, for an unknown item."""
        rows = self.blank(len(histories), max([1, *map(len, histories)]))
        for row, history in zip(rows, histories, strict=True):
            if len(history):
                row[-len(history) :] = [self.item_row(item) for item in history]
        return {self.column: rows}

    def user_row(self, key: object) -> int:
        """Returns the row of a user. Raises KeyError, with near matches, for an unknown id."""
        return _row(key, self._users, self.known.users)

    def item_row(self, key: object) -> int:
        """Returns the row of an item. Raises KeyError, with near matches, for an unknown id."""
        return _row(key, self._items, self.known.items)

    @cached_property
    def _users(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.known.users)}

    @cached_property
    def _items(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.known.items)}

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes interactions.safetensors."""
        from safetensors.numpy import save

        from jaxembed.files import write_bytes

        as_bytes = lambda keys: np.frombuffer("\n".join(keys).encode(), np.uint8)
        known = self.known
        tensors = {
            "users": as_bytes(known.users),
            "items": as_bytes(known.items),
            "user": known.user,
            "item": known.item,
            "trained": self.trained,
        }
        if known.time is not None:
            tensors["time"] = known.time
        write_bytes(folder / _FILE, save({name: np.ascontiguousarray(x) for name, x in tensors.items()}))
        return {}

    @classmethod
    def open(cls, folder: Path) -> "HistoryInput":
        """Opens what `save` wrote. Raises FileNotFoundError if it is missing."""
        from safetensors.numpy import load_file

        if not (folder / _FILE).is_file():
            raise FileNotFoundError(
                f"{folder} has no {_FILE}, so that it does not know what users have: train it again, as `jaxembed reproduce "
                "RUN --output FOLDER` does"
            )
        found = load_file(folder / _FILE)
        as_keys = lambda name: tuple(found[name].tobytes().decode().split("\n"))
        known = Interactions(as_keys("users"), as_keys("items"), found["user"], found["item"], found.get("time"))
        return cls(known, found["trained"])


def _row(key: object, rows: Mapping[str, int], keys: Sequence[str]) -> int:
    if str(key) not in rows:
        raise UnknownKeyError(key, keys)
    return rows[str(key)]
