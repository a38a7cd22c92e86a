"""DeepWalk and Doc2Vec beside gensim, on the CPU: the same walks, and the same documents.

    python -m experiments.bench_gensim                    # 20 minutes on 2 cores; needs gensim: pip install .[bench]
    python -m experiments.bench_gensim --parts doc2vec
    python -m experiments.bench_gensim --preset smoke --results runs/bench_gensim   # a minute; the shipped graph and text

Each side runs in a process of its own. Ours is the recipe as it stands, from reading the data to the vectors: compiling and
drawing the walks are in its time. gensim gets as many walks of the same kind in a file, or the words of the same documents in
memory, with two workers and the same settings; drawing walks, reading and counting are not in its time. It makes one pass over
the documents, of which words/s follow. Writes table.md and measurements.jsonl. Expect ours to be five times as fast or more.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.settings import Row, measure, parse
from jaxembed.data.documents import Documents
from jaxembed.recipes import RECIPES, Recipe
from jaxembed.sampling import walks
from jaxembed.sampling.random import key_of
from jaxembed.study.environment import described
from jaxembed.study.plan import ready
from jaxembed.tasks.nodes import Nodes
from jaxembed.training.loop import fit

PEER = "gensim"
Part = Literal["deepwalk", "doc2vec"]


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    preset: Literal["smoke", "full"] = "full"  # Where the other settings start from.
    results: Path = Path("results/bench_gensim")  # Everything is written under this folder.
    parts: tuple[Part, ...] = ("deepwalk", "doc2vec")  # Which rows.
    graph: str = "blogcatalog"  # A graph with groups of nodes.
    texts: str = "imdb"  # A dataset of texts.
    workers: int = 2  # Of gensim.
    turns: int = 3  # Runs of each side, in turns; the table has medians.


PRESETS = {
    "smoke": Settings(preset="smoke", results=Path("runs/bench_gensim"), graph="karate", texts="enwik8-small", turns=1),
    "full": Settings(),
}


def recipe_of(part: Part, settings: Settings) -> Recipe:
    """What is trained."""
    return RECIPES[part].with_(data=settings.graph if part == "deepwalk" else settings.texts)


def ours(part: Part, settings: Settings) -> Row:
    """Seconds from reading the data to the vectors, and words or nodes of walks per second of training."""
    start = time.perf_counter()
    one = recipe_of(part, settings)
    method, data = ready(one.method, one.task)
    found = fit(method, data, one.training, seeds=(1,))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "words_per_second": found.examples_per_second} | quality(one, found.vectors[0])


def theirs(part: Part, settings: Settings) -> Row:
    """The same of gensim's training alone."""
    return (_their_walks if part == "deepwalk" else _their_documents)(settings)


def _their_walks(settings: Settings) -> Row:
    import gensim
    import jax

    one = recipe_of("deepwalk", settings)
    method, graph = ready(one.method, one.task)
    n, depth = len(graph), int(graph.degrees.max()).bit_length()
    starts = jax.numpy.tile(jax.numpy.arange(n), method.walks)
    draw = jax.jit(lambda key: walks.walk(key, walks.rows_of(graph), starts, method.walk_length, depth)[0])
    nodes = np.asarray(draw(key_of(1)))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "walks.txt"
        with open(file, "w") as text:
            text.writelines(" ".join(map(str, walk)) + "\n" for walk in nodes.tolist())
        model = gensim.models.Word2Vec(
            vector_size=method.vector_size, window=method.window, negative=int(method.negative), sg=1, sample=0, min_count=1,
            workers=settings.workers, epochs=1, seed=1,
        )  # fmt: skip
        model.build_vocab(corpus_file=str(file))
        start = time.perf_counter()
        model.train(corpus_file=str(file), total_words=model.corpus_total_words, total_examples=len(nodes), epochs=1)
        seconds = time.perf_counter() - start
    vectors = np.zeros((n, method.vector_size), np.float32)
    vectors[np.asarray(model.wv.index_to_key).astype(int)] = model.wv.vectors
    return {"seconds": seconds, "words_per_second": nodes.size / seconds} | quality(one, vectors)


