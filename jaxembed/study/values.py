"""Settings and figures as JSON values."""

import dataclasses
import enum
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxembed.tracking import json_number


def as_json(value: Any, name: str = "") -> Any:
    """Returns dataclasses, mappings, sequences, paths, enums and numbers as JSON values, in the order of their fields.

    A dataclass inside another value carries its class's name as "class". Numbers that are not finite become the
    strings "NaN", "Infinity" and "-Infinity". Raises TypeError, with the field's name, for anything else.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, enum.Enum):
        return as_json(value.value, name)
    if isinstance(value, os.PathLike):
        return Path(value).as_posix()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = {"class": type(value).__name__} if name else {}
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return kind | {key: as_json(item, f"{name}.{key}".lstrip(".")) for key, item in fields.items()}
    # After the dataclasses, since one of them may have a field called item.
    number: Any = value
    if isinstance(value, int | float | np.generic) or (hasattr(value, "item") and np.ndim(number) == 0):
        return json_number(value)
    if isinstance(value, Mapping):
        return {str(key): as_json(item, f"{name}.{key}".lstrip(".")) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [as_json(item, f"{name}[{place}]") for place, item in enumerate(value)]
    raise TypeError(f"{name!r} is a {type(value).__name__}, which a JSON file cannot hold: {value!r:.80}")
