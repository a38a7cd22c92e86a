"""`jaxembed embed`, and `jaxembed neighbors` among the vectors that it wrote."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

if TYPE_CHECKING:
    from jaxembed.data.inputs import Things
    from jaxembed.trained import Model
    from jaxembed.trained_documents import DocumentModel
    from jaxembed.trained_graph import NodeModel
    from jaxembed.vectors import KeyedVectors

_WRITTEN = (".safetensors", ".npy", ".txt", ".gz")
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_NOTES = "embedded.json"


@dataclass(frozen=True)
class Embed:
    """Encodes sentences, documents, pictures or the nodes of a graph with the model of a run, and writes their vectors.

    `jaxembed neighbors RUN` searches the vectors that were written last.

        jaxembed embed runs/simcse/seed-1 sentences.txt
        jaxembed embed sentence-transformers/all-MiniLM-L6-v2 sentences.txt --output sentences.npy
        jaxembed embed runs/doc2vec/seed-1 new-documents.txt
        jaxembed embed runs/simclr/seed-1 pictures/ --output pictures.npy
        jaxembed embed runs/clip/seed-1 --data fashion-products --column image --split test
        jaxembed embed runs/graphsage/seed-1 links.tsv --nodes nodes.csv --features words --groups groups.csv
    """

    run: Positional[Path]  # A run's folder, or a checkpoint: a folder, or a model on the Hugging Face hub.
    # A text file with one sentence or document per line (blank lines are skipped), a folder of pictures, or a picture; of a graph
    # a table with one row per link.
    input: Positional[Path | None] = None
    data: str | None = None  # A dataset in place of a file: shipped, under JAXEMBED_DATA, or on the Hugging Face hub.
    column: str = "text"  # Column of the dataset with the texts or images.
    split: str | None = None  # Split of the dataset; by default the only one, or train; of a graph edges.
    config: str | None = None  # Configuration of the dataset.
    revision: str | None = None  # Commit or tag of a dataset on the hub.
    # File to write: .safetensors, whose keys are the sentences or files; .npy, without keys; or word2vec text, .txt or .gz, whose
    # keys have _ in place of white space. By default RUN/embedded.safetensors; of a model of the hub embedded.safetensors here.
    output: Path | None = None
    batch_size: int = 32  # Number of texts or pictures that are encoded at a time.
    normalize: bool = False  # Scale vectors to length 1.
    source: str = "source"  # Of a graph: column of a link's first node.
    target: str = "target"  # Of a graph: column of a link's second node.
    weight: str | None = None  # Of a graph: column of the links' weights.
    directed: bool = False  # Of a graph: whether a link leads from its first node to its second one only.
    nodes: str | None = "nodes"  # Of a graph: split with one row per node, or the path of a table of them.
    node: str = "node"  # Of a graph: column of the nodes' ids.
    features: str | None = None  # Of a graph: column of the nodes' features; None takes "features", if there is one.
    groups: Path | None = None  # Of a graph: also write the group of each node and its probability to this CSV file.


def embed(arguments: Embed) -> None:
    """Encodes the input, writes the vectors, and prints where."""
    from jaxembed.files import write_text
    from jaxembed.trained import Model, load
    from jaxembed.trained_documents import DocumentModel
    from jaxembed.trained_graph import NodeModel
    from jaxembed.vectors import KeyedVectors

    is_folder = arguments.run.is_dir()  # and no model of the hub
    output = arguments.output or (arguments.run if is_folder else Path()) / "embedded.safetensors"
    if output.suffix not in _WRITTEN:
        raise ValueError(f"{output}: name a file that ends in {', '.join(_WRITTEN)}")
    if (arguments.input is None) == (arguments.data is None):
        raise ValueError(
            "give a text file, a folder of pictures, a picture or a table of links to embed, or else --data NAME --column COLUMN"
        )
    model = load(arguments.run)
    if isinstance(model, KeyedVectors):
        raise ValueError(f"{arguments.run} holds vectors of words and no encoder: `jaxembed neighbors` searches them")
    if isinstance(model, NodeModel):
        found = _of_graph(arguments, model)
    elif not isinstance(model, Model | DocumentModel):
        raise ValueError(f"{arguments.run} is a {type(model).__name__}, which takes ids instead of texts or pictures")
    else:
        keys, things = _of_column(arguments, model) if arguments.data else _of_input(Path(str(arguments.input)))
        found = KeyedVectors(_unique(keys), model.encode(things, arguments.batch_size))
    vectors = found.get_normed_vectors() if arguments.normalize else found.vectors
    _write(output, KeyedVectors(found.index_to_key, vectors))
    if is_folder:
        # The path is relative, so that a run keeps its vectors when it is moved.
        file = output.name if output.parent == arguments.run else os.path.abspath(output)
        about = {"file": file, "from": arguments.data or str(arguments.input), "vectors": len(vectors)}
        write_text(arguments.run / _NOTES, json.dumps(about, indent=2) + "\n")
    print(f"{output}: {len(vectors):,} vectors of {vectors.shape[1]} dimensions")


def _of_graph(arguments: Embed, model: "NodeModel") -> "KeyedVectors":
    """Returns the vectors of the nodes of a graph; writes their groups if a file is named."""
    from jaxembed.data.graphs import read_graph
    from jaxembed.files import write_csv

    names = ("source", "target", "weight", "directed", "nodes", "node", "features", "config", "revision")
    graph = read_graph(
        str(arguments.data or arguments.input), split=arguments.split or "edges", width=model.width,
        **{name: getattr(arguments, name) for name in names},
    )  # fmt: skip
    if arguments.groups:
        rows = [(node, group, f"{chance:.6f}") for node, (group, chance) in model.predict(graph).items()]
        write_csv(arguments.groups, ("node", "group", "probability"), rows)
    return model.encode(graph)


def _of_input(path: Path) -> tuple[list[str], Sequence[Any]]:
    """Returns keys, and the inputs to encode."""
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in _PICTURES)
        if not found:
            raise ValueError(f"{path} holds no pictures, such as {', '.join(_PICTURES[:3])}")
        return [file.relative_to(path).as_posix() for file in found], found
    if path.suffix.lower() in _PICTURES:
        return [path.name], [path]
    texts = lines_of(path)
    return texts, texts


def lines_of(path: Path) -> list[str]:
    """Returns the lines of a text file that are not blank. Raises ValueError if there are none, and for what is not UTF-8."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").split("\n")]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text in UTF-8 ({error.reason} at byte {error.start})") from None
    texts = [line for line in lines if line]
    if not texts:
        raise ValueError(f"{path} holds no text")
    return texts