def _their_documents(settings: Settings) -> Row:
    import gensim

    one = recipe_of("doc2vec", settings)
    method, documents = ready(one.method, one.task)
    assert isinstance(documents, Documents)
    corpus, words = documents.corpus, np.array(documents.corpus.vocabulary.words, object)
    borders = zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    tagged = [
        gensim.models.doc2vec.TaggedDocument(words[corpus.tokens[a:b]].tolist(), [i])
        for i, (a, b) in enumerate(borders)
    ]
    model = gensim.models.Doc2Vec(
        vector_size=method.vector_size, dm=0, negative=int(method.negative), sample=method.sample, min_count=1,
        workers=settings.workers, epochs=1, seed=1,
    )  # fmt: skip
    model.build_vocab(tagged)
    start = time.perf_counter()
    model.train(tagged, total_examples=len(tagged), epochs=1)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "words_per_second": len(corpus.tokens) / seconds}


def quality(one: Recipe, vectors: np.ndarray) -> Row:
    """Micro-F1 of nodes; documents are judged by `experiments.documents`."""
    task: Any = one.task
    if not isinstance(task, Nodes):
        return {}
    found = task.judge({"": vectors})
    return {
        name: value
        for name, value in found.items()
        if isinstance(value, float) and "micro" in name and "dev" not in name
    }


def turns(part: Part, settings: Settings) -> Iterator[Row]:
    """Ours, then gensim's, and so on."""
    arguments = ", ".join(f"{name}={getattr(settings, name)!r}" for name in ("graph", "texts", "workers"))
    for who, call in (("ours", "ours"), (PEER, "theirs")) * settings.turns:
        code = f"from experiments.bench_gensim import *; print(json.dumps({call}({part!r}, Settings({arguments}))))"
        done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
        yield {"who": who} | json.loads(done.stdout.splitlines()[-1])


def summed(rows: list[Row], part: str, who: str) -> Row:
    """The medians of a side's runs, and how many there are."""
    own = [row for row in rows if (row["part"], row["who"]) == (part, who)]
    numbers = [name for name in own[0] if isinstance(own[0][name], float)]
    return {name: float(np.median([row[name] for row in own])) for name in numbers} | {"runs": len(own)}


def table(settings: Settings, rows: list[Row]) -> str:
    """The figures as Markdown."""
    lines = [
        "# DeepWalk and Doc2Vec beside gensim",
        "",
        f"gensim with {settings.workers} workers; medians of the runs of each side, which take turns.",
        "",
    ]
    lines += ["| | data | runs | seconds | words/s | micro-F1 by 10, 50, 90 % |", "|---|---|---:|---:|---:|---|"]
    whole = {(row["part"], row["who"]): summed(rows, row["part"], row["who"]) for row in rows}
    for (part, who), row in whole.items():
        data = settings.graph if part == "deepwalk" else settings.texts
        f1 = ", ".join(f"{value:.3f}" for name, value in sorted(row.items()) if "micro" in name) or "–"
        about = f"{row['runs']} | {row['seconds']:.1f} | {row['words_per_second'] / 1e6:.2f} M | {f1} |"
        lines.append(f"| {part}, {who} | {data} | {about}")
    for part, what, figure in (
        ("deepwalk", "its seconds of training over ours for the whole run", lambda a, b: b["seconds"] / a["seconds"]),
        ("doc2vec", "our words/s over its", lambda a, b: a["words_per_second"] / b["words_per_second"]),
    ):
        own, peer = (whole.get((part, who)) for who in ("ours", PEER))
        if own and peer:
            lines += ["", f"{part}: {what}: **{figure(own, peer):.1f}**."]
    about = dict.fromkeys(described(row) for row in rows)
    return "\n".join([*lines, "", f"Every row: measurements.jsonl. {' '.join(about)}", ""])


def main(settings: Settings) -> None:
    """Measures the parts; ends with a line if gensim is not installed."""
    if importlib.util.find_spec("gensim") is None:
        sys.exit("bench_gensim: gensim is not installed: pip install .[bench]")
    parts = {part: partial(turns, part, settings) for part in settings.parts}
    measure(settings.results, parts, partial(table, settings))


if __name__ == "__main__":
    main(parse(PRESETS, None, __doc__))
