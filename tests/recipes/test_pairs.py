"""The contract of recipes of images with texts."""

from .contract import *  # noqa: F403

GROUP = "pairs"
