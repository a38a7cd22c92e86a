"""`jaxembed export`."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Export:
    """Writes a run, or a file of word vectors, as a folder that sentence-transformers opens.

    A Transformer becomes BERT; a bag of words, and word vectors, become a StaticEmbedding.

        jaxembed export runs/simcse/seed-1 simcse-folder
        jaxembed export runs/skipgram-negative_sampling/seed-1 words-folder
    """

    run: Positional[Path]  # A run's folder, a checkpoint, or a file of word vectors.
    folder: Positional[Path]  # Folder to write, which must not hold anything yet.


def export(arguments: Export) -> None:
    """Writes the folder and prints how it is opened."""
    from jaxembed.exported import export as write

    folder = write(arguments.run, arguments.folder)
    print(f"{folder}: sentence_transformers.SentenceTransformer({str(folder)!r}) opens it")
