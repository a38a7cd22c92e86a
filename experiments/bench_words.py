"""Ours and the peer, alternately, on one corpus: speed, time to quality, best quality in the peer's time, memory.

    python -m experiments.bench_words                      # `make bench`: half an hour on 2 cores, needs gensim
    python -m experiments.bench_words --parts skipgram cbow --rounds 1
    GLOVE_BIN=~/GloVe/build python -m experiments.bench_words --parts glove   # with Stanford's C program beside
    python -m experiments.bench_words --preset smoke --results runs/bench     # under a minute: does everything run?

Writes results/bench_words/table.md and a line for every measurement to measurements.jsonl. Times are end to end from
token ids to vectors; compilation is left out and stated beside. Quality: WS-353, SimLex-999, Google (30,000 words).
"""

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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments import settings as command_line
from experiments.settings import Row, measure
from jaxembed.data import Corpus, load, read_corpus
from jaxembed.data.cooccurrence import Cooccurrences, count_cooccurrences
from jaxembed.evaluation import evaluate
from jaxembed.methods.cbow import CBOW
from jaxembed.methods.glove import GloVe
from jaxembed.methods.skipgram import SkipGram
from jaxembed.study.environment import peak_memory
from jaxembed.study.values import as_json
from jaxembed.training.host import start
from jaxembed.training.loop import fit
from jaxembed.training.settings import Training
from jaxembed.vectors import KeyedVectors, load_vectors

BENCHMARKS = ("wordsim353", "simlex999", "google")
Rows = Iterator[Row]
Part = Literal["reading", "counting", "skipgram", "cbow", "glove", "glove_best", "memory"]


def fast(epochs: int, learning_rate: float) -> Training:
    """As gensim's workers do: a core each, and no loss unless it is asked for."""
    return Training(epochs=epochs, learning_rate=learning_rate, replicas=2, loss_every=0)


#: What is trained to match the peer, and what is trained in the peer's time, where that is more. Chosen on dev halves.
MATCH: dict[str, tuple[Any, Training]] = {
    "skipgram": (SkipGram(), fast(4, 0.25)),
    "cbow": (CBOW(), fast(4, 0.6)),
    "glove": (GloVe(), fast(7, 0.3)),
}
BEST: dict[str, tuple[Any, Training]] = {
    "skipgram": (SkipGram(block=32), fast(8, 0.25)),
    "glove": (GloVe(), fast(12, 0.3)),
}

#: Windows of the counts: that of the comparison, and the program's own default, which dev halves prefer.
WINDOW, BEST_WINDOW = 10, 15

#: What Stanford's program reached on these counts (15 iterations, W+C), for machines without it.
GLOVE_QUALITY = {"wordsim353": 0.458, "simlex999": 0.167, "google": 0.303}


NO_GENSIM = "gensim is not installed and was not measured: `pip install .[bench]`."


@dataclass(frozen=True)
class Settings:
    """What is measured.

    preset: where the other settings start from.
    parts: which rows. rounds: how often ours and the peer take turns. seeds: of the runs whose quality is averaged.
    documents: only the first so many of the data, 0 for all. epochs: passes of every run, 0 for what is right for each.
    """

    preset: Literal["full", "smoke"] = "full"
    parts: tuple[Part, ...] = ("reading", "counting", "skipgram", "cbow", "glove", "glove_best", "memory")
    data: str = "enwik8-text"
    results: Path = Path("results/bench_words")
    rounds: int = 3
    seeds: tuple[int, ...] = (1, 2, 3)
    documents: int = 0
    vector_size: int = 100
    epochs: int = 0

    def sized(self, contender: tuple[Any, Training]) -> tuple[Any, Training]:
        """A contender with these vectors and epochs."""
        method, training = contender
        return replace(method, vector_size=self.vector_size), replace(training, epochs=self.epochs or training.epochs)

    def texts(self) -> Any:
        """The documents measured on, a `datasets.Dataset`."""
        data = load(self.data)
        return data.select(range(self.documents)) if self.documents else data