def _of_column(arguments: Embed, model: "Model | DocumentModel") -> tuple[list[str], "Things"]:
    from jaxembed.data.columns import open_split, rows_of
    from jaxembed.data.images import read_images
    from jaxembed.data.inputs import ImageInput
    from jaxembed.data.pairs import read_sentences

    where: dict[str, Any] = {"split": arguments.split, "config": arguments.config, "revision": arguments.revision}
    kind = (
        rows_of(open_split(str(arguments.data), **where), [arguments.column])
        .features.arrow_schema.field(arguments.column)
        .type
    )
    image = model.inputs.get("image")
    if isinstance(image, ImageInput) and ("text" not in model.inputs or "binary" in str(kind)):
        size, channels = (image.height, image.width), image.channels
        found = read_images(
            str(arguments.data), column=arguments.column, label=None, size=size, channels=channels, **where
        )
        return [str(row) for row in range(len(found))], found.images
    texts = read_sentences(str(arguments.data), column=arguments.column, **where).texts
    return [" ".join(text.split()) for text in texts], texts


def _unique(keys: Sequence[str]) -> list[str]:
    """Makes keys unique: the second "a dog" becomes "a dog (2)"."""
    seen: Counter[str] = Counter()
    taken, unique = set(keys), []
    for key in keys:
        seen[key] += 1
        name = key
        while seen[key] > 1 and name in taken:
            name = f"{key} ({seen[key]})"
            seen[key] += name in taken
        taken.add(name)
        unique.append(name)
    return unique


def _write(output: Path, vectors: "KeyedVectors") -> None:
    import numpy as np

    from jaxembed.files import replacing
    from jaxembed.vectors import KeyedVectors

    if output.suffix == ".safetensors":
        vectors.save(output)
    elif output.suffix == ".npy":
        with replacing(output) as part, open(part, "wb") as file:
            np.save(file, vectors.vectors)
    else:
        keys = _unique(["_".join(key.split()) for key in vectors.index_to_key])
        KeyedVectors(keys, vectors.vectors).save_word2vec_format(output)


def search(run: Path, queries: Sequence[str], topn: int, among: Path | None) -> None:
    """Prints the nearest of the embedded texts or pictures for each query."""
    from jaxembed.terminal import show_near
    from jaxembed.trained import load
    from jaxembed.vectors import load_vectors

    notes = run / _NOTES
    model: Any = load(run)
    own = getattr(
        model, "documents", None
    )  # what a run of documents has learned may be searched without embedding anything
    if among is None and not notes.exists() and own is None:
        raise ValueError(
            f"{run} has not embedded anything yet: run `jaxembed embed {run} FILE` first, or name vectors with --among"
        )
    path = among or (run / json.loads(notes.read_text(encoding="utf-8"))["file"] if notes.exists() else None)
    if path is not None and path.suffix == ".npy":
        raise ValueError(f"{path} holds no keys: embed once more with an --output that ends in .safetensors")
    vectors = own if path is None else load_vectors(path)
    for query in queries:
        if vectors is own and own is not None and query in own:
            show_near(query, "neighbour", own.most_similar(query, topn=topn))
            continue
        is_file = "image" in model.inputs and ("text" not in model.inputs or Path(query).is_file())
        show_near(query, "neighbour", model.search(Path(query) if is_file else query, vectors, topn))
