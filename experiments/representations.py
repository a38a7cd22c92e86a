"""What texts are represented by, for `experiments.transfer`: bags of words, averages of word vectors, and encoders."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from scipy import sparse

from jaxembed.data.documents import DocumentInput
from jaxembed.data.tokenise import parts_of
from jaxembed.data.vocabulary import Vocabulary
from jaxembed.evaluation.few_labels import Rows
from jaxembed.trained import load
from jaxembed.vectors import KeyedVectors

POOLINGS = ("mean", "last", "cls")
BAGS = ("one-hot", "tf-idf")

Encode = Callable[[Sequence[str]], Rows]


@dataclass(frozen=True)
class Bag:
    """A column for each word of some texts: 1 where a text has it (one-hot), or TF-IDF, as scikit-learn has it by default.

    weights: of the words, None for 1.
    """

    words: DocumentInput
    weights: np.ndarray | None = None

    @classmethod
    def of(cls, texts: Sequence[str], kind: str, min_count: int = 1) -> "Bag":
        """The words, in lower case and apart from punctuation, that occur `min_count` times in texts, which need no classes."""
        counts = Counter(part.lower() for text in texts for word in text.split() for part in parts_of(word))
        vocabulary = Vocabulary.build(list(counts), np.array(list(counts.values())), min_count)
        plain = cls(DocumentInput(vocabulary, lowercase=True, punctuation=True))
        if kind == "one-hot":
            return plain
        having = np.bincount(plain.counts(texts).indices, minlength=len(vocabulary))  # of each text once
        return replace(plain, weights=np.log((1 + len(texts)) / (1 + having)) + 1)

    def counts(self, texts: Sequence[str]) -> sparse.csr_array:
        """How often each text has each word, `[n, words]`."""
        return counted(self.words.ids(texts), len(self.words.vocabulary))

    def __call__(self, texts: Sequence[str]) -> sparse.csr_array:
        """The features of texts; TF-IDF has rows of length 1."""
        counts = self.counts(texts)
        if self.weights is None:
            counts.data[:] = 1
            return counts
        weighted = sparse.csr_array(counts * self.weights[None])
        lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        return sparse.csr_array(weighted / np.where(lengths, lengths, 1)[:, None])


def counted(ids: Sequence[np.ndarray], size: int) -> sparse.csr_array:
    """How often each row has each id, `[len(ids), size]`."""
    ends = np.cumsum([0, *map(len, ids)])
    flat = np.fromiter(chain.from_iterable(ids), np.int32, ends[-1])
    found = sparse.csr_array((np.ones(len(flat)), flat, ends), shape=(len(ids), size))
    found.sum_duplicates()
    return found


def averaged(vectors: KeyedVectors) -> Encode:
    """The mean of the vectors of a text's words; without a word that has one it is zero.

    Words are put in lower case if the vectors' are. fastText has vectors of words that it has not met, too.
    """
    lowercase = all(key == key.lower() for key in vectors.index_to_key)

    def encode(texts: Sequence[str]) -> np.ndarray:
        parts = (
            part.lower() if lowercase else part for text in texts for one in text.split() for part in parts_of(one)
        )
        found = vectors.vectors_for_all(parts)
        words = DocumentInput(Vocabulary(found.index_to_key, np.ones(len(found), np.int64)), lowercase, True)
        counts = counted(words.ids(texts), len(found))
        return ((counts @ found.vectors) / np.maximum(counts.sum(axis=1), 1)[:, None]).astype(np.float32)

    return encode


def encoder_of(name: str, pooling: str = "", max_length: int = 256) -> Encode:
    """What a run, a checkpoint or a file of vectors makes of texts.

    pooling: how a Transformer's tokens become a vector; "" leaves it as it is there. max_length: tokens of a text that an encoder
    reads. Raises ValueError for what takes no texts, and for a pooling of what has none.
    """
    found: Any = load(name)
    if isinstance(found, KeyedVectors):
        if pooling:
            raise ValueError(f"{name} has word vectors, whose mean is taken: leave :{pooling} out")
        return averaged(found)
    encode = getattr(found, "encode", None)
    if encode is None or (getattr(found, "inputs", {}) and "text" not in found.inputs):
        raise ValueError(f"{name} is {found!r}, which takes no texts")
    if "text" in found.inputs:
        text = found.inputs["text"]
        most = min(text.max_length, max_length) if text.max_length else max_length
        found.inputs["text"] = replace(text, max_length=most)
        found._told = True  # that texts are cut, which the table says
    if pooling:
        net: Any = getattr(getattr(found, "module", None), "encoder", None)
        if not hasattr(net, "pooling"):
            raise ValueError(f"{name} has no Transformer whose tokens could be pooled: leave :{pooling} out")
        net.pooling = pooling
    return encode
