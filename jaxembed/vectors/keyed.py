"""`KeyedVectors`: a table that can be searched, judged and kept in files; and how vector files are opened."""

import os
import warnings
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from jaxembed import formats, tensors
from jaxembed.naming import Renamed
from jaxembed.vectors.search import Search


class KeyedVectors(Search):
    """Keys [n], the most frequent first if they are words, and their vectors [n, d] (float32), with gensim's methods.

    `counts` [n] says how often each key occurs. As in gensim, `KeyedVectors(d)` has no keys yet: vectors of dimension d
    are added to it. Raises ValueError for keys that are no strings or come twice, and where the numbers of keys, vectors
    and counts differ.
    """

    vocab = Renamed("key_to_index, or get_vecattr(key, 'count') for how often a key occurs")
    index2word = Renamed("index_to_key")
    index2entity = Renamed("index_to_key")
    syn0 = Renamed("vectors")
    syn0norm = Renamed("get_normed_vectors()")
    vectors_norm = Renamed("get_normed_vectors()")
    clear_sims = Renamed("nothing: searches follow every change of the vectors")
    init_sims = Renamed("unit_normalize_all() to scale the vectors; nothing else is needed before a search")
    word_vec = Renamed("get_vector()")
    words_closer_than = Renamed("closer_than()")
    accuracy = Renamed("evaluate_word_analogies()")
    get_keras_embedding = Renamed("module, a Flax nnx.Embed")
    wv = Renamed("the vectors themselves")

    @property
    def module(self) -> Any:
        """A Flax `nnx.Embed` that starts from the vectors: looked up by row, `attend` scores all keys; each time a new one."""
        import jax.numpy as jnp
        from flax import nnx

        start = lambda key, shape, dtype: jnp.asarray(self.vectors, dtype)
        return nnx.Embed(len(self), self.vector_size, embedding_init=start, rngs=nnx.Rngs(0))

    def vectors_for_all(
        self, keys: Iterable[str], allow_inference: bool = True, copy_vecattrs: bool = False
    ) -> "KeyedVectors":
        """A table of those of `keys` that are there, each once and in the order given, with their attributes if wanted.

        `allow_inference` is accepted: no vectors are made up for keys that are not there.
        """
        known = [key for key in dict.fromkeys(keys) if key in self.key_to_index]
        rows = np.array([self.key_to_index[key] for key in known], int)
        found = KeyedVectors(known, self.vectors[rows])
        if copy_vecattrs:
            found.expandos = {name: values[rows] for name, values in self.expandos.items()}
        return found

    def evaluate_word_pairs(
        self,
        pairs: str | os.PathLike,
        delimiter: str | None = None,
        restrict_vocab: int | None = 300_000,
        case_insensitive: bool = True,
        dummy4unknown: bool = False,
    ) -> tuple[Any, Any, float]:
        """Correlations with human scores: Pearson (r, p), Spearman (r, p) and the percentage of pairs not covered.

        `pairs` is a set that the package ships (`jaxembed.evaluation.PAIRS`) or a file of lines `word word score`.
        With `dummy4unknown` a pair with an unknown word counts with cosine 0. A word whose vector is not finite is
        unknown. Raises ValueError if fewer than two pairs are covered.
        """
        from scipy import stats

        from jaxembed.evaluation import load_pairs, similarity_task

        items = load_pairs(pairs, delimiter=delimiter)
        task = similarity_task(
            self.index_to_key, items, restrict_vocab=restrict_vocab, case_insensitive=case_insensitive
        )
        covered = task.covered(self.vectors)
        cosines, scores = np.zeros(len(items)), np.array([pair.score for pair in items])
        cosines[task.known] = task.cosines(self.vectors)
        cosines[~covered] = 0
        used = np.full(len(items), True) if dummy4unknown else covered
        if used.sum() < 2:
            raise ValueError(f"{pairs}: fewer than two of its {len(items)} pairs are in the vocabulary of {self!r}")
        oov = 100 * float((~covered).mean())
        return stats.pearsonr(scores[used], cosines[used]), stats.spearmanr(scores[used], cosines[used]), oov

    def evaluate_word_analogies(
        self,
        analogies: str | os.PathLike,
        restrict_vocab: int | None = 300_000,
        case_insensitive: bool = True,
        dummy4unknown: bool = False,
    ) -> tuple[float, list[dict[str, Any]]]:
        """The accuracy of 3CosAdd and, section by section and in all, the questions answered right and wrong.

        `analogies` is a set that the package ships ("google") or a file like questions-words.txt. A section is a
        {"section": name, "correct": [(a, b, c, d), ...], "incorrect": [...]}. With `dummy4unknown` a question with an
        unknown word counts as wrong, otherwise it is left out; a word whose vector is not finite is unknown.
        """
        from jaxembed.evaluation import analogy_task, load_questions
        from jaxembed.evaluation.lookup import fold

        questions = load_questions(analogies)
        task = analogy_task(
            self.index_to_key, questions, restrict_vocab=restrict_vocab, case_insensitive=case_insensitive
        )
        right = np.zeros(len(questions), bool)
        right[task.known] = task.correct(self.vectors)
        answered = zip(questions, right, task.covered(self.vectors) | dummy4unknown, strict=True)
        sections: list[dict[str, Any]] = []
        for name, group in groupby(answered, lambda entry: entry[0].category):
            section: dict[str, Any] = {"section": name, "correct": [], "incorrect": []}
            for question, correct, counted in group:
                if counted:
                    words = tuple(fold(word, case_insensitive) for word in question[2:])
                    section["correct" if correct else "incorrect"].append(words)
            sections.append(section)
        total = {part: [words for section in sections for words in section[part]] for part in ("correct", "incorrect")}
        count = len(total["correct"]) + len(total["incorrect"])
        sections.append({"section": "Total accuracy", **total})
        return len(total["correct"]) / count if count else 0.0, sections

    def save(self, fname: str | os.PathLike) -> None:
        """Writes keys, vectors and attributes of keys to one safetensors file, whole or not at all."""
        tensors.write_safetensors(fname, self.index_to_key, self.vectors, self.expandos, **self.other_tensors())

    def other_tensors(self) -> dict[str, np.ndarray]:
        """What a file of these holds beside keys, vectors and attributes, by name."""
        return {}

    @classmethod
    def load(cls, fname: str | os.PathLike, mmap: str | None = None) -> "KeyedVectors":
        """Reads what `save` wrote; with `mmap="r"` the vectors stay on disk until they are touched.

        Those of fastText come back as `SubwordVectors`, which have vectors of words that are not there, too.
        """
        from jaxembed.vectors.subwords import SubwordVectors, read_subwords

        parts = tensors.read_safetensors(fname, mmap=bool(mmap))
        subwords = read_subwords(fname)
        found = _named(fname, cls, *parts) if subwords is None else _named(fname, SubwordVectors, *parts, subwords)
        found.expandos |= tensors.read_attributes(fname)
        return found

    def save_word2vec_format(
        self,
        fname: str | os.PathLike,
        fvocab: str | os.PathLike | None = None,
        binary: bool = False,
        write_header: bool = True,
    ) -> None:
        """Writes the word2vec format, text or binary, or GloVe's (text with `write_header=False`), in row order.

        `fvocab` is a second file, for the counts. A name that ends in .gz, .bz2, .xz or .zst is written compressed.
        """
        if binary and not write_header:
            raise ValueError("the binary format needs its header: leave write_header as it is, or write text")
        if fvocab is not None and self.counts is None:
            raise ValueError("these vectors have no counts to write to a vocabulary file: leave fvocab out")
        if binary:
            formats.write_binary(fname, self.index_to_key, self.vectors)
        else:
            formats.write_text(fname, self.index_to_key, self.vectors, header=write_header)
        if fvocab is not None and self.counts is not None:
            formats.write_counts(fvocab, self.index_to_key, self.counts)

    @classmethod
    def load_word2vec_format(
        cls,
        fname: str | os.PathLike,
        fvocab: str | os.PathLike | None = None,
        binary: bool = False,
        encoding: str = "utf-8",
        unicode_errors: str = "strict",
        limit: int | None = None,
        datatype: DTypeLike = np.float32,
        no_header: bool = False,
    ) -> "KeyedVectors":
        """Reads the word2vec format, text or binary, or GloVe's (text with `no_header=True`), the first `limit` rows.

        `fvocab` is the file of counts that word2vec's -save-vocab writes. Values are rounded to `datatype`, a type of
        floats, and kept as float32. Of a key that comes twice the first vector is kept, with a warning. Raises
        ValueError with the line, or entry and byte, at which a file is malformed or cut short, and with the key of a
        vector that is not finite.
        """
        if binary and no_header:
            raise ValueError("the binary format always has a header: leave no_header as it is")
        kind = np.dtype(datatype)
        if kind.kind != "f":
            raise ValueError(f"datatype must be a type of floats, such as float16 or float32, not {kind}")
        if binary:
            keys, vectors = formats.read_binary(fname, limit=limit, encoding=encoding, unicode_errors=unicode_errors)
        else:
            keys, vectors = formats.read_text(
                fname, header=not no_header, limit=limit, encoding=encoding, unicode_errors=unicode_errors
            )
        if kind.itemsize < vectors.itemsize:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, which is reported with its key
                vectors = vectors.astype(kind).astype(np.float32)
            formats.check_finite(fname, keys, vectors)
        counts = None
        if fvocab is not None:
            known = formats.read_counts(fvocab, encoding=encoding, unicode_errors=unicode_errors)
            missing = next((key for key in keys if key not in known), None)
            if missing is not None:
                raise ValueError(f"{fvocab}: the key {missing!r} of {fname} is not in it: they are not of one run")
            counts = np.array([known[key] for key in keys], np.int64)
        return _named(fname, cls, keys, vectors, counts)

    def intersect_word2vec_format(
        self,
        fname: str | os.PathLike,
        lockf: float = 0.0,
        binary: bool = False,
        encoding: str = "utf-8",
        unicode_errors: str = "strict",
    ) -> None:
        """Takes the vectors of a word2vec file for the keys that are here and in it; the others stay, none is added.

        `lockf=1.0` says that training may move them, as it does; for any other factor (gensim's default, 0, would hold
        them) a warning says so. Raises ValueError for vectors of another dimension, before the file is read.
        """
        read = formats.read_binary if binary else formats.read_text
        dimension = read(fname, limit=1, encoding=encoding, unicode_errors=unicode_errors)[1].shape[1]
        if dimension != self.vector_size:
            raise ValueError(f"{fname}: its vectors have {dimension} dimensions, these {self.vector_size}")
        if lockf != 1:
            warnings.warn(
                f"lockf={lockf} has no effect: training moves all vectors; pass lockf=1.0, or put the vectors back after "
                "training (model.wv[keys] = vectors)",
                stacklevel=2,
            )
        keys, vectors = read(fname, encoding=encoding, unicode_errors=unicode_errors, only=self.key_to_index)
        self.add_vectors(keys, vectors, replace=True)


