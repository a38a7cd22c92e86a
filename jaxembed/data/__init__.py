"""Readers of data, which return arrays: datasets by name, texts as token ids, images as pixels."""

from jaxembed.data.hub import Source, load, resolve
from jaxembed.data.images import Images, read_images
from jaxembed.data.pairs import (
    ImageTexts,
    ScoredPairs,
    Sentences,
    read_image_texts,
    read_scored_pairs,
    read_sentences,
)
from jaxembed.data.text import Corpus, Vocabulary, hold_out, read_corpus
from jaxembed.data.tokens import read_tokenizer, train_tokenizer
from jaxembed.data.triples import Triples, read_triples

__all__ = [
    "Corpus", "ImageTexts", "Images", "ScoredPairs", "Sentences", "Source", "Triples", "Vocabulary", "hold_out", "load",
    "read_corpus", "read_image_texts", "read_images", "read_scored_pairs", "read_sentences", "read_tokenizer", "read_triples",
    "resolve", "train_tokenizer",
]  # fmt: skip
