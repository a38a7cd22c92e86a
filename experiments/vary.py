"""What `--vary NAME=VALUE,VALUE,...` means on an experiment's command line."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from experiments.settings import Common
from jaxembed.objectives import pairwise
from jaxembed.study.plan import Variant


def read_axes(vary: Sequence[str], start: Callable[[str], Any]) -> dict[str, list[Any]]:
    """`{name: values}` of words such as `window=2,5,10`; `start(name)` is a value of the type that they have.

    Raises ValueError for what is not NAME=VALUE,VALUE, for a name that comes twice, and for a value of the wrong type; what
    `start` raises for a name passes.
    """
    found: dict[str, list[Any]] = {}
    for word in vary:
        name, sign, values = word.partition("=")
        if not (name and sign and all(values.split(","))):
            raise ValueError(f"--vary takes NAME=VALUE,VALUE,..., such as window=2,5,10, not {word!r}")
        if name in found:
            raise ValueError(f"{name} is varied twice: give all its values together, {name}=VALUE,VALUE,...")
        like = start(name)
        found[name] = [_value(name, text, like) for text in values.split(",")]
    return found


def _value(name: str, text: str, start: Any) -> Any:
    """A value as its field has it: `start` is the base's."""
    if name == "objective":
        return pairwise(text)
    if isinstance(start, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{name} is true or false, not {text!r}")
        return text.lower() == "true"
    for kind in (int, float) if isinstance(start, int | float) else ():
        try:
            value = kind(text)
        except ValueError:
            continue
        if isinstance(start, float):
            return float(value)  # 5 and 5.0 are one value
        if isinstance(value, int):
            return value
    if isinstance(start, int | float):
        raise ValueError(f"{name} is {'a whole' if isinstance(start, int) else 'a'} number, not {text!r}")
    return text


#: What `crossed` can vary: settings of this name decide how a contender trains, and nothing of the data.
VARIED = ("batch_size", "temperature", "learning_rate", "weight_decay", "epochs")


@dataclass(frozen=True)
class Varied(Common):
    """Settings of an experiment whose contenders can be varied.

    vary: FIELD=VALUE,VALUE,... of batch_size, temperature, learning_rate, weight_decay, epochs; each contender is trained at
    all combinations.
    """

    vary: tuple[str, ...] = ()


def crossed(settings: Any, contender: Callable[[str, Any], Variant], baselines: Sequence[str]) -> list[Variant]:
    """The contenders of the settings, each at all combinations of the values in `settings.vary`.

    A contender that a value does not concern (a temperature, where the objective has none) stands once, and so do baselines.
    """

    def start(name: str) -> Any:
        if name not in VARIED:
            raise ValueError(f"{name!r} cannot be varied here: choose among {', '.join(VARIED)}")
        return getattr(settings, name)

    values = read_axes(settings.vary, start)
    made = []
    for name in settings.contenders:
        base = contender(name, settings)
        concerns = lambda field, name=name, base=base: any(
            contender(name, replace(settings, **{field: value})) != base for value in values[field]
        )
        own = {} if name in baselines else {field: values[field] for field in values if concerns(field)}
        for point in itertools.product(*own.values()):
            given = dict(zip(own, point, strict=True))
            one = contender(name, replace(settings, **given))
            label = ", ".join([name, *(f"{field}={value}" for field, value in given.items())])
            made.append(replace(one, label=label, factors={**one.factors, **given}))
    return made


def varied_note(settings: Any) -> list[str]:
    """What a table says of `settings.vary`; nothing where nothing is varied."""
    told = " and ".join(settings.vary)
    return [f"Varied, all combinations: {told}; the other settings stay, whatever would suit a value."] if told else []
