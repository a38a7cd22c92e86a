"""`jaxembed neighbors
analogy
evaluate`: searches and benchmarks of vectors.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

if TYPE_CHECKING:
    from jaxembed.vectors import KeyedVectors


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The vectors of a command, and how their file is read."""

    vectors: Positional[Path]  # A run's folder or a vector file.
    # Read only this many vectors, the first; in most files these are the most frequent words.
    limit: int | None = None
    encoding: str = "utf-8"  # Encoding of the words of a word2vec or GloVe file, such as latin-1.
    # What to do with a word that is not valid in that encoding: strict (stop), replace, ignore, or backslashreplace.
    unicode_errors: str = "strict"

    def load(self) -> "KeyedVectors":
        """Returns the vectors."""
        from jaxembed.vectors import load_vectors

        return load_vectors(self.vectors, limit=self.limit, encoding=self.encoding, unicode_errors=self.unicode_errors)


@dataclass(frozen=True, kw_only=True)
class Neighbors(Opened):
    """Finds the nearest words by cosine; of an encoder, the nearest of the sentences or pictures that it has embedded.

    jaxembed neighbors vectors.bin king queen --topn 5
    jaxembed neighbors runs/simcse/seed-1 "two men play a guitar"
    jaxembed neighbors runs/clip/seed-1 shirt.png "a blue shirt" --among pictures.safetensors
    """

    words: Positional[
        tuple[str, ...]
    ]  # Words whose neighbours are searched; for an encoder, sentences or files of pictures.
    topn: int = 10  # Number of neighbours per word.
    # Vectors that an encoder searches. By default those that `jaxembed embed` wrote last.
    among: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Analogy(Opened):
    """Finds the words nearest to a sum of words, each scaled to length 1, by cosine (3CosAdd).

    Signs may stand alone or before a word. If a word itself begins with a sign, put -- before the terms and let the
    signs stand alone:

        jaxembed analogy vectors.bin king - man + woman
        jaxembed analogy vectors.bin paris -france +italy --topn 3
        jaxembed analogy --topn 3 vectors.bin -- kindly - kind + -ness
    """

    terms: Positional[tuple[str, ...]]  # Words with + or - between them.
    topn: int = 10  # Number of answers.


@dataclass(frozen=True, kw_only=True)
class Evaluate(Opened):
    """Measures benchmarks of word vectors: similarity (Spearman's correlation) and analogies (accuracy).

    Items with a word that has no vector are left out and counted as oov; case is ignored. For the run of an encoder,
    the figures of its task are measured again.

        jaxembed evaluate GoogleNews-vectors-negative300.bin.gz --csv google-news.csv
        jaxembed evaluate runs/glove/seed-1 --split dev --method 3cosmul --categories
        jaxembed evaluate runs/simclr/seed-1 --split dev
    """

    # The whole benchmarks, or a half: dev to choose settings on, test to confirm results on. For the run of an encoder, dev are
    # the figures on the part of its data that was set apart (STS-B: its validation split).
    split: Literal["all", "dev", "test"] = "all"
    # Use only this many words of the file, the first, for analogies; in most files these are the most frequent.
    restrict_vocab: int = 30_000
    # Answer an analogy by a sum of cosines, or by their product (Levy and Goldberg 2014).
    method: Literal["3cosadd", "3cosmul"] = "3cosadd"
    categories: bool = False  # Also show the analogies by category.
    csv: Path | None = None  # Also write the figures to this CSV file.


