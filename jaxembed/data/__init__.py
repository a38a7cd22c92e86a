"""What the world gives, as arrays: datasets by name, texts as token ids."""

from jaxembed.data.hub import Source, load, resolve
from jaxembed.data.text import Corpus, Vocabulary, hold_out, read_corpus

__all__ = ["Corpus", "Source", "Vocabulary", "hold_out", "load", "read_corpus", "resolve"]
