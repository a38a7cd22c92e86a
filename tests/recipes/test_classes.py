"""The contract of recipes of texts with classes."""

from .contract import *  # noqa: F403

GROUP = "classes"
