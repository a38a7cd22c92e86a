"""Ours and the peers by the calls that people make, alternately, on one corpus file: speed, whole calls, quality, memory.

    python -m experiments.bench_words                      # `make bench`: an hour on 2 cores, needs gensim
    python -m experiments.bench_words --parts skipgram cbow --seeds 1
    GLOVE_BIN=~/GloVe/build python -m experiments.bench_words --parts glove   # with Stanford's C program beside
    python -m experiments.bench_words --preset smoke --results runs/bench     # a minute: does everything run?

Each call is made with default arguments in a process of its own, with nothing cached: `whole` is its time with reading and
compiling, `two more` that of `model.train(epochs=2)` after it. Of Stanford's program only the training is timed, not its
counting. `--parts tuned_skipgram tuned_cbow` compare quality at learning rates that ours and gensim's each picked on the dev
halves. Writes table.md and a line for every call to measurements.jsonl. Expect Skip-gram at six times gensim's speed or more.
"""

import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments import settings as command_line
from experiments.settings import Row, measure
from jaxembed.data import Corpus, load, read_corpus
from jaxembed.data.cooccurrence import Cooccurrences, count_cooccurrences
from jaxembed.evaluation import evaluate
from jaxembed.study.environment import peak_memory
from jaxembed.vectors import KeyedVectors, load_vectors

BENCHMARKS = ("wordsim353", "simlex999", "google")
WINDOW = 10  # of GloVe's counts, ours and the program's
Rows = Iterator[Row]
Part = Literal["reading", "counting", "skipgram", "cbow", "fasttext", "glove", "tuned_skipgram", "tuned_cbow"]
ALPHA = 0.025  # gensim's default learning rate, and ours
STANFORD = "Stanford's C program"
NO_GENSIM = "gensim is not installed and was not measured: `pip install .[bench]`."


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    preset: Literal["full", "smoke"] = "full"  # Where the other settings start from.
    # Which rows. Not by default: tuned_skipgram and tuned_cbow, 40 minutes more.
    parts: tuple[Part, ...] = ("reading", "counting", "skipgram", "cbow", "fasttext", "glove")
    data: str = "enwik8-text"  # A dataset of texts.
    results: Path = Path("results/bench_words")  # Everything is written under this folder.
    # Ours and the peer take turns, a seed each. What other seeds gave in an earlier call stays.
    seeds: tuple[int, ...] = (1, 2, 3)
    documents: int = 0  # Only the first so many of the data; 0 takes all.
    # Learning rates that ours and the peer are tried with in the tuned parts, with seed 0, and picked by on the dev halves.
    alphas: tuple[float, ...] = (0.0125, ALPHA, 0.05)

    def texts(self) -> Any:
        """The documents measured on, a `datasets.Dataset`."""
        data = load(self.data)
        return data.select(range(self.documents)) if self.documents else data


PRESETS = {
    "smoke": Settings(preset="smoke", data="enwik8-small", documents=100, seeds=(1,), results=Path("runs/bench_words")),
    "full": Settings(),
}


def quality(vectors: KeyedVectors) -> dict[str, float]:
    """The three benchmarks: whole, the halves that no setting was chosen on, and those that settings are chosen on."""
    found = {}
    halves: dict[Literal["all", "test", "dev"], str] = {"all": "", "test": " (test half)", "dev": " (dev half)"}
    for split, suffix in halves.items():
        rows = evaluate(vectors, split=split, names=BENCHMARKS)
        found |= {r["benchmark"] + suffix: round(float(r["value"]), 4) for r in rows if r["benchmark"] in BENCHMARKS}
    return found


def has_gensim() -> bool:
    """Whether gensim is here to be measured beside."""
    return importlib.util.find_spec("gensim") is not None


