"""Data of a handful of rows for every kind of task, and what makes a recipe small enough to be trained on them in a moment."""

import datasets
import pyarrow.parquet as pq

from jaxembed.data.hub import BUILTIN

CHANGES = {
    "Words": {"min_count": 1, "vector_size": 8, "sweeps": 1},
    "Images": {
        "data": "tiny-images", "batch_size": 16, "watch": 8, "hidden_size": 16, "depth": 1, "heads": 2, "patch": 14,
        "features": None, "projection": (16, 8), "prediction": (8,), "queue": 32, "jitter": 0.0, "k": 5,
    },
    "Sentences": {
        "data": "tiny-captions", "sts": "tiny-sts", "batch_size": 8, "watch": 8, "hidden_size": 16, "heads": 2, "mlp_size": 16,
        "vocab_size": 200, "max_length": 12, "start.vector_size": 8, "own": 8, "start.epochs": 1, "encoder.max_length": 12,
        "buckets": 16, "columns": 64,
    },
    "Triples": {"data": "countries", "vector_size": 8, "candidates": 16, "batch_size": 64, "watch": 20},
    "ImageTexts": {
        "data": "tiny-pairs", "batch_size": 16, "watch": 8, "image_encoder.hidden_size": 16, "text_encoder.hidden_size": 16,
        "image_encoder.depth": 1, "image_encoder.heads": 2, "text_encoder.heads": 2, "patch": 14, "features": None, "size": None,
        "vocab_size": 200, "max_length": 8,
    },
    "Interactions": {
        "data": "tiny-interactions", "vector_size": 8, "batch_size": 32, "shared_negatives": 16, "hidden_size": 16, "length": 8,
        "hidden": (16,), "k": 5, "watch": 8, "rows": 16, "layers": 1,
    },
    "Nodes": {
        "vector_size": 8, "walks": 4, "walk_length": 6, "samples": 4, "splits": 2, "hidden_size": 8, "shared_negatives": 16,
        "repeats": 4,
    },
    "Documents": {"min_count": 1, "vector_size": 8, "max_words": 2000},
    "Texts": {
        "vocab_size": 300, "length": 16, "batch_size": 8, "watch": 8, "hidden_size": 16, "depth": 1, "heads": 2,
        "max_tokens": 2000,
    },
    "Labelled": {
        "data": "tiny-classes", "batch_size": 8, "watch": 8, "hidden_size": 16, "depth": 1, "heads": 2, "vocab_size": 200,
        "max_length": 64,
    },
    "Clicks": {"data": "tiny-clicks", "vector_size": 4, "batch_size": 32, "hidden": (16,), "crosses": 1},
}  # fmt: skip


def write(folder):
    """Writes the data as JAXEMBED_DATA has them, and a text for words; returns the text's path."""
    texts = pq.read_table(BUILTIN / "enwik8-small" / "train.parquet").column("text").to_pylist()[:6]
    text = folder / "words.txt"
    text.write_text("".join(" ".join(one.split()[:700]) + "\n" for one in texts))
    images = BUILTIN / "fashion-mnist-small"
    read = lambda split: datasets.Dataset.from_parquet(str(images / f"{split}.parquet"), cache_dir=str(folder / "hf"))
    splits = {split: read(split).select(range(n)) for split, n in (("train", 48), ("test", 20))}
    names = splits["train"].features["label"].names
    words = text.read_text().split()
    captions = [words[i : i + 9] for i in range(0, 24 * 9, 9)]
    groups = [[" ".join(words[i : i + 5]) for i in range(2)] for words in captions]
    scored = {
        "sentence1": [g[0] for g in groups],
        "sentence2": [g[1] for g in groups],
        "score": [float(i % 5) for i in range(len(groups))],
    }
    for split, part in splits.items():
        save(part, folder / "tiny-images" / f"{split}.parquet")
        save(
            part.map(lambda row: {"name": f"a {names[row['label']].lower()}"}),
            folder / "tiny-pairs" / f"{split}.parquet",
        )
    cut_tables(folder)
    save(datasets.Dataset.from_dict({"captions": groups}), folder / "tiny-captions" / "train.parquet")
    labelled = {"text": [" ".join(one) for one in captions], "label": [i % 2 for i in range(len(captions))]}
    for split in ("train", "test"):
        save(datasets.Dataset.from_dict(labelled), folder / "tiny-classes" / f"{split}.parquet")
    for split in ("validation", "test"):
        save(datasets.Dataset.from_dict(scored), folder / "tiny-sts" / f"{split}.parquet")
    return text


def cut_tables(folder):
    """Some users of the interactions that are shipped, and some rows of the clicks."""
    for split, rows in (("train", 240), ("test", 80)):
        table = pq.read_table(BUILTIN / "made-interactions" / f"{split}.parquet")
        pairs = zip(table["user"].to_pylist(), table["item"].to_pylist(), strict=True)
        few = [user < "reader-040" and item < "book-120" for user, item in pairs]
        (folder / "tiny-interactions").mkdir(exist_ok=True)
        pq.write_table(table.filter(few), folder / "tiny-interactions" / f"{split}.parquet")
        (folder / "tiny-clicks").mkdir(exist_ok=True)
        part = pq.read_table(BUILTIN / "made-clicks" / f"{split}.parquet").slice(0, rows)
        pq.write_table(part, folder / "tiny-clicks" / f"{split}.parquet")


def save(dataset, path):
    """Writes a dataset to a parquet file."""
    path.parent.mkdir(exist_ok=True)
    dataset.to_parquet(str(path))


def tiny(recipe, text):
    """A recipe on the data of `write`, small."""
    from jaxembed.fields import changed

    kind = type(recipe.task).__name__
    corpora = {
        "Words": {"data": str(text)},
        "Texts": {"data": str(text)},
        "Sentences": {"start.data": str(text), "frequencies": (str(text),)},
    }
    more = corpora.get(kind, {})
    epochs = {"epochs": 3, "reports": 6} if recipe.method.trained else {}
    return changed(recipe, CHANGES[kind] | more | epochs, skip_absent=True)
