"""Recorded settings are turned into methods, tasks and training again, including those that older versions wrote."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from jaxembed.data.streams import Marks
from jaxembed.encoders.functional import Encoder
from jaxembed.methods import (
    cbow,
    clicks,
    closed_form,
    glove,
    image_text,
    images,
    knowledge,
    lightgcn,
    recommend,
    sasrec,
    sentences,
    skipgram,
    two_tower,
)
from jaxembed.naming import unknown
from jaxembed.objectives import DECORRELATION, PAIRWISE, PREDICTION
from jaxembed.recipes import RECIPES
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.study.values import as_json
from jaxembed.tasks.base import Task
from jaxembed.tasks.start import Start
from jaxembed.tasks.words import RareWords
from jaxembed.training.dense import Dense
from jaxembed.training.method import Method
from jaxembed.training.settings import Training

#: The earlier names of classes of tasks.
_RENAMED = {"ImageTask": "Images", "SentenceTask": "Sentences", "ImageTextTask": "ImageTexts"}


JUDGED = "judged_fingerprint"

#: How JAX made random numbers for runs that do not record it.
_FIRST_PRNG = "threefry2x32"


def classes() -> dict[str, type]:
    """Returns every class that may occur in recorded settings, by name."""
    modules = (
        skipgram,
        cbow,
        glove,
        images,
        sentences,
        image_text,
        knowledge,
        recommend,
        closed_form,
        lightgcn,
        sasrec,
        two_tower,
        clicks,
    )
    methods = [kind for module in modules for kind in vars(module).values() if _is_method(kind)]
    objectives = [kind for family in (PAIRWISE, DECORRELATION, PREDICTION) for kind in family.values()]
    of_recipes = [type(part) for recipe in RECIPES.values() for part in (recipe.method, recipe.task)]
    known = (*methods, *objectives, *of_recipes, RareWords, Training, Dense, Encoder, Augmentation, Start, Marks)
    return {kind.__name__: kind for kind in known}


def _is_method(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Method) and dataclasses.is_dataclass(kind)


# What classes did before there was a setting for it.
_BEFORE: dict[str, dict[str, Any]] = {"RotatE": {"norm": 1}}


def rebuilt(value: Any) -> Any:
    """Turns the result of `as_json` into dataclasses again. Raises ValueError for an unknown class or field."""
    if isinstance(value, Mapping):
        value = {key: rebuilt(item) for key, item in value.items()}
        if "class" not in value:
            return value
        name = value.pop("class")
        if name not in classes():
            raise unknown("class", name, classes())
        value = _BEFORE.get(name, {}) | value
        known = {field.name for field in dataclasses.fields(classes()[name])}
        if set(value) - known:
            raise ValueError(
                f"this version's {name} has no {', '.join(sorted(set(value) - known))}: check out the run's commit"
            )
        return classes()[name](**value)
    return tuple(rebuilt(item) for item in value) if isinstance(value, list) else value


def upgraded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a run that an older version recorded, as this version would have written them."""
    parts = {name: dict(part) for name, part in _parts(settings)}
    task, method, training = (parts.get(name, {}) for name in ("task", "method", "training"))
    if task:
        task["class"] = _RENAMED.get(task["class"], task["class"])
        if "window" in task:  # the window used to belong to the task, since that counted; now GloVe counts
            method["window"] = task.pop("window")
    if task.get("class") in ("Images", "ImageTexts"):
        task.setdefault("validation", 0.0)  # these runs were trained on everything
    dense = training.get("dense") or {}
    if dense.get("weight_decay") and ("method" not in parts or classes()[method["class"]].trained):
        training["dense"] = {"decay_places": True, **dense}
    if "track_loss" in training:
        training["loss_every"] = int(training.pop("track_loss"))
    return {**settings, **parts}


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns upgraded settings in which everything that an older version lacked has its default."""
    settings = upgraded(settings)
    parts = {name: as_json(rebuilt(part), name) for name, part in _parts(settings)}
    repeated = ("objective",) if "method" in parts else ()  # a factor of the table, and also a field of the method
    own = {name: value for name, value in settings.items() if name not in repeated}
    return {"prng": _FIRST_PRNG, **own, **parts}


def _parts(settings: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Returns the settings of a run that are dataclasses of this project."""
    for name in ("task", "method", "training"):
        part = settings.get(name)
        if isinstance(part, Mapping) and _RENAMED.get(part.get("class", ""), part.get("class")) in classes():
            yield name, part


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns the differences, one line for each. A setting that is null counts as one that an older version lacked.

    The data by which runs were judged are compared only if both runs record them; older versions did not.
    """
    old, new = (_without_null(completed(settings)) for settings in (old, new))
    if not (old.get(JUDGED) and new.get(JUDGED)):
        old, new = ({name: value for name, value in one.items() if name != JUDGED} for one in (old, new))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name) or (name in old) != (name in new)]
    return [f"{name}: {old.get(name)!r} there, {new.get(name)!r} now" for name in names]


def check_data(task: Task, settings: Mapping[str, Any]) -> None:
    """Raises ValueError if the task's data are not those that a run with these settings was trained on, or judged by."""
    for name, now, what in (
        ("data_fingerprint", task.found.fingerprint, "the data are not those of the run"),
        (JUDGED, task.found.judged_by, "the data by which vectors are judged are not those of the run"),
    ):
        if (then := settings.get(name)) and then != now:
            raise ValueError(f"{what}: fingerprint {now}, recorded {then}")


def _without_null(settings: Any) -> Any:
    if isinstance(settings, Mapping):
        return {name: _without_null(value) for name, value in settings.items() if value is not None}
    return settings