def call(who: str, kind: str, path: str, seed: int, alpha: float | None = None) -> None:
    """One call of a library, in this process; prints its row as JSON. `path` is the corpus file.

    alpha: the learning rate; by default the library's own, and then two more epochs are timed as well.
    """
    start, row = time.perf_counter(), {"who": who, "seed": seed}
    own: dict[str, Any] = {} if alpha is None else {"alpha": alpha}
    if kind == "glove":
        from jaxembed import GloVe

        model: Any = GloVe(corpus_file=path, seed=seed)
    else:
        library = importlib.import_module("gensim.models" if who == "gensim" else "jaxembed")
        own |= {"workers": 2} if who == "gensim" else {}
        kinds = {"fasttext": library.FastText}
        model = kinds.get(kind, library.Word2Vec)(corpus_file=path, sg=int(kind != "cbow"), seed=seed, **own)
    row |= {"whole": time.perf_counter() - start, "epochs": model.epochs, "peak": _peak()}
    row |= {"alpha": alpha} if alpha is not None else {}
    row |= quality(KeyedVectors([str(word) for word in model.wv.index_to_key], np.array(model.wv.vectors)))
    if kind != "glove" and alpha is None:
        start = time.perf_counter()
        totals = {"total_words": int(model.corpus_total_words or 0), "total_examples": model.corpus_count}
        model.train(corpus_file=path, epochs=2, **totals)
        row["two more"] = time.perf_counter() - start
    print(json.dumps(row))


def _peak() -> int:
    """Peak memory of this process in bytes."""
    status = Path(
        "/proc/self/status"
    )  # getrusage's peak outlives exec: it would be that of the process which started this one
    if not status.exists():
        return peak_memory() or 0
    return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024


def apart(who: str, kind: str, path: Path, seed: int, alpha: float | None = None) -> Row:
    """`call` in a process of its own, with an empty cache."""
    code = f"from experiments.bench_words import call; call({who!r}, {kind!r}, {str(path)!r}, {seed}, {alpha})"
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "JAXEMBED_CACHE": cache}
        done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, env=env)
    return json.loads(done.stdout.splitlines()[-1])


def words(kind: str, settings: Settings, corpus: Corpus) -> Rows:
    """Skip-gram, CBOW or fastText (Skip-gram's): turns of ours and gensim's, a seed each."""
    with corpus_file(settings) as path:
        for seed in settings.seeds:
            for who in ("ours", "gensim") if has_gensim() else ("ours",):
                yield apart(who, kind, path, seed)


def tuned(kind: str, settings: Settings, corpus: Corpus) -> Rows:
    """Skip-gram or CBOW at learning rates picked on the dev halves, as many trials for ours as for gensim's; then the seeds."""
    with corpus_file(settings) as path:
        for who in ("ours", "gensim") if has_gensim() else ("ours",):
            trials = []
            for alpha in settings.alphas:
                trials.append(apart(who, kind, path, 0, alpha) | {"trial": True})
                yield trials[-1]
            best = max(trials, key=dev_mean)["alpha"]
            for seed in settings.seeds:
                yield apart(who, kind, path, seed, best)


def dev_mean(row: Row) -> float:
    """What a learning rate is picked by."""
    return statistics.mean(row[f"{name} (dev half)"] for name in BENCHMARKS)


def glove(settings: Settings, corpus: Corpus) -> Rows:
    """GloVe's whole call, and the training of Stanford's program."""
    with corpus_file(settings) as path:
        for seed in settings.seeds:
            yield apart("ours", "glove", path, seed)
    if peer := stanford(corpus, count_cooccurrences(corpus, WINDOW), 15, 100):
        yield peer


