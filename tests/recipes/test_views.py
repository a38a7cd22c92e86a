"""The contract of recipes of images without negatives, and of images that are not trained."""

from .contract import *  # noqa: F403

GROUP = "views"
