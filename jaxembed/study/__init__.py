"""Runs on disk, their environment, and tables made from them."""