def stanford(corpus: Corpus, counts: Cooccurrences, iterations: int, vector_size: int) -> Row | None:
    """Stanford's program with two threads on the same counts; None where `GLOVE_BIN` names no folder that has it."""
    program = Path(os.environ.get("GLOVE_BIN", "")) / "glove"
    if not os.environ.get("GLOVE_BIN") or not program.exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        lines = zip(corpus.vocabulary.words, corpus.vocabulary.counts, strict=True)
        (at / "vocab.txt").write_text("".join(f"{word} {count}\n" for word, count in lines))
        entry = np.dtype([("row", "<i4"), ("column", "<i4"), ("count", "<f8")])
        lower = np.empty(len(counts.counts), entry)
        lower["row"], lower["column"], lower["count"] = counts.rows + 1, counts.columns + 1, counts.counts
        upper = lower[lower["row"] != lower["column"]]
        upper["row"], upper["column"] = upper["column"].copy(), upper["row"].copy()
        full = np.concatenate([lower, upper])
        del lower, upper
        full[np.random.default_rng(0).permutation(len(full))].tofile(at / "counts.bin")
        del full
        options = {"input-file": "counts.bin", "vocab-file": "vocab.txt", "save-file": "vectors", "threads": 2,
                   "iter": iterations, "vector-size": vector_size, "x-max": 10, "model": 2, "binary": 0,
                   "verbose": 0}  # fmt: skip
        command = [str(program), *(str(part) for key, value in options.items() for part in (f"-{key}", value))]
        start = time.perf_counter()
        subprocess.run(command, cwd=at, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        vectors = load_vectors(at / "vectors.txt")
        kept = [i for i, word in enumerate(vectors.index_to_key) if word != "<unk>"]
        named = KeyedVectors([vectors.index_to_key[i] for i in kept], vectors.vectors[kept])
    return {"who": STANFORD, "epochs": iterations, "whole": seconds, **quality(named)}


@contextmanager
def corpus_file(settings: Settings) -> Iterator[Path]:
    """The texts in a file, a line each, as long as it is needed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.txt"
        path.write_text("\n".join(settings.texts()["text"]) + "\n")
        yield path


def reading(settings: Settings, corpus: Corpus) -> Rows:
    """From a text file to a vocabulary and token ids, nothing cached; gensim's scan stops at the vocabulary."""
    with corpus_file(settings) as path:
        for _ in settings.seeds:
            start = time.perf_counter()
            found = read_corpus(path, cache=False)
            yield {"who": "ours", "seconds": time.perf_counter() - start, "words": len(found.vocabulary)}
            if not has_gensim():
                continue
            from gensim.models import Word2Vec

            start = time.perf_counter()
            model = Word2Vec(min_count=5)
            model.build_vocab(corpus_file=str(path))
            yield {"who": "gensim", "seconds": time.perf_counter() - start, "words": len(model.wv.index_to_key)}


def counting(settings: Settings, corpus: Corpus) -> Rows:
    """Co-occurrences from token ids to shuffled entries on disk, nothing cached; Stanford's programs begin with the text."""
    before = os.environ.get("JAXEMBED_CACHE")
    for _ in settings.seeds:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["JAXEMBED_CACHE"] = folder
            start = time.perf_counter()
            entries = count_cooccurrences(corpus, WINDOW).nnz_full
            os.environ.pop("JAXEMBED_CACHE")
            yield {"who": "ours", "seconds": time.perf_counter() - start, "entries": entries}
        if before:
            os.environ["JAXEMBED_CACHE"] = before
    if os.environ.get("GLOVE_BIN"):
        with corpus_file(settings) as path:
            yield {"who": STANFORD, "seconds": stanford_counting(path)}


def stanford_counting(text: Path) -> float:
    """Seconds that Stanford's programs take from a text to shuffled counts: vocabulary, co-occurrences, shuffle."""
    programs = Path(os.environ["GLOVE_BIN"])
    memory = ["-memory", "8.0", "-verbose", "0"]
    steps = [("vocab_count", ["-min-count", "5", "-verbose", "0"], text, "vocab.txt"),
             ("cooccur", [*memory, "-vocab-file", "vocab.txt", "-window-size", str(WINDOW)], text, "counts.bin"),
             ("shuffle", memory, "counts.bin", "shuffled.bin")]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        for program, options, source, target in steps:
            with open(Path(folder) / source, "rb") as read, open(Path(folder) / target, "wb") as written:
                subprocess.run([str(programs / program), *options], cwd=folder, check=True, stdin=read, stdout=written,
                               stderr=subprocess.DEVNULL)  # fmt: skip
        return time.perf_counter() - start


def table(settings: Settings, rows: list[Row]) -> str:
    """The figures as Markdown."""

    def values(part: str, who: str, figure: str) -> list[float]:
        return [row[figure] for row in rows if row["part"] == part and row["who"] == who and figure in row]

    lines = ["# Word vectors by the calls that people make: speed, quality, memory", ""]
    peers = {"skipgram": "gensim", "cbow": "gensim", "fasttext": "gensim", "glove": STANFORD}
    for part, peer in peers.items():
        libraries = [who for who in ("ours", peer) if values(part, who, "whole")]
        if "ours" not in libraries:
            continue
        columns = ["", "epochs", "whole call, s", "two more, s", *BENCHMARKS, "mean", "test halves", "peak", "seeds"]
        lines += [f"## {part}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        for who in libraries:
            own = partial(values, part, who)
            mean = lambda name, own=own: statistics.mean(own(name))
            middle = lambda name, own=own: f"{statistics.median(own(name)):.1f}" if own(name) else ""
            means = [mean(name) for name in BENCHMARKS]
            peak = f"{max(own('peak')) / 1e9:.2f} GB" if own("peak") else ""
            tests = " ".join(f"{mean(f'{name} (test half)'):.3f}" for name in BENCHMARKS)
            cells = [who, str(max(own("epochs"))), middle("whole"), middle("two more"),
                     *(f"{value:.3f}" for value in means), f"{statistics.mean(means):.3f}", tests, peak,
                     str(len(own("whole")))]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
        for figure in ("whole", "two more"):
            ours, theirs = values(part, "ours", figure), values(part, peer, figure)
            if ours and theirs:
                turns = ", ".join(f"{b / a:.1f}" for a, b in zip(ours, theirs, strict=False))
                ratio = statistics.median(theirs) / statistics.median(ours)
                lines += [f"{figure}: {peer}'s time over ours: **{ratio:.1f}** (medians; by turns {turns}).", ""]
        counted = values("counting", peer, "seconds")
        if part == "glove" and counted and values(part, peer, "whole"):
            both = statistics.median(counted) + statistics.median(values(part, peer, "whole"))
            ratio = both / statistics.median(values(part, "ours", "whole"))
            lines += [f"With its counting, as ours has: **{ratio:.1f}**.", ""]
    for part in ("tuned_skipgram", "tuned_cbow"):
        lines += tuned_lines(part, [row for row in rows if row["part"] == part])
    for part, what in {
        "reading": "a text file, to vocabulary and token ids",
        "counting": "co-occurrences, window 10",
    }.items():
        times = {who: values(part, who, "seconds") for who in ("ours", "gensim", STANFORD)}
        medians = [f"{who} {statistics.median(found):.1f} s" for who, found in times.items() if found]
        lines += [f"{part} {what}: {', '.join(medians)}.", ""] if medians else []
    libraries = {row["who"] for row in rows if row["part"] not in ("counting", "glove")}
    if libraries == {"ours"}:
        lines += [NO_GENSIM, ""]
    unique = lambda figures: "; ".join(dict.fromkeys(str(figure) for figure in figures))
    machines = [f"{row['machine']['cpu']}, {row['machine']['cores']} cores" for row in rows]
    lines.append(
        f"Commands: {unique(row['command'] for row in rows)}; "
        f"{settings.data}; {unique(machines)}; commits {unique(str(row['commit'])[:9] for row in rows)}; "
        f"versions {unique(json.dumps(row['versions']) for row in rows)}. Every call: measurements.jsonl."
    )
    return "\n".join([*lines, ""])


def tuned_lines(part: str, rows: list[Row]) -> list[str]:
    """The quality of ours and of gensim's, each at the learning rate that its own trials picked."""
    if not rows:
        return []
    tests = (f"{name} test" for name in BENCHMARKS)
    columns = ["", "alpha", "trials: dev mean", *tests, "mean", *BENCHMARKS, "mean", "seeds"]
    lines = [f"## {part.partition('_')[2]}, tuned", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for who in dict.fromkeys(row["who"] for row in rows):
        trials = [row for row in rows if row["who"] == who and row.get("trial")]
        runs = [row for row in rows if row["who"] == who and not row.get("trial")]
        cells = [who, f"{runs[0]['alpha']:g}", ", ".join(f"{row['alpha']:g} {dev_mean(row):.3f}" for row in trials)]
        for suffix in (" (test half)", ""):
            means = [statistics.mean(row[f"{name}{suffix}"] for row in runs) for name in BENCHMARKS]
            cells += [f"{value:.3f}" for value in (*means, statistics.mean(means))]
        lines.append(f"| {' | '.join([*cells, str(len(runs))])} |")
    return [*lines, ""]


def main(settings: Settings) -> None:
    """Measures the parts, and writes the table after each."""
    corpus = read_corpus(settings.texts())
    if not has_gensim():
        print(NO_GENSIM, file=sys.stderr)
    own: dict[str, Callable[[Settings, Corpus], Rows]] = {"reading": reading, "glove": glove, "counting": counting}
    own |= {kind: partial(words, kind) for kind in ("skipgram", "cbow", "fasttext")}
    own |= {f"tuned_{kind}": partial(tuned, kind) for kind in ("skipgram", "cbow")}
    parts = {name: partial(own[name], settings, corpus) for name in settings.parts}

    def stays(row: Row, part: str) -> bool:
        return row["part"] != part or row.get("seed", settings.seeds[0]) not in settings.seeds

    measure(settings.results, parts, partial(table, settings), stays=stays)


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Settings from the command line: those of the preset, and what is given besides."""
    return command_line.parse(PRESETS, arguments, __doc__)


if __name__ == "__main__":
    main(parse())
