"""Names that people type: each has one spelling, and an unknown one gets an error with near matches."""

import difflib
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any


def spelled(name: str) -> str:
    """The spelling that is registered: `barlow-twins` means `barlow_twins`."""
    return name.replace("-", "_")


def near_matches(word: str, candidates: Iterable[str], n: int = 3) -> list[str]:
    """Up to `n` of `candidates` that `word` may be a slip for, the nearest first; case is overlooked."""
    spelt: dict[str, str] = {}
    for candidate in candidates:
        spelt.setdefault(candidate.lower(), candidate)
    return [spelt[match] for match in difflib.get_close_matches(word.lower(), spelt, n)]


def unknown(kind: str, name: object, known: Iterable[object]) -> ValueError:
    """The error to raise for a `name` that is none of `known`, of which all are listed and a near match is named.

    `unknown objective 'infonse': did you mean 'infonce'? the objectives are infonce, softmax`
    """
    names = [str(one) for one in known]
    near = near_matches(str(name), names, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    several = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}es" if kind.endswith("s") else f"{kind}s"
    return ValueError(f"unknown {kind} {name!r}: {hint}the {several} are {', '.join(names)}")


class UnknownKeyError(KeyError):
    """A key that is not there; its message names near matches, looked for only when it is shown."""

    def __init__(self, key: object, keys: Sequence[str]):
        super().__init__(key)
        self.key, self.keys = str(key), keys

    def __str__(self) -> str:
        # Comparing a word with 400,000 others takes seconds: only those of its length with its beginning or its end.
        word = self.key.lower()
        likely = (key for key in self.keys if abs(len(key) - len(word)) <= 2)
        alike = [key for key in likely if (low := key.lower())[:1] == word[:1] or low[-3:] == word[-3:]]
        near = near_matches(word, alike)
        hint = f": did you mean {' or '.join(map(repr, near))}?" if near else ""
        return f"{self.key!r} is not among the {len(self.keys):,} keys{hint}"


class Places(dict[Any, int]):
    """Keys and their places in a list. `places[key]` of one that is not there raises `UnknownKeyError`; 7 stands for "7"."""

    def __init__(self, keys: Sequence[str]):
        super().__init__(zip(keys, range(len(keys)), strict=True))
        self.names = keys

    def __missing__(self, key: object) -> int:
        if isinstance(key, str):
            raise UnknownKeyError(key, self.names)
        return self[as_key(key)]


def as_key(value: object) -> str:
    """How a value is written where it is a key, as it is in tables: 7 and 7.0 as "7", True as "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    whole = isinstance(value, Real) and float(value).is_integer()
    return str(int(value) if whole else value)  # pyright: ignore[reportArgumentType]


class Renamed:
    """An attribute that older code knows and that is gone: whoever reads, calls or assigns it learns its successor.

    A class declares it as `index2word = Renamed("index_to_key")`. It raises AttributeError.
    """

    def __init__(self, successor: str):
        self.successor, self.name = successor, ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type | None = None) -> "Renamed":
        if instance is None:
            return self
        raise self._error(instance)

    def __set__(self, instance: object, value: object) -> None:
        raise self._error(instance)

    def _error(self, instance: object) -> AttributeError:
        return AttributeError(
            f"{type(instance).__name__} has no {self.name!r}, a name of gensim 3: use {self.successor}"
        )
