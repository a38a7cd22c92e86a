"""The contract of recipes of images with negatives."""

from .contract import *  # noqa: F403

GROUP = "images"
