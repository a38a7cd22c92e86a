"""The data that a recommender keeps so that it can be used without its dataset: the ids, and the items of each user."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxembed.data.interactions import Interactions
from jaxembed.naming import Places

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
                row[-len(history) :] = [self.items[item] for item in history]
        return {self.column: rows}

    @cached_property
    def users(self) -> Places:
        """Rows of the users by their ids."""
        return Places(self.known.users)

    @cached_property
    def items(self) -> Places:
        """Rows of the items by their ids."""
        return Places(self.known.items)

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
        for name in ("time", "user_features"):
            if getattr(known, name) is not None:
                tensors[name] = getattr(known, name)
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
        known = Interactions(
            as_keys("users"), as_keys("items"), found["user"], found["item"], found.get("time"),
            user_features=found.get("user_features"),
        )  # fmt: skip
        return cls(known, found["trained"])
