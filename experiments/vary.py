"""What NAME=VALUE,VALUE,... means on an experiment's command line, after --vary and --tune."""

from collections.abc import Callable, Sequence
from typing import Any


def read_axes(vary: Sequence[str], like: Callable[[str], Any], option: str = "--vary") -> dict[str, list[Any]]:
    """`{name: values}` of words such as `window=2,5,10`; `like(name)` is a value of the type that they have.

    Raises ValueError for what is not NAME=VALUE,VALUE, for a name that comes twice, and for a value of the wrong type; what
    `like` raises for a name passes.
    """
    found: dict[str, list[Any]] = {}
    for word in vary:
        name, sign, values = word.partition("=")
        if not (name and sign and all(values.split(","))):
            raise ValueError(f"{option} takes NAME=VALUE,VALUE,..., such as window=2,5,10, not {word!r}")
        if name in found:
            raise ValueError(
                f"{name} stands twice after {option}: give all its values together, {name}=VALUE,VALUE,..."
            )
        found[name] = [_value(name, text, like(name)) for text in values.split(",")]
    return found


def _value(name: str, text: str, like: Any) -> Any:
    """A value as its field has it."""
    if isinstance(like, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{name} is true or false, not {text!r}")
        return text.lower() == "true"
    for kind in (int, float) if isinstance(like, int | float) else ():
        try:
            value = kind(text)
        except ValueError:
            continue
        if isinstance(like, float):
            return float(value)  # 5 and 5.0 are one value
        if isinstance(value, int):
            return value
    if isinstance(like, int | float):
        raise ValueError(f"{name} is {'a whole' if isinstance(like, int) else 'a'} number, not {text!r}")
    return text
