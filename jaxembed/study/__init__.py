"""Runs on disk, the environment that they were made in, and studies of many runs."""
