"""Models of words with gensim's names, a thin front over the engine: `Word2Vec`, `FastText`, `GloVe` and what goes with them."""

from jaxembed.data.lines import LineSentence, PathLineSentences
from jaxembed.models.fasttext import FastText
from jaxembed.models.glove import GloVe
from jaxembed.models.word2vec import Word2Vec
from jaxembed.vectors import KeyedVectors

__all__ = ["FastText", "GloVe", "KeyedVectors", "LineSentence", "PathLineSentences", "Word2Vec"]