def neighbors(arguments: Neighbors) -> None:
    """Prints the neighbours of each word."""
    from jaxembed.cli.embed import search
    from jaxembed.evaluation import neighbours
    from jaxembed.terminal import show_near
    from jaxembed.vectors import SubwordVectors

    if not arguments.words:
        raise ValueError("give at least one word: jaxembed neighbors VECTORS king")
    topn, encoder = _positive(arguments.topn), _encodes(arguments.vectors)
    if arguments.among and not encoder:
        raise ValueError(f"{arguments.vectors} has no encoder: --among is only for runs of encoders")
    without = encoder and not (arguments.vectors / "vectors.safetensors").exists()
    vectors = None if without else arguments.load()
    # An encoder's run also keeps vectors by key (test/0 and so on), which can be looked up like those of words.
    if vectors is None or (encoder and (arguments.among or any(word not in vectors for word in arguments.words))):
        return search(arguments.vectors, arguments.words, topn, arguments.among)
    # fastText has vectors of words that it has never seen; they are no rows of its matrix.
    by_parts = isinstance(vectors, SubwordVectors)
    unseen = [word for word in arguments.words if by_parts and word not in vectors.key_to_index]
    near = {word: vectors.most_similar(word, topn=topn) for word in unseen}
    near |= neighbours(vectors, [word for word in arguments.words if word not in near], topn)
    for word in dict.fromkeys(arguments.words):
        show_near(word, "neighbour", near[word])


def _encodes(run: Path) -> bool:
    """Returns whether this is the run of an encoder of texts or pictures. Graphs and recommenders have vectors by name only."""
    from jaxembed.study.run import Run

    return (run / "encoder.safetensors").exists() and not Run.open(run).has_inputs("graph", "history", "fields")


def analogy(arguments: Analogy) -> None:
    """Prints the answers to an analogy."""
    from jaxembed.terminal import show_near

    positive, negative = _added_and_taken(arguments.terms)
    near = arguments.load().most_similar(positive, negative, topn=_positive(arguments.topn))
    show_near(" ".join(arguments.terms), "word", near)


def _added_and_taken(terms: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the words that are added and those that are subtracted. Anything after a sign is a word."""
    words: dict[str, list[str]] = {"+": [], "-": []}
    sign = None
    for term in terms:
        if sign is None and term in words:
            sign = term
        else:
            words[sign or "+"].append(term)
            sign = None
    if sign is not None or not terms:
        problem = f"{' '.join(terms)!r} ends with a sign" if terms else "there are no words"
        raise ValueError(f"{problem}: write jaxembed analogy VECTORS king - man + woman")
    return words["+"], words["-"]


def _positive(topn: int) -> int:
    if topn < 1:
        raise ValueError(f"topn must be at least 1, not {topn}")
    return topn


def evaluate(arguments: Evaluate) -> None:
    """Prints the benchmarks' figures, and writes them to a CSV file if one is named."""
    from jaxembed.files import write_text
    from jaxembed.terminal import show_figures, show_table

    encoder = (arguments.vectors / "encoder.safetensors").exists()
    rows, heading = _of_encoder(arguments) if encoder else _of_words(arguments)
    if arguments.csv:  # the file comes first: the figures are kept even if the terminal cannot show them
        text = io.StringIO()
        writer = csv.DictWriter(text, ["vectors", *rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"vectors": str(arguments.vectors), **row} for row in rows)
        write_text(arguments.csv, text.getvalue())
    print(f"{arguments.vectors}: {heading}")
    if encoder:
        written = lambda value: f"{value:.4f}" if value != "" else "–"
        show_table(None, ["figure", "value"], [[row["figure"], written(row["value"])] for row in rows])
    else:
        show_figures(rows)
    if arguments.csv:
        print(f"written to {arguments.csv}")


def _of_words(arguments: Evaluate) -> tuple[list[dict[str, Any]], str]:
    """Returns the figures of the benchmarks, and a heading."""
    from jaxembed.evaluation import evaluate as measure

    vectors = arguments.load()
    options = {key: getattr(arguments, key) for key in ("split", "restrict_vocab", "method", "categories")}
    size = f"{len(vectors):,} words, {vectors.vector_size} dimensions"
    return measure(vectors, **options), f"{size}; benchmarks: {arguments.split}; analogies by {arguments.method}"


def _of_encoder(arguments: Evaluate) -> tuple[list[dict[str, Any]], str]:
    """Returns the figures of the task of an encoder's run, measured again, and a heading."""
    from jaxembed.study.judged import judged

    figures = judged(arguments.vectors, arguments.split)
    rows = [{"figure": name, "value": "" if value is None else value} for name, value in figures.items()]
    return rows, f"figures: {arguments.split}"
