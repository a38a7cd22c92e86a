"""Training on the record: a run folder for each seed, benchmarks on the way, vectors and figures at the end."""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.text import Corpus
from jaxembed.evaluation import benchmark_tasks, evaluate
from jaxembed.methods.glove import GloVe
from jaxembed.methods.words import WordMethod
from jaxembed.study.run import Run
from jaxembed.tracking import Console, Trackers, histogram
from jaxembed.training.loop import Progress, Result, Training, fit
from jaxembed.vectors import KeyedVectors

# What is measured while training, on dev halves: the other half stays unseen until settings are chosen. Analogies take
# longer: they are measured after each pass only, among fewer words than at the end.
PROBES = 20
SIMILARITY = ("wordsim353", "simlex999")
ANALOGIES, ANALOGY_WORDS = ("google",), 10_000

Vectors = Callable[[], jax.Array]


def train_runs(
    method: WordMethod | GloVe,
    data: Any,
    training: Training,
    *,
    seeds: Sequence[int],
    folder_of: Callable[[int], str | os.PathLike],
    settings: Mapping[str, Any],
    corpus: Corpus,
    held_out: Any = None,
    description: str = "train",
    console: bool = True,
    overwrite: bool = False,
) -> tuple[Result | None, list[Run]]:
    """Trains `method` with all `seeds` at once, each recorded in the folder `folder_of(seed)`: the runs, finished.

    A seed whose folder holds a finished run of the same settings is kept and not trained again; the result, of the
    others, is None where none is left. `data` and `held_out` are as `fit` takes them, or functions that make them,
    called only when there is something to train. Steps are made smaller where the data are few (`sized_for`).

    A run's settings.json holds `settings` (what a reader looks for: the name of the data, say), the fingerprint of
    `corpus`, all of `method` and `training`, and the seed;
    environment.json has the method as it was sized. Its metrics are `train/loss`, `train/learning_rate`,
    `train/words_per_second` (words of the corpus passed over, by all seeds together, a second of training),
    `train/seconds`, `epoch/loss`, `held_out/loss`, `similarity/<set>-dev`, `analogies/google-dev-10k` (among the 10,000
    commonest words), histograms of the vectors and their lengths. The summary has `similarity/<set>` and
    `analogies/<set>` on whole sets, `coverage/<set>` (share of its items without unknown words) and `final/...`.

    Raises ValueError where a folder holds a run of other settings (unless `overwrite`) or two seeds share a folder, and
    Diverged; runs that did not finish are left unmarked, and are made anew the next time.
    """
    folders = [Path(folder_of(seed)) for seed in seeds]
    if not folders:
        raise ValueError("give at least one seed")
    if len(set(folders)) < len(folders):
        raise ValueError(f"each seed needs a folder of its own, but seeds {', '.join(map(str, seeds))} share one")
    about = {**settings, "data_fingerprint": corpus.fingerprint, "method": method, "training": training}
    runs = [
        Run.create(folder, {**about, "seed": seed}, overwrite=overwrite)
        for folder, seed in zip(folders, seeds, strict=True)
    ]
    open_runs = {seed: run for seed, run in zip(seeds, runs, strict=True) if not run.finished}
    if not open_runs:
        return None, runs

    begun = time.perf_counter()
    data, held_out = (made() if callable(made) else made for made in (data, held_out))
    examples = len(data.tokens) if isinstance(data, Corpus) else len(data.counts)
    with ExitStack() as stack:
        trackers = [stack.enter_context(run).tracker() for run in open_runs.values()]
        bar = Trackers(*([Console(1000, description)] if console else []))
        bar.start({})
        stack.callback(bar.finish, None)
        recorder = _Recorder(trackers, bar, corpus, training)
        sized: Any = method.sized_for(examples)
        result = fit(
            sized,
            data,
            training,
            seeds=tuple(open_runs),
            held_out=held_out,
            report=recorder.report,
            on_epoch=recorder.on_epoch,
        )
        wall = time.perf_counter() - begun
        for place, (run, tracker) in enumerate(zip(open_runs.values(), trackers, strict=True)):
            run.note(trained_method=sized)
            _conclude(run, tracker, result, place, corpus, training, wall)
    return result, runs