def load_vectors(
    path: str | os.PathLike, *, limit: int | None = None, encoding: str = "utf-8", unicode_errors: str = "strict"
) -> KeyedVectors:
    """Opens a vector file of any known format, found from its content, compressed or not; or a run's folder.

    The formats: our safetensors, word2vec text and binary, GloVe text, fastText's .bin. `limit` takes the first rows alone;
    `encoding` and `unicode_errors` are for keys that are not UTF-8. Raises FileNotFoundError, or ValueError that says what is
    wrong and where.
    """
    if Path(path).is_dir():
        path = Path(path) / "vectors.safetensors"
    formats.check_options(limit, encoding, unicode_errors)
    kind = formats.detect(path)
    if kind in ("safetensors", "facebook"):
        from jaxembed.vectors.subwords import SubwordVectors

        found = KeyedVectors.load(path) if kind == "safetensors" else SubwordVectors.load_facebook_format(path)
        return found if limit is None else found.vectors_for_all(found.index_to_key[:limit], copy_vecattrs=True)
    return KeyedVectors.load_word2vec_format(
        path,
        binary=kind == "word2vec-binary",
        no_header=kind == "glove",
        limit=limit,
        encoding=encoding,
        unicode_errors=unicode_errors,
    )


def _named(path: str | os.PathLike, cls: type[KeyedVectors], *parts: Any) -> KeyedVectors:
    try:
        return cls(*parts)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
