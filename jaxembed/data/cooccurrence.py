"""How often words occur near each other: the counts that GloVe is trained on.

Every token looks at the tokens around it, and a pair belongs to the row of the rarer of its two words. Rows are cut
into buckets of about as many pairs each. A bucket whose part of the matrix is small is added up in a table of all its
cells, one whose part is large and nearly empty by sorting its pairs; 80 % of the pairs of a usual text go into tables.
Chunks of a long corpus leave sorted runs on disk, which are merged by ranges of cells.
"""

import json
import math
import operator
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from jaxembed.data.cache import cached, mapped_file, temporary_folder
from jaxembed.data.text import Corpus
from jaxembed.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    import scipy.sparse

FORMAT = 1  # part of every cache key: raise it when the meaning or the order of the cached entries changes
SEED = 1  # of the order of the entries
CELLS = 8  # a bucket gets a table where that has at most so many cells per pair: a cell costs 5 ns, sorting a pair 45
PILE_PAIRS = 1 << 20  # pairs that the corpus has for each pile of the shuffle: a pile fits the processor's cache
MOST_PILES = 256  # files open at a time; also as many as a uint8 can number
READ = 1 << 22  # entries looked at together
COLUMNS = {"rows": np.int32, "columns": np.int32, "counts": np.float32}

Cells = tuple[np.ndarray, np.ndarray]  # cells of the matrix, row * V + column, rising (int64), and their sums (float64)
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Cooccurrences:
    """The lower triangle of the symmetric matrix of weighted co-occurrence counts, in a fixed pseudo-random order.

    rows, columns: int32 [n], rows >= columns: token ids, so the row is the rarer word.
    counts: float32 [n]; entry i says X[row, column] = X[column, row] = counts[i].
    fingerprint: that of the corpus counted.
    """

    rows: np.ndarray
    columns: np.ndarray
    counts: np.ndarray
    vocabulary: Vocabulary
    window: int
    fingerprint: str

    @cached_property
    def nnz_full(self) -> int:
        """How many entries the full matrix has: those off the diagonal stand for two."""
        starts = range(0, len(self.rows), READ)  # the counts may be larger than memory
        diagonal = (np.count_nonzero(self.rows[i : i + READ] == self.columns[i : i + READ]) for i in starts)
        return 2 * len(self.rows) - int(sum(diagonal))

    def to_scipy(self) -> "scipy.sparse.coo_array":
        """The full symmetric matrix, float32 [V, V]."""
        import scipy.sparse

        mirror = np.flatnonzero(self.rows != self.columns)
        rows = np.concatenate([self.rows, self.columns[mirror]])
        columns = np.concatenate([self.columns, self.rows[mirror]])
        counts = np.concatenate([self.counts, self.counts[mirror]])
        return scipy.sparse.coo_array((counts, (rows, columns)), shape=(len(self.vocabulary),) * 2)


def count_cooccurrences(
    corpus: Corpus,
    window: int = 10,
    *,
    cache: bool = True,
    chunk_tokens: int = 1 << 24,
    bucket_pairs: int = 1 << 19,
    workers: int | None = None,
) -> Cooccurrences:
    """Counts the words that stand within `window` of each other in a document, a pair at distance d as 1/d.

    Both directions count, so X is symmetric and a word at distance d of itself adds 2/d (Pennington et al. 2014,
    section 4.2; `cooccur -symmetric 1` of the reference implementation). Up to a window of 22, sums are exact and
    rounded once: the result does not depend on `chunk_tokens`, `bucket_pairs` and `workers`.

    The result is kept in the cache (see `jaxembed.data.cache`) under the corpus's fingerprint and the window, and
    memory-mapped; with `cache` false it is held in memory. Memory grows with `chunk_tokens` (about 30 bytes per token),
    not with the corpus; chunks after the first, and the shuffle, go through temporary files. `workers` threads (by
    default one per processor) count.

    Raises ValueError for an empty corpus, a window, chunk, bucket or number of workers under 1, and a vocabulary too
    large for 63-bit keys; OSError for a full disk.
    """
    settings = {"window": window, "chunk_tokens": chunk_tokens, "bucket_pairs": bucket_pairs}
    for name, value in {**settings, "workers": 1 if workers is None else workers}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if not len(corpus.tokens):
        raise ValueError("the corpus is empty: there is nothing to count")
    if len(corpus.vocabulary) ** 2 << window.bit_length() >= 1 << 63:
        raise ValueError(
            f"{len(corpus.vocabulary):,} words are too many to count: read the corpus with a larger min_count"
        )

    def build(folder: Path, allocate: Callable[[str, Any, int], np.ndarray]) -> list[np.ndarray]:
        with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
            counting = _Counting(corpus, window, chunk_tokens, bucket_pairs, pool)
            return _shuffle(counting.cells(folder), counting, folder, allocate)

    if cache:
        place = f"cooccurrences/{corpus.fingerprint}-window{window}-v{FORMAT}"
        rows, columns, counts = cached(place, _read, partial(_write_entry, build), "count matrix")
    else:
        with temporary_folder("count matrix") as folder:
            rows, columns, counts = build(folder, lambda name, dtype, size: np.empty(size, dtype))
    return Cooccurrences(rows, columns, counts, corpus.vocabulary, window, corpus.fingerprint)