class _Recorder:
    """What `fit` reports, for all seeds, to the tracker of each."""

    def __init__(self, trackers: Sequence[Trackers], bar: Trackers, corpus: Corpus, training: Training):
        self.trackers, self.bar, self.training = trackers, bar, training
        self.words = len(corpus.tokens) * len(trackers)
        dev = partial(benchmark_tasks, corpus.vocabulary, split="dev")
        self.similarity = _measures(dev(names=SIMILARITY), "similarity/{}-dev")
        self.analogies = _measures(dev(names=ANALOGIES, restrict_vocab=ANALOGY_WORDS), "analogies/{}-dev-10k")
        self.reports, self.every = 0, max(1, training.reports // PROBES)

    def report(self, progress: Progress, vectors: Vectors) -> None:
        """Loss, learning rate and speed; word similarity now and then."""
        self.reports += 1
        same = {
            "train/learning_rate": progress.learning_rate,
            "train/words_per_second": self.words * progress.epoch / max(progress.seconds, 1e-9),
            "train/seconds": progress.seconds,
        }
        own = {"train/loss": progress.loss}
        share = progress.step / progress.total_steps
        if self.reports % self.every == 0 or share == 1:
            own |= self.similarity(vectors())
        self._log(own, same, progress.step)
        self.bar.log({**same, "train/loss": progress.loss.mean()}, round(1000 * share))

    def on_epoch(self, epoch: int, progress: Progress, vectors: Vectors) -> None:
        """Exact loss of the pass, held-out loss, analogies, and histograms."""
        matrices = vectors()
        own: dict[str, Any] = {"epoch/loss": progress.loss, **self.analogies(matrices)}
        if "held_out" in progress.metrics:
            own["held_out/loss"] = progress.metrics["held_out"]
        own["tables/lengths"] = [histogram(jnp.linalg.norm(matrix, axis=-1)) for matrix in matrices]
        own["tables/values"] = [histogram(matrix) for matrix in matrices]
        self._log(own, {}, progress.total_steps * (epoch + 1) // self.training.epochs)

    def _log(self, own: Mapping[str, Any], same: Mapping[str, float], step: int) -> None:
        for place, tracker in enumerate(self.trackers):
            tracker.log({**{name: values[place] for name, values in own.items()}, **same}, step)


def _measures(tasks: Mapping[str, Any], tag: str) -> Callable[[jax.Array], dict[str, np.ndarray]]:
    """What measures matrices [seeds, n, d] by all tasks that have items, in one dispatch: {tag: [seeds]}."""
    tasks = {tag.format(name): task for name, task in tasks.items() if len(task.rows) > 1}
    # One seed after the other, for the scores of all questions of all seeds would take too much memory.
    measure = jax.jit(lambda matrices: jax.lax.map(lambda one: {name: f(one) for name, f in tasks.items()}, matrices))
    return lambda matrices: jax.device_get(measure(matrices)) if tasks else {}


def _conclude(
    run: Run, tracker: Trackers, result: Result, place: int, corpus: Corpus, training: Training, wall: float
) -> None:
    """Saves a run's vectors, shows them in the projector, and writes its final figures."""
    vectors = KeyedVectors(corpus.vocabulary.words, result.vectors[place], corpus.vocabulary.counts)
    run.save(vectors)
    tracker.artifact("words", vectors)
    words = len(corpus.tokens) * training.epochs * len(result.seeds)
    summary = {
        "final/loss": float(result.losses[-1, place]),
        "final/words_per_second": words / max(result.seconds, 1e-9),
        "final/seconds": result.seconds,
    }
    if result.held_out is not None:
        summary["final/held_out_loss"] = float(result.held_out[-1, place])
    for row in evaluate(vectors):
        group = "similarity" if row["metric"] == "spearman" else "analogies"
        if math.isfinite(value := float(row["value"])):
            summary[f"{group}/{row['benchmark']}"] = value
        summary[f"coverage/{row['benchmark']}"] = float(row["items"]) / (float(row["items"]) + float(row["oov"]))
    run.note(
        data=_public(corpus.summary()),
        steps=result.steps,
        seeds_at_once=len(result.seeds),
        train_seconds=result.seconds,
        compile_seconds=result.compile_seconds,
        wall_seconds=wall,
    )
    run.finish(summary)


def _public(summary: dict[str, Any]) -> dict[str, Any]:
    """Without the folders of this machine."""
    return {key: Path(value).name if key == "file" else value for key, value in summary.items()}
