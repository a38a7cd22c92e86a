"""Makes the two small tables that are shipped for recommenders: made-interactions and made-clicks. Nobody's data are in them.

    python -m experiments.make_interactions FOLDER

Readers like some of eight genres, books stand in series that are read in their order, some books are liked by many. The last
fifth of a reader's books is the test split. A click depends on the genre, the book, and the genre by weekday and device.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

READERS, BOOKS, GENRES, SERIES = 400, 320, 8, 5  # books of a series
CLICKS = 12_000


def world(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The genre of each book, how well it is liked by all, and each reader's taste, [readers, genres]."""
    genre = np.arange(BOOKS) // SERIES % GENRES
    liked = rng.normal(size=BOOKS // SERIES).repeat(SERIES)
    taste = rng.dirichlet(np.full(GENRES, 0.25), READERS)
    return genre, liked, taste


def read_books(rng: np.random.Generator, taste: np.ndarray, genre: np.ndarray, liked: np.ndarray, n: int) -> list[int]:
    """The books that a reader reads, in their order: the next of a series, or one by taste."""
    had: list[int] = []
    while len(had) < n:
        after = had[-1] + 1 if had else 0
        if had and after % SERIES and after < BOOKS and rng.random() < 0.6 and after not in had:
            had.append(after)
            continue
        chances = taste[genre] * np.exp(liked) * np.where(np.arange(BOOKS) % SERIES == 0, 4, 1)
        chances[had] = 0
        if not chances.any():
            break
        had.append(int(rng.choice(BOOKS, p=chances / chances.sum())))
    return had


def interactions(seed: int = 0) -> dict[str, pa.Table]:
    """The splits of made-interactions: reader, book, and seconds since 1970."""
    rng = np.random.default_rng(seed)
    genre, liked, taste = world(rng)
    splits: dict[str, list[tuple[str, str, int]]] = {"train": [], "test": []}
    for reader in range(READERS):
        books = read_books(rng, taste[reader], genre, liked, int(np.clip(rng.lognormal(2.9, 0.6), 6, 80)))
        times = 1_700_000_000 + np.cumsum(rng.integers(3600, 20 * 86_400, len(books)))
        rows = [(f"reader-{reader:03}", f"book-{book:03}", int(t)) for book, t in zip(books, times, strict=True)]
        cut = len(rows) - max(1, len(rows) // 5)
        splits["train"] += rows[:cut]
        splits["test"] += rows[cut:]
    shuffled = {name: [rows[i] for i in rng.permutation(len(rows))] for name, rows in splits.items()}
    return {
        name: pa.table(dict(zip(("user", "item", "time"), map(list, zip(*rows, strict=True)), strict=True)))
        for name, rows in shuffled.items()
    }


def clicks(seed: int = 1) -> dict[str, pa.Table]:
    """The splits of made-clicks: label (1 clicked), reader, book, genre, weekday, device."""
    rng = np.random.default_rng(seed)
    genre, liked, taste = world(rng)
    reader, book = rng.integers(0, READERS, CLICKS), rng.integers(0, BOOKS, CLICKS)
    weekday, device = rng.integers(0, 7, CLICKS), rng.integers(0, 3, CLICKS)
    by_day, by_device = rng.normal(size=(GENRES, 7)), rng.normal(size=(GENRES, 3))
    of = genre[book]
    logit = 6 * taste[reader, of] + 0.7 * liked[book] + by_day[of, weekday] + by_device[of, device] - 1.5
    label = (rng.random(CLICKS) < 1 / (1 + np.exp(-logit))).astype(np.int8)
    table = pa.table({
        "label": label, "user": [f"reader-{i:03}" for i in reader], "item": [f"book-{i:03}" for i in book],
        "genre": [f"genre-{i}" for i in of], "weekday": weekday.astype(np.int8), "device": device.astype(np.int8),
    })  # fmt: skip
    cut = CLICKS * 4 // 5
    return {"train": table.slice(0, cut), "test": table.slice(cut)}


def main(folder: Path) -> None:
    """Writes both tables."""
    for name, splits in {"made-interactions": interactions(), "made-clicks": clicks()}.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for split, table in splits.items():
            pq.write_table(table, folder / name / f"{split}.parquet", compression="zstd", compression_level=19)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
