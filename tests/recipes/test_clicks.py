"""The contract of recipes of clicks."""

from .contract import *  # noqa: F403

GROUP = "clicks"
