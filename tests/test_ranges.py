"""Ranges of numbers: every setting has one, and a value outside it is refused with the field, the range and the value."""

import dataclasses
import math
import re
import typing
from dataclasses import dataclass, replace

import pytest

from jaxembed.encoders.functional import ENCODERS, encoder, parameters
from jaxembed.objectives import FAMILIES, InfoNCE
from jaxembed.ranges import Checked, Count, Positive, Range, Share, choices, declared, declared_by
from jaxembed.recipes import RECIPES
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.tasks.start import Start
from jaxembed.training.dense import Dense
from jaxembed.training.numbers import table_of
from jaxembed.training.settings import Training

OWNERS = [part for one in RECIPES.values() for part in (one.method, one.task, one.training)]
OWNERS += [kind() for family in FAMILIES.values() for kind in family.values()]
OWNERS += [Augmentation(crop=(0.5, 0.5), ratio=(1.0, 1.0), blur_sigma=(1.0, 1.0)), Dense(), Start()]
OWNERS = list({type(owner): owner for owner in OWNERS}.values())


def kinds_of(hint):
    """The types in an annotation: `int` and `None` of `tuple[Count, ...] | None`."""
    parts = typing.get_args(hint)
    return {kind for part in parts for kind in kinds_of(part)} if parts else {hint}


def outside(allowed):
    """Numbers that a range does not hold."""
    yield from (math.nan, math.inf, -math.inf)
    yield from (bound for bound in (allowed.above, allowed.below) if bound is not None)
    yield from (allowed.least - 1,) if allowed.least is not None else ()
    yield from (allowed.most + 1,) if allowed.most is not None else ()


@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: type(owner).__name__)
def test_every_number_has_a_range_and_is_held_to_it(owner):
    hints, ranges = typing.get_type_hints(type(owner)), declared(type(owner))
    for field in dataclasses.fields(owner):
        if not kinds_of(hints[field.name]) & {int, float}:
            continue
        assert field.name in ranges, f"{type(owner).__name__}.{field.name} has no range"
        one, now = ranges[field.name], getattr(owner, field.name)
        for wrong in outside(one.range):
            value = (wrong,) * len(now) if isinstance(now, tuple) and now else wrong
            with pytest.raises(ValueError, match=f"^{field.name} must be .*{re.escape(f'{one.range}, not {wrong}')}"):
                replace(owner, **{field.name: value})
        if one.whole:
            with pytest.raises(ValueError, match=rf"^{field.name} must be a whole number .*, not 5\.5"):
                replace(owner, **{field.name: 5.5})


@pytest.mark.parametrize("kind", ENCODERS)
def test_settings_of_encoders_are_held_to_theirs(kind):
    for name, parameter in parameters(kind).items():
        if not kinds_of(parameter.annotation) & {int, float}:
            continue
        one = declared_by(parameter.annotation)
        assert one is not None, f"{kind}.{name} has no range"
        for wrong in outside(one.range):
            with pytest.raises(ValueError, match=f"^{name} must be .*{re.escape(str(one.range))}"):
                encoder(kind, **{name: wrong})


def test_a_range_in_words():
    texts = {
        "from 0 to 1": Range(least=0, most=1), "above 0": Range(above=0), "at least 1": Range(least=1), "finite": Range(),
        "at least 0 and below 1": Range(least=0, below=1), "above 0 and at most 0.5": Range(above=0, most=0.5),
    }  # fmt: skip
    assert {words: str(one) for words, one in texts.items()} == {words: words for words in texts}


@dataclass(frozen=True)
class Mine(Checked):
    """A dataclass as anybody may write it."""

    rate: Positive = 1.0
    shares: tuple[Share, ...] = ()
    rows: Count | None = None
    name: str = "x"


def test_what_is_not_a_number_and_what_may_be_missing():
    assert Mine(shares=(0, 1), rows=None) == Mine(shares=(0, 1))
    for settings, message in (
        ({"rate": None}, "rate must be a number above 0, not None"),
        ({"rate": "0.1"}, "rate must be a number above 0, not '0.1'"),
        ({"shares": (0.5, 2)}, "shares must be from 0 to 1, not 2"),
        ({"rows": 2.0}, "rows must be a whole number at least 1, not 2.0"),
        ({"rate": math.inf}, "rate must be finite and above 0, not inf"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            Mine(**settings)


def test_numbers_that_vary_in_one_program_are_checked_too():
    method = RECIPES["simclr"].method
    for vary, message in (
        ({"objective.temperature": [0.1, 0.0]}, "temperature must be above 0"),
        ({"learning_rate": [math.nan, 0.1]}, "learning_rate must be above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            table_of(method, Training(), vary, 2)
    assert table_of(method, Training(), {"objective.temperature": [0.1, 0.2]}, 2)["objective.temperature"].shape == (2,)


def test_the_faults_that_were_found():
    for make, message in (
        (lambda: InfoNCE(-0.1), "temperature must be above 0, not -0.1"),
        (lambda: InfoNCE(math.nan), "temperature must be above 0, not nan"),
        (lambda: RECIPES["byol"].with_(momentum=1.5), "momentum must be from 0 to 1, not 1.5"),
        (lambda: RECIPES["moco"].with_(queue=0), "queue must be at least 1, not 0"),
        (lambda: RECIPES["simclr"].with_(temperature=0), "temperature must be above 0, not 0"),
        (lambda: RECIPES["simclr"].with_(dropout=1.0), "dropout must be at least 0 and below 1, not 1"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: type(owner).__name__)
def test_a_choice_is_one_of_those_that_are_declared(owner):
    for name, known in choices(type(owner)).items():
        assert getattr(owner, name) in known
        with pytest.raises(ValueError, match=f"^{name} must be {known[0]!r}.* or {known[-1]!r}, not 'none of these'$"):
            replace(owner, **{name: "none of these"})