# -- the cache


def _write_entry(build: Callable, part: Path) -> None:
    with tempfile.TemporaryDirectory(dir=part) as folder:
        arrays = build(Path(folder), lambda name, dtype, n: mapped_file(part / f"{name}.npy", dtype, (n,)))
    (part / "entries.json").write_text(json.dumps({"entries": len(arrays[0])}), encoding="utf-8")


def _read(entry: Path) -> list[np.ndarray]:
    """The arrays that were written; OSError, EOFError, ValueError, KeyError or TypeError where they are not whole."""
    entries = json.loads((entry / "entries.json").read_text(encoding="utf-8"))["entries"]
    arrays = [np.load(entry / f"{name}.npy", mmap_mode="r") for name in COLUMNS]
    for array, (name, dtype) in zip(arrays, COLUMNS.items(), strict=True):
        if array.shape != (entries,) or array.dtype != dtype:
            raise ValueError(f"{name}.npy does not hold {entries} entries")
    return arrays


# -- counting


class _Bucket(NamedTuple):
    """Rows low to high - 1 of the matrix, and where in the padded chunk their words stand (less the window)."""

    places: np.ndarray
    low: int
    high: int


class _Counting:
    """One count: the corpus, what a pair weighs, and how the work is cut."""

    def __init__(self, corpus: Corpus, window: int, chunk_tokens: int, bucket_pairs: int, pool: Executor):
        self.tokens, self.words, self.pool = corpus.tokens, len(corpus.vocabulary), pool
        self.offsets = np.unique(corpus.offsets)  # without the empty documents
        self.window = window = max(1, min(window, int(np.diff(self.offsets).max()) - 1))
        self.chunk_tokens = min(chunk_tokens, 1 << 30)  # places are int32
        self.bucket_places = max(1, min(bucket_pairs, 1 << 26) // (2 * window))  # tables under 2^31 cells
        # In units of 1 / unit, weights are whole numbers and float64 sums exact, in whatever order they are taken.
        self.unit = math.lcm(*range(1, window + 1)) if window <= 22 else 1
        distance = np.abs(np.arange(-window, window + 1))
        distance[window] = 1 << 62
        self.weights = np.where(distance <= window, self.unit / distance, 0.0)
        self.tiled = np.tile(self.weights, (self.bucket_places, 1))

    def cells(self, folder: Path) -> Iterator[Cells]:
        """The cells that are not zero, in rising order, in parts."""
        # A chunk is measured with the padding between its documents, so that short documents do not swell it.
        padded = self.offsets + self.window * np.arange(len(self.offsets))
        marks = np.arange(0, padded[-1], self.chunk_tokens)
        document = np.searchsorted(padded, marks, side="right") - 1
        cuts = np.minimum(self.offsets[document] + marks - padded[document], self.offsets[document + 1])
        cuts = np.unique([*cuts, self.offsets[-1]])
        if len(cuts) == 2:
            return self._chunk(0, int(cuts[1]))
        runs = [_write(self._chunk(int(a), int(b)), folder / f"run{a}") for a, b in pairwise(cuts)]
        return self._merge(runs)

    def _chunk(self, start: int, end: int) -> Iterator[Cells]:
        """The cells of tokens start to end - 1 with their neighbours on both sides."""
        view, buckets = self._buckets(start, end)
        return _in_order(self.pool, (partial(self._bucket, view, bucket) for bucket in buckets))

    def _buckets(self, start: int, end: int) -> tuple[np.ndarray, list[_Bucket]]:
        """The padded chunk, seen as overlapping windows, and its buckets."""
        window = self.window
        begin, stop = max(0, start - window), min(len(self.tokens), end + window)
        tokens = np.asarray(self.tokens[begin:stop])
        inner = slice(*np.searchsorted(self.offsets, [begin + 1, stop]))
        gaps = np.concatenate([[0], self.offsets[inner] - begin, [stop - begin]])
        # `window` ids that no word has around each document: no pair reaches across, and no end needs a test.
        is_token = np.ones(len(tokens) + window * len(gaps), np.bool_)
        is_token[(gaps + window * np.arange(len(gaps)))[:, None] + np.arange(window)] = False
        padded = np.full(len(is_token), self.words, np.int32)
        padded[is_token] = tokens
        # A window as one opaque item of 2 * window + 1 ids: NumPy gathers these 3 times faster than single ids.
        item = np.dtype((np.void, 4 * (2 * window + 1)))
        view = np.ndarray((len(padded) - 2 * window,), item, padded, strides=(4,))

        tokens = tokens[start - begin : end - begin]
        counts = np.bincount(tokens, minlength=self.words)
        # Rows are laid end to end and cut every `bucket_places`; a row that is cut is a bucket of its own.
        ends = np.cumsum(counts)
        number = (ends - counts) // self.bucket_places + ends // self.bucket_places
        lows = np.flatnonzero(np.diff(number, prepend=-1))
        number = np.repeat(np.arange(len(lows)), np.diff(lows, append=self.words))
        number = number.astype(np.uint16 if len(lows) <= 1 << 16 else np.int64)  # NumPy has a radix sort for 16 bits
        order = np.argsort(number[tokens], kind="stable")
        places = (np.flatnonzero(is_token)[start - begin : end - begin] - window).astype(np.int32).take(order)
        parts = np.split(places, np.cumsum(np.add.reduceat(counts, lows))[:-1])
        highs = [*lows[1:].tolist(), self.words]
        return view, [_Bucket(*bucket) for bucket in zip(parts, lows.tolist(), highs, strict=True) if len(bucket[0])]

    def _bucket(self, view: np.ndarray, bucket: _Bucket) -> Cells:
        pairs = 2 * self.window * len(bucket.places)
        in_table = (bucket.high - bucket.low) * (bucket.high + 1) <= CELLS * pairs
        if in_table or len(bucket.places) > self.bucket_places:
            return self._tabulate(view, bucket)
        return self._sort(view, bucket)

    def _windows(self, view: np.ndarray, places: np.ndarray) -> np.ndarray:
        """The ids around and at each place: int32 [places, 2 * window + 1]."""
        return view[places].view(np.int32).reshape(len(places), -1)

    def _tabulate(self, view: np.ndarray, bucket: _Bucket) -> Cells:
        """Adds up in a table [rows, high + 1], whose last column collects padding and what belongs to later rows."""
        low, high = bucket.low, bucket.high
        size = len(self.tiled)

        def table(places: np.ndarray) -> np.ndarray:
            ids = self._windows(view, places)
            # A word above `high` is the rarer of the two, and its own row counts the pair: it falls into the last column together
            # with padding. So no pair needs a test, and bincount adds up all of them in one pass.
            cells = np.minimum(ids, high)
            cells += (ids[:, self.window, None] - low) * np.int32(high + 1)
            return np.bincount(cells.ravel(), self.tiled[: len(places)].ravel(), (high - low) * (high + 1))

        slices = (bucket.places[i : i + size] for i in range(0, len(bucket.places), size))
        sums = reduce(operator.iadd, map(table, slices)).reshape(high - low, high + 1)
        sums[:, high] = 0
        sums[:, low:high] = np.tril(sums[:, low:high])  # the rest counts for the rarer word
        cells = np.flatnonzero(sums != 0)  # of booleans: faster than of floats
        rows, columns = np.divmod(cells, high + 1)
        return (rows + low) * self.words + columns, sums.ravel().take(cells)

    def _sort(self, view: np.ndarray, bucket: _Bucket) -> Cells:
        """Sorts numbers made of the cell, in its high bits, and the distance."""
        ids = self._windows(view, bucket.places)
        kept = ids <= ids[:, self.window, None]
        kept[:, self.window] = False
        bits = self.window.bit_length()
        small = (bucket.high - bucket.low) * bucket.high << bits < 1 << 32  # sorted in half the time
        kind = np.uint32 if small else np.uint64
        ids = ids.astype(kind, copy=False)
        cells = (ids[:, self.window, None] - kind(bucket.low)) * kind(bucket.high) + ids
        # One number holds cell and distance: sorting it brings equal cells together, and the weight is read off the low bits.
        # No second array has to be carried along through the sort.
        keys = cells << kind(bits) | np.abs(np.arange(-self.window, self.window + 1)).astype(kind)
        keys = keys.ravel().compress(kept.ravel())
        keys.sort()
        cells = keys >> kind(bits)
        starts = _starts(cells)
        rows, columns = np.divmod(cells[starts].astype(np.int64), bucket.high)
        weights = self.weights[self.window - (keys & kind((1 << bits) - 1)).astype(np.int64)]
        return (rows + bucket.low) * self.words + columns, _add_up(weights, starts)

    def _merge(self, runs: list[Cells]) -> Iterator[Cells]:
        """Adds up sorted runs, by ranges of cells that hold a few buckets' worth in all runs together."""
        step = max(1, 2 * self.window * self.bucket_places // len(runs))
        # Ranges of cells are chosen so that each holds about as many entries of all runs together, by samples of the runs: a
        # merge of a range fits memory whatever the text.
        samples = np.sort(np.concatenate([keys[::step] for keys, _ in runs]))
        borders = np.unique(samples[:: len(runs)])[1:]
        cuts = [[0, *np.searchsorted(keys, borders).tolist(), len(keys)] for keys, _ in runs]

        def merged(i: int) -> Cells:
            spans = [slice(cut[i], cut[i + 1]) for cut in cuts]
            keys = np.concatenate([keys[span] for (keys, _), span in zip(runs, spans, strict=True)])
            sums = np.concatenate([sums[span] for (_, sums), span in zip(runs, spans, strict=True)])
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            starts = _starts(keys)
            return keys[starts], _add_up(sums[order], starts)

        return _in_order(self.pool, (partial(merged, i) for i in range(len(borders) + 1)))


def _starts(keys: np.ndarray) -> np.ndarray:
    """Where in sorted `keys` a new one begins."""
    return np.flatnonzero(np.concatenate([np.ones(min(1, len(keys)), np.bool_), keys[1:] != keys[:-1]]))


def _add_up(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, starts) if len(starts) else values


def _in_order(pool: Executor, calls: Iterable[Callable[[], T]], ahead: int = 16) -> Iterator[T]:
    """The results in order, made by the pool; at most `ahead` wait for their turn, however slow the reader is."""
    waiting = deque()
    for call in calls:
        waiting.append(pool.submit(call))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _write(parts: Iterable[Cells], path: Path) -> Cells:
    """Writes a run to disk and maps it."""
    names = path.with_suffix(".keys"), path.with_suffix(".sums")
    with open(names[0], "wb") as keys, open(names[1], "wb") as sums:
        for part in parts:
            keys.write(part[0].data)
            sums.write(part[1].data)
        if not keys.tell():
            return np.empty(0, np.int64), np.empty(0)
    return np.memmap(names[0], np.int64, "r"), np.memmap(names[1], np.float64, "r")


# -- the order


def _shuffle(
    parts: Iterable[Cells], counting: _Counting, folder: Path, allocate: Callable[[str, Any, int], np.ndarray]
) -> list[np.ndarray]:
    """Deals the cells to piles at random and shuffles each pile: rows, columns and counts in their final order."""
    # From the corpus alone, as is the order of the cells: the same shuffle however the work was cut.
    piles = min(MOST_PILES, 1 + len(counting.tokens) * counting.window // PILE_PAIRS)
    generator = np.random.default_rng(SEED)
    names = [folder / f"pile{i}" for i in range(piles)]
    with ExitStack() as stack:
        files = [stack.enter_context(open(name, "wb")) for name in names]
        for keys, sums in parts:
            entries = np.empty((len(keys), 3), np.int32)
            entries[:, 0], entries[:, 1] = np.divmod(keys, counting.words)
            entries[:, 2] = (sums / counting.unit).astype(np.float32).view(np.int32)
            # Two steps make one uniform shuffle without random access to disk: deal to piles at random, then shuffle each pile,
            # which fits the cache.
            pile = (generator.random(len(keys)) * piles).astype(np.uint8)
            entries = entries.take(np.argsort(pile, kind="stable"), axis=0)
            cuts = np.cumsum(np.bincount(pile, minlength=piles))
            for file, part in zip(files, np.split(entries, cuts[:-1]), strict=True):
                file.write(part.data)
    ends = np.cumsum([0, *(name.stat().st_size // 12 for name in names)]).tolist()
    arrays = [allocate(name, dtype, ends[-1]) for name, dtype in COLUMNS.items()]

    def fill(i: int) -> None:
        entries = np.fromfile(names[i], "V12")
        order = np.random.default_rng([SEED, i]).permutation(len(entries))
        entries = entries.take(order).view(np.int32).reshape(-1, 3)
        # Counts travelled as the bits of their float32 in a column of int32, so that an entry is 12 bytes and moves as one.
        for array, column in zip(arrays, entries.T, strict=True):
            array[ends[i] : ends[i + 1]] = column.view(array.dtype)
        names[i].unlink()

    for _ in _in_order(counting.pool, (partial(fill, i) for i in range(piles)), ahead=0):
        pass
    return arrays