PRESETS = {
    "smoke": Settings(
        preset="smoke", data="enwik8-small", documents=100, vector_size=16, epochs=1, rounds=1, seeds=(1,),
        results=Path("runs/bench_words"),
    ),
    "full": Settings(),
}  # fmt: skip


def quality(vectors: KeyedVectors) -> dict[str, float]:
    """The three benchmarks, whole and the halves that no setting was chosen on."""
    found = {}
    halves: dict[Literal["all", "test"], str] = {"all": "", "test": " (test half)"}
    for split, suffix in halves.items():
        rows = evaluate(vectors, split=split, names=BENCHMARKS)
        found |= {r["benchmark"] + suffix: round(float(r["value"]), 4) for r in rows if r["benchmark"] in BENCHMARKS}
    return found


def ours(contender: tuple[Any, Training], data: Any, corpus: Corpus, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Trains the seeds one after another: seconds without the compiler's, words a second, quality."""
    method, training = contender
    rows = []
    for seed in seeds:
        start = time.perf_counter()
        result = fit(method, data, training, seeds=(seed,))
        seconds = time.perf_counter() - start - result.compile_seconds
        vectors = KeyedVectors(corpus.vocabulary.words, result.vectors[0])
        rows.append(
            {"seed": seed, "method": as_json(method), "training": as_json(training), "epochs": training.epochs,
             "seconds": seconds, "compile_seconds": result.compile_seconds,
             "words_per_second": training.epochs * len(corpus.tokens) / seconds, **quality(vectors)}
        )  # fmt: skip
    return rows


def has_gensim() -> bool:
    """Whether gensim is here to be measured beside."""
    return importlib.util.find_spec("gensim") is not None


def gensim(kind: str, corpus_file: Path, seed: int, epochs: int, vector_size: int) -> dict[str, Any]:
    """gensim with two workers on a corpus file; its vocabulary scan is left out."""
    from gensim.models import Word2Vec

    model = Word2Vec(
        vector_size=vector_size, window=5, min_count=5, sample=1e-3, negative=5, workers=2, sg=int(kind == "skipgram"),
        seed=seed,
    )  # fmt: skip
    model.build_vocab(corpus_file=str(corpus_file))
    start = time.perf_counter()
    words, examples = int(model.corpus_total_words or 0), model.corpus_count
    model.train(corpus_file=str(corpus_file), total_words=words, total_examples=examples, epochs=epochs)
    seconds = time.perf_counter() - start
    vectors = KeyedVectors([str(word) for word in model.wv.index_to_key], model.wv.vectors)
    speed = epochs * words / seconds
    return {"seed": seed, "epochs": epochs, "seconds": seconds, "words_per_second": speed, **quality(vectors)}


def words(kind: str, settings: Settings, corpus: Corpus) -> Rows:
    """Skip-gram or CBOW: turns of ours and gensim's, then ours for as long as gensim took."""
    with corpus_file(settings) as path:
        for turn in range(settings.rounds):
            seed = settings.seeds[turn % len(settings.seeds)]
            yield {"who": "ours", **ours(settings.sized(MATCH[kind]), corpus, corpus, [seed])[0]}
            if has_gensim() and turn == 0:
                yield {"who": "gensim", **gensim(kind, path, 1, settings.epochs or 5, settings.vector_size)}
            elif has_gensim():  # five epochs take minutes; one is enough for the speed
                row = gensim(kind, path, turn + 1, 1, settings.vector_size)
                yield {"who": "gensim", **{k: row[k] for k in ("seed", "epochs", "words_per_second")}}
    for row in ours(settings.sized(BEST[kind]), corpus, corpus, settings.seeds) if kind in BEST else ():
        yield {"who": "ours, best", **row}


def stanford(corpus: Corpus, counts: Cooccurrences, iterations: int, vector_size: int) -> dict[str, Any] | None:
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
    return {"epochs": iterations, "seconds": seconds, **quality(named)}


def glove(settings: Settings, corpus: Corpus) -> Rows:
    """GloVe: the same counts, ours and Stanford's."""
    counts = count_cooccurrences(corpus, WINDOW)
    for row in ours(settings.sized(MATCH["glove"]), counts, corpus, settings.seeds):
        yield {"who": "ours", **{k: v for k, v in row.items() if k != "words_per_second"}}
    peer = stanford(corpus, counts, settings.epochs or 15, settings.vector_size)
    if peer:
        yield {"who": "Stanford's C program", **peer}
    elif settings.preset == "full":
        yield {"who": "Stanford's C program (not run here)", **GLOVE_QUALITY}


def glove_best(settings: Settings, corpus: Corpus) -> Rows:
    """GloVe for longer, on counts of a wider window; its seconds hold the counting as well."""
    start = time.perf_counter()
    with uncached():
        counts = count_cooccurrences(corpus, BEST_WINDOW)
        counting = time.perf_counter() - start
        for row in ours(settings.sized(BEST["glove"]), counts, corpus, settings.seeds):
            row |= {"seconds": row["seconds"] + counting, "counting_seconds": counting, "window": BEST_WINDOW}
            yield {"who": "ours", **{k: v for k, v in row.items() if k != "words_per_second"}}


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
        for _ in range(settings.rounds):
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
    """Co-occurrences from token ids to shuffled entries on disk, nothing cached."""
    for _ in range(settings.rounds):
        start = time.perf_counter()
        with uncached():
            found = count_cooccurrences(corpus, WINDOW)
            yield {"who": "ours", "seconds": time.perf_counter() - start, "entries": found.nnz_full}


@contextmanager
def uncached() -> Iterator[None]:
    """An empty cache folder, removed at the end."""
    before = os.environ.get("JAXEMBED_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["JAXEMBED_CACHE"] = folder
        try:
            yield
        finally:
            os.environ.pop("JAXEMBED_CACHE")
            if before:
                os.environ["JAXEMBED_CACHE"] = before


def memory(settings: Settings, corpus: Corpus) -> Rows:
    """Peak memory of a process that reads the cached ids and trains two epochs, against 2 x tables + ids + 1 GB."""
    for kind in ("skipgram", "cbow", "glove"):
        few = {name: getattr(settings, name) for name in ("data", "documents", "vector_size")}
        code = f"from experiments import bench_words as b; b.two_epochs({kind!r}, b.Settings(**{few}))"
        told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        peak = int(told.stdout.split()[-1])
        tables = 2 * len(corpus.vocabulary) * settings.vector_size * 4
        yield {"who": kind, "peak": peak, "bound": 2 * tables + 4 * len(corpus.tokens) + 10**9}


def two_epochs(kind: str, settings: Settings) -> None:
    """Trains two epochs in this process and prints its peak memory in bytes."""
    corpus = read_corpus(settings.texts())
    method, training = settings.sized(MATCH[kind])
    fit(method, count_cooccurrences(corpus, WINDOW) if kind == "glove" else corpus, replace(training, epochs=2))
    status = Path("/proc/self/status")
    if status.exists():  # getrusage's peak outlives exec: it would be that of the process which started this one
        print(int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024)
    else:
        print(peak_memory())


def table(settings: Settings, rows: list[Row]) -> str:
    """The figures as Markdown."""

    def values(part: str, who: str, figure: str) -> list[float]:
        return [row[figure] for row in rows if row["part"] == part and row["who"] == who and figure in row]

    lines = ["# Word vectors: speed, time to quality, memory", ""]
    median = lambda part, who, figure: statistics.median(values(part, who, figure))
    peers = {"skipgram": "gensim", "cbow": "gensim", "glove": "Stanford's C program", "glove_best": ""}
    for part, peer in peers.items():
        sides = [who for who in ("ours", peer, "ours, best", f"{peer} (not run here)") if values(part, who, "google")]
        if "ours" not in sides:
            continue
        title = f"glove, counted to a distance of {BEST_WINDOW}" if part == "glove_best" else part
        lines += [f"## {title}", "", "| | epochs | seconds | words/s | WS-353 | SimLex | Google | mean | runs |"]
        lines.append("|---|" + "---:|" * 8)
        for who in sides:
            means = {name: statistics.mean(values(part, who, name)) for name in BENCHMARKS}
            speeds, seconds = values(part, who, "words_per_second"), values(part, who, "seconds")
            epochs = [row["epochs"] for row in rows if row["part"] == part and row["who"] == who and "epochs" in row]
            cells = [who, str(max(epochs, default="")), f"{statistics.median(seconds):.1f}" if seconds else "",
                     f"{statistics.median(speeds) / 1e6:.2f} M" if speeds else "",
                     *(f"{value:.3f}" for value in means.values()), f"{statistics.mean(means.values()):.3f}",
                     str(len(values(part, who, "google")))]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
        if values(part, peer, "words_per_second"):
            speed = median(part, "ours", "words_per_second") / median(part, peer, "words_per_second")
            lines.append(f"Words a second over {peer}'s: **{speed:.1f}** (medians of alternating runs).")
        if values(part, peer, "seconds"):
            ratio = median(part, peer, "seconds") / median(part, "ours", "seconds")
            lines.append(f"Time of `ours` against {peer}'s time: **1/{ratio:.1f}**.")
        if counted := values(part, "ours", "counting_seconds"):
            lines.append(f"Of the seconds, {counted[0]:.1f} are counting.")
        test = {who: [statistics.mean(values(part, who, f"{n} (test half)")) for n in BENCHMARKS] for who in sides
                if values(part, who, "google (test half)")}  # fmt: skip
        for who, means in test.items():
            lines.append(f"Test halves, {who}: " + ", ".join(f"{mean:.3f}" for mean in means) + ".")
        lines.append("")
    if values("reading", "ours", "seconds"):
        line = f"Reading a text file, to vocabulary and token ids: {median('reading', 'ours', 'seconds'):.1f} s"
        if values("reading", "gensim", "seconds"):
            line += f"; gensim, to its vocabulary: {median('reading', 'gensim', 'seconds'):.1f} s"
        lines += [f"{line}.", ""]
    if values("counting", "ours", "seconds"):
        lines += [
            f"Counting co-occurrences (window 10, shuffled, written): {median('counting', 'ours', 'seconds'):.1f} s.",
            "",
        ]
    for row in rows:
        if row["part"] == "memory":
            lines.append(f"Peak memory, {row['who']}: {row['peak'] / 1e9:.2f} GB; bound {row['bound'] / 1e9:.2f} GB.")
    sides = {row["who"] for row in rows if row["part"] in ("reading", "skipgram", "cbow")}
    if sides and "gensim" not in sides:
        lines += ["", NO_GENSIM]
    machines = {(row["machine"]["cpu"], row["machine"]["cores"]) for row in rows}
    versions = dict.fromkeys(json.dumps(row["versions"]) for row in rows)
    seeds = ", ".join(map(str, settings.seeds))
    commands = ", ".join(f"`{told}`" for told in dict.fromkeys(row["command"] for row in rows))
    lines += ["", f"Commands: {commands}; seeds {seeds}; {settings.data}, d={settings.vector_size}, window 5, "
              f"5 negatives, min_count 5, sample 1e-3; {'; '.join(f'{cpu}, {cores} cores' for cpu, cores in machines)}; "
              f"commits {', '.join(dict.fromkeys(str(row['commit'])[:9] for row in rows))}; "
              f"versions {'; '.join(versions)}. All: measurements.jsonl.", ""]  # fmt: skip
    return "\n".join(lines)


def main(settings: Settings) -> None:
    """Measures the parts, and writes the table after each."""
    start()
    corpus = read_corpus(settings.texts())
    if not has_gensim():
        print(NO_GENSIM, file=sys.stderr)
    own: dict[str, Callable[[Settings, Corpus], Rows]] = {
        "reading": reading, "glove": glove, "glove_best": glove_best, "counting": counting, "memory": memory,
    }  # fmt: skip
    parts = {name: partial(own.get(name) or partial(words, name), settings, corpus) for name in settings.parts}
    measure(settings.results, parts, partial(table, settings))


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Settings from the command line: those of the preset, and what is given besides."""
    return command_line.parse(PRESETS, arguments, __doc__)


if __name__ == "__main__":
    main(parse())
