"""CBOW on small corpora, the default of `Word2Vec`: what do more passes do, beside gensim's?

    python -m experiments.bench_passes                                  # half an hour on one core; needs gensim
    python -m experiments.bench_passes --corpora enwik8-text --words 10000000 --passes 5 50 --seeds 1      # an hour more
    python -m experiments.bench_passes --corpora ptb --words 10000 --seeds 1
    python -m experiments.bench_passes --preset smoke --results runs/bench_passes

Each slice of a corpus is trained with default arguments and 5, 20 and 50 passes. Where `lee` is named, it is the Lee background
corpus among gensim's own test data. A figure is the geometric mean of the rank at which a word finds its partner among all words
of the slice: partners are the nearest neighbours that Skip-gram, trained on the whole of `--reference`, gives to up to 2,000
words after the 30 most frequent ones. Less is better. Expect ours at any number of passes below the best of gensim's.
Writes table.md and measurements.jsonl.
"""

import itertools
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.settings import Row, measure, parse
from jaxembed import KeyedVectors, Word2Vec
from jaxembed.data import load
from jaxembed.study.environment import described

FREQUENT, ASKED = 30, 2000


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    preset: Literal["smoke", "full"] = "full"  # Where the other settings start from.
    results: Path = Path("results/bench_passes")  # Everything is written under this folder.
    corpora: tuple[str, ...] = ("lee", "ptb", "imdb", "enwik8-text")  # Datasets of texts, and lee.
    # Of each slice; a corpus that is shorter is taken whole, once. What slices of other sizes gave in an earlier call stays.
    words: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    passes: tuple[int, ...] = (5, 20, 50)  # Each is a training of its own.
    seeds: tuple[int, ...] = (1, 2)  # Of both sides.
    reference: str = "enwik8-text"  # What the partners come from.


PRESETS = {
    "smoke": Settings(
        preset="smoke", results=Path("runs/bench_passes"), corpora=("enwik8-small",), words=(5000,), passes=(5,), seeds=(1,),
        reference="enwik8-small",
    ),
    "full": Settings(),
}  # fmt: skip


def sentences(corpus: str, words: int) -> list[list[str]]:
    """The first words of a corpus in lists of 1,000 at most, lower-case."""
    if corpus == "lee":
        import gensim

        texts: Any = (Path(gensim.__file__).parent / "test/test_data/lee_background.cor").read_text().splitlines()
    else:
        texts = load(corpus)["text"]
    found, left = [], words
    for text in texts:
        tokens = re.findall(r"\w+", text.lower())
        parts = [tokens[i : i + 1000] for i in range(0, len(tokens), 1000)]
        found += parts
        left -= len(tokens)
        if left <= 0:
            break
    return found


def partners(reference: KeyedVectors, words: Sequence[str]) -> dict[str, str]:
    """The nearest neighbour of words in the reference, among `words`, which are in order of frequency."""
    known = [word for word in words if word in reference]
    unit = reference.get_normed_vectors()[[reference.key_to_index[word] for word in known]]
    found = {}
    for row in range(FREQUENT, min(len(known), FREQUENT + ASKED)):
        cosines = unit @ unit[row]
        cosines[row] = -2
        found[known[row]] = known[int(cosines.argmax())]
    return found


def mean_rank(vectors: KeyedVectors, pairs: dict[str, str]) -> float:
    """The geometric mean of the rank of each word's partner, 1 for the nearest."""
    unit = vectors.get_normed_vectors()
    place = vectors.key_to_index
    ranks = []
    for word, partner in pairs.items():
        cosines = unit @ unit[place[word]]
        cosines[place[word]] = -2
        ranks.append(1 + int((cosines > cosines[place[partner]]).sum()))
    return float(np.exp(np.mean(np.log(ranks))))


def slices(settings: Settings, reference: KeyedVectors, corpus: str) -> Iterator[Row]:
    """Both sides on the slices of a corpus."""
    from gensim.models import Word2Vec as Gensim

    done = set()
    for words in settings.words:
        texts = sentences(corpus, words)
        size = sum(map(len, texts))
        if size in done:
            continue
        done.add(size)
        for passes in settings.passes:
            for seed in settings.seeds:
                begun = time.perf_counter()
                ours = Word2Vec(texts, epochs=passes, seed=seed).wv
                between = time.perf_counter()
                theirs = Gensim(texts, epochs=passes, seed=seed, workers=2).wv
                seconds = {"ours, s": between - begun, "gensim, s": time.perf_counter() - between}
                pairs = partners(reference, ours.index_to_key)
                about = {"words": size, "vocabulary": len(ours), "pairs": len(pairs), "passes": passes, "seed": seed}
                same = KeyedVectors([str(key) for key in theirs.index_to_key], np.array(theirs.vectors))
                yield about | {"ours": mean_rank(ours, pairs), "gensim": mean_rank(same, pairs)} | seconds


def table(rows: list[Row]) -> str:
    """The figures as Markdown."""
    passes = list(dict.fromkeys(row["passes"] for row in rows))
    heads = [f"{side}, {n} passes" for side in ("ours", "gensim") for n in passes]
    columns = ["corpus", "words", *heads, "worst of ours / best of gensim"]
    lines = ["# CBOW with default arguments on small corpora", ""]
    lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for corpus, words in dict.fromkeys((row["part"], row["words"]) for row in rows):
        mine = [row for row in rows if (row["part"], row["words"]) == (corpus, words)]
        ranks: dict[str, list[float]] = {"ours": [], "gensim": []}
        cells = []
        for side, n in itertools.product(ranks, passes):
            values = [(row[side], row[f"{side}, s"]) for row in mine if row["passes"] == n]
            rank, seconds = np.mean(values, axis=0) if values else (np.nan, np.nan)
            cells.append(f"{rank:.1f} ({seconds:.0f} s)" if values else "–")
            ranks[side] += [rank] if values else []
        ratio = max(ranks["ours"]) / min(ranks["gensim"])
        lines.append(f"| {corpus} | {words:,} | {' | '.join(cells)} | {ratio:.2f} |")
    seeds = ", ".join(dict.fromkeys(str(row["seed"]) for row in rows))
    machines = " ".join(dict.fromkeys(described(row) for row in rows))
    lines += [
        "",
        "Geometric mean of the rank of a word's partner, where less is better, and the seconds of the whole call beside it. "
        f"Means over seeds {seeds}. Every training: measurements.jsonl. {machines}",
        "",
    ]
    return "\n".join(lines)


def main(settings: Settings) -> None:
    """Measures the corpora one after the other."""
    texts = sentences(settings.reference, 1 << 40 if settings.preset == "full" else 100_000)
    reference = Word2Vec(texts, sg=1, seed=0).wv

    def stays(row: Row, part: str) -> bool:
        again = {sum(map(len, sentences(part, words))) for words in settings.words}
        return row["part"] != part or row["words"] not in again

    parts = {name: partial(slices, settings, reference, name) for name in settings.corpora}
    measure(settings.results, parts, table, stays=stays)


if __name__ == "__main__":
    main(parse(PRESETS, None, __doc__))
