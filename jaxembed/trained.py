"""Use of a finished run: `load(RUN)` gives vectors of words, or an encoder with the methods of sentence-transformers."""

import json
import os
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy.special import softmax

from jaxembed.data.documents import DocumentInput
from jaxembed.data.fields import FieldsInput
from jaxembed.data.histories import HistoryInput
from jaxembed.data.inputs import Input, NodeInput, TextInput, kind_of, listed
from jaxembed.methods.image_text import CLIP, LARGEST_SCALE
from jaxembed.methods.images import Untrained
from jaxembed.methods.knowledge import KnowledgeMethod
from jaxembed.methods.sentences import UntrainedSentences
from jaxembed.pretrained import Parts, open_parts
from jaxembed.pretrained.files import is_checkpoint, on_hub
from jaxembed.recommender import ClickModel, Recommender
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.sampling.random import key_of
from jaxembed.study.run import Run, flat
from jaxembed.tracking.console import progress_bar
from jaxembed.trained_documents import DocumentModel
from jaxembed.trained_graph import KnowledgeModel, NodeModel
from jaxembed.training.method import Params
from jaxembed.vectors import KeyedVectors, load_vectors

#: What a method makes of nets, of what is kept beside them, and of examples.
Function = Callable[[Any, Any, Mapping[str, jax.Array]], jax.Array]


class TrainedNet(nnx.Module):
    """A trained method as a Flax module: called with a batch, it gives the vectors, with `train=True` as in training.

    Its nets are attributes under the names that the method has for them (`encoder`, `head`; of two towers `image`, `text`,
    `image_head`, `text_head`), and so is what else it has learned (`nnx.Param`) or carries along (`nnx.Variable`).
    """

    def __init__(self, method: Any, params: Params, columns: Mapping[int, str]):
        nets = method.nets()
        self.method, self.columns = method, tuple(columns.items())
        self.nets = tuple(nets)
        self.learned = tuple(name for name in params.net if name not in nets)
        self.carried = tuple(name for name, value in params.kept.items() if not isinstance(value, dict))
        params = jax.tree.map(jnp.asarray, params)
        for name, net in nets.items():  # files keep no dictionary that is empty
            setattr(self, name, net.module(params.net.get(name, {}), params.kept.get(name, {})))
        for name in self.learned:
            setattr(self, name, nnx.Param(params.net[name]))
        for name in self.carried:
            setattr(self, name, nnx.Variable(params.kept[name]))

    def __call__(
        self, batch: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None, function: Function | None = None
    ) -> jax.Array:
        """Vectors `[b, d]` of pixels, uint8 `[b, h, w, c]`, or of token ids, `[b, l]`, which `Model.inputs` makes.

        train: dropout, for which `rngs` has the stream "dropout", and statistics of the batch, which move those that are
        kept; images are not augmented. function: that of the method whose result is wanted, such as a classifier's `logits`; None
        is its `encode`. Raises ValueError for a batch that is none of what the model takes.
        """
        columns = dict(self.columns)
        if batch.ndim not in columns:
            known = " or ".join(f"{name} of {rank} axes" for rank, name in columns.items())
            raise ValueError(f"this model takes {known}, not an array of shape {batch.shape}")
        # The method's own `encode` says how its nets are put together; here they are live modules and no trees of arrays.
        net = {name: partial(getattr(self, name), train=train, rngs=rngs) for name in self.nets}
        net |= {name: getattr(self, name)[...] for name in self.learned}
        kept = {name: getattr(self, name)[...] for name in self.carried}
        return (function or self.method.encode)(net, kept, {columns[batch.ndim]: batch})


class Model:
    """A trained encoder: `encode` makes vectors of texts or pictures, `similarity` compares them, `search` finds some.

    It is that of a run, or of a checkpoint of others. module: the nets, a Flax module. It may be trained further, alone or
    within a larger net: the model then encodes with what it has become. inputs: what turns texts ("text") and pictures ("image")
    into its batches. name: what it is shown as.
    """

    def __init__(self, module: TrainedNet, inputs: Mapping[str, Input], name: str = ""):
        self.module, self.inputs = module, dict(inputs)
        self.name = name or type(module.method).__name__
        self._told = False

    def __repr__(self) -> str:
        kinds = {"text": "texts", "image": "pictures"}
        takes = " and ".join(kinds.get(kind, kind) for kind in self.inputs)
        return f"Model<{self.name}, takes {takes}, vector_size={self.vector_size}>"

    @cached_property
    def vector_size(self) -> int:
        """The dimension d of the vectors."""
        blank = next(iter(self.inputs.values())).blank(1)
        return jax.eval_shape(self.module, blank).shape[-1]

    def encode(
        self,
        inputs: Any,
        batch_size: int = 32,
        normalize: bool = False,
        show_progress_bar: bool | None = None,
        *,
        normalize_embeddings: bool = False,
        truncate: bool = True,
    ) -> np.ndarray:
        """Vectors float32 `[n, d]`, in the order of `inputs`, or `[d]` where one thing is given by itself.

        inputs: strings; or pictures: paths (`pathlib.Path`), Pillow images, arrays of uint8 `[h, w, c]` or all together
        `[n, h, w, c]`. They are tokenised, or resized, as in training, and encoded `batch_size` at a time, texts sorted by their
        length. normalize (or normalize_embeddings): scales vectors to length 1. show_progress_bar: None shows one on a terminal
        when it takes some seconds. truncate: cuts texts that are longer than the model takes, and warns of the first ones;
        False raises ValueError for them.

        Raises ValueError for what the model does not take, a blank text, a picture that cannot be read, and no input at all.
        """
        vectors, single = self._all(None, self.vector_size, inputs, batch_size, show_progress_bar, truncate)
        vectors = _unit(vectors) if normalize or normalize_embeddings else vectors
        return vectors[0] if single else vectors

    def _all(
        self,
        function: Function | None,
        width: int,
        inputs: Any,
        batch_size: int,
        show_progress_bar: bool | None,
        truncate: bool,
    ) -> tuple[np.ndarray, bool]:
        """What a function of the method makes of inputs, float32 `[n, width]`, and whether a single one was given."""
        things, single = listed(inputs)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        # What this model does not take is refused by the input that it has.
        takes: Any = self.inputs.get(kind_of(things[0]) or "") or next(iter(self.inputs.values()))
        # Batches are filled up to one shape, or to a power of two where there are few, so that little is compiled.
        size = min(batch_size, 1 << (len(things) - 1).bit_length())
        graph, state = nnx.split(self.module)
        found = np.empty((len(things), width), np.float32)
        with progress_bar(len(things), show_progress_bar) as advance:
            for places, batch in takes.batches(things, size, partial(self._too_long, takes, truncate)):
                found[places] = np.asarray(_computed(graph, function, state, batch), np.float32)[: len(places)]
                advance(len(places))
        return found, single

    def _too_long(self, takes: Any, truncate: bool, texts: int) -> None:
        """Refuses texts that are longer than the model takes, or warns once that they are cut."""
        verb = "is" if texts == 1 else "are"
        what = f"{texts} of the texts {verb} longer than the {takes.max_length} tokens that this model takes"
        if not truncate:
            raise ValueError(f"{what}: shorten them, or leave truncate=True, which cuts them")
        if not self._told:
            warnings.warn(f"{what}, and cut to these (this warning comes once)", stacklevel=4)
            self._told = True

    def similarity(self, a: Any, b: Any) -> np.ndarray:
        """Cosines `[n, m]` of vectors `[n, d]` with `[m, d]` (or `[d]`, for one), as `encode` makes them."""
        pair = [np.atleast_2d(np.asarray(side)) for side in (a, b)]
        for side in pair:
            if side.ndim != 2 or side.dtype.kind != "f" or side.shape[1] != pair[0].shape[1]:
                shapes = f"{pair[0].dtype} {pair[0].shape} and {pair[1].dtype} {pair[1].shape}"
                raise ValueError(f"expected vectors [n, d] and [m, d], as encode makes them, found {shapes}")
        return _unit(pair[0]) @ _unit(pair[1]).T

    def search(self, query: Any, among: KeyedVectors, topn: int = 10) -> list[tuple[str, float]]:
        """The `topn` of some vectors that are nearest to a text or picture: (key, cosine); its own key is left out."""
        if among.vector_size != self.vector_size:
            raise ValueError(
                f"this model's vectors have {self.vector_size} dimensions, those to search {among.vector_size}: they are "
                "another model's"
            )
        found = among.similar_by_vector(self.encode(query), topn + 1)
        return [(key, cosine) for key, cosine in found if key != str(query)][:topn]


class ClassifierModel(Model):
    """A trained classifier of texts: `predict` gives their classes, and `encode` the vectors that they are predicted from."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by number."""
        return self.inputs["text"].classes  # pyright: ignore[reportAttributeAccessIssue]

    def __repr__(self) -> str:
        return f"ClassifierModel<{self.name}, {len(self.classes)} classes, vector_size={self.vector_size}>"

    def predict(self, inputs: Any, batch_size: int = 32) -> list[str] | str:
        """The most likely class of each text, or of one that is given by itself; errors are those of `encode`."""
        chances = self.predict_proba(inputs, batch_size)
        if chances.ndim == 1:
            return self.classes[int(chances.argmax())]
        return [self.classes[i] for i in chances.argmax(1)]

    def predict_proba(
        self, inputs: Any, batch_size: int = 32, show_progress_bar: bool | None = None, *, truncate: bool = True
    ) -> np.ndarray:
        """The probability of each class, float32 `[n, classes]`, or `[classes]` of one text; arguments are those of `encode`."""
        scores, single = self._all(
            self.module.method.logits, len(self.classes), inputs, batch_size, show_progress_bar, truncate
        )
        chances = softmax(scores, axis=1)
        return chances[0] if single else chances


def load(
    path: str | os.PathLike,
) -> KeyedVectors | Model | ClassifierModel | DocumentModel | KnowledgeModel | NodeModel | Recommender | ClickModel:
    """Opens a finished run, a checkpoint of others, or a file of vectors (as `load_vectors` does).

    A run is `KeyedVectors` of words or nodes, the `Model` of an encoder, the `ClassifierModel` of texts with classes, the
    `NodeModel` of nodes, the `KnowledgeModel` of a knowledge graph, a `DocumentModel`, a `Recommender`, or a `ClickModel` of
    fields. A checkpoint is a `Model`. It is a folder with a config.json and safetensors, or a model on the Hugging Face hub
    (OWNER/MODEL, or OWNER/MODEL@REVISION), of an architecture in `jaxembed.pretrained.families.FAMILIES`.

    No data are read. Raises FileNotFoundError where there is no run, weights or tokenizer, and ValueError for a run that is not
    finished, for one whose method this version does not know, which names the version that recorded it, and for a checkpoint that
    encoders here cannot have. Raises ConnectionError where the hub is needed and cannot be reached.
    """
    folder = Path(path)
    if on_hub(path) or (folder.is_dir() and is_checkpoint(folder)):
        return _model(open_parts(path))
    if not folder.is_dir():
        return load_vectors(folder)
    run = Run.open(folder)
    if not run.finished:
        raise ValueError(f"{folder} is not finished: the command that began it goes on with it")
    if not (folder / "encoder.safetensors").exists():
        if '"Encoder"' in json.dumps(run.settings.get("method")):
            raise FileNotFoundError(
                f"{folder} has no encoder.safetensors, its weights, so that it cannot encode; train it again, as `jaxembed "
                "reproduce RUN --output FOLDER` does (jaxembed.load_vectors opens the vectors that it kept, if any)"
            )
        return run.vectors()
    method, params = _method(run), run.encoder()
    if isinstance(method, KnowledgeMethod):
        graph: Any = run.inputs()["graph"]
        return KnowledgeModel(method, params, graph.graph, run.vectors())
    if run.has_inputs("history", "fields", "documents", "nodes"):
        inputs, vectors = dict[str, Any](run.inputs()), run.vectors()
        if isinstance(nodes := inputs.get("nodes"), NodeInput):
            return NodeModel(method, params, nodes.groups, vectors)
        if isinstance(history := inputs.get("history"), HistoryInput):
            return Recommender(method, params, history, vectors)
        if isinstance(fields := inputs.get("fields"), FieldsInput):
            return ClickModel(method, params, fields, vectors)
        if isinstance(words := inputs.get("documents"), DocumentInput):
            return DocumentModel(method, params, words, vectors)
    for name, net in method.nets().items():
        wanted = jax.eval_shape(net.init, key_of(0))
        there = (params.net.get(name, {}), params.kept.get(name, {}))
        if any(_shapes(ours) != _shapes(theirs) for ours, theirs in zip(wanted, there, strict=True)):
            raise ValueError(f"the weights in {folder} are not those of this version's {net.kind}: {_recorded(run)}")
    inputs = run.inputs()
    if not inputs:
        raise ValueError(f"{folder} does not say how texts or pictures become its examples: its task has no inputs")
    if isinstance(text := inputs.get("text"), TextInput):
        takes = [net.longest for net in method.nets().values() if net.longest is not None]
        inputs["text"] = text.within(min(takes, default=None))
    kind = ClassifierModel if getattr(inputs.get("text"), "classes", ()) else Model
    return kind(TrainedNet(method, params, {one.rank: one.column for one in inputs.values()}), inputs)


def _model(parts: Parts) -> Model:
    """The model of a checkpoint: its encoders, in the methods whose encoders they could be."""
    nets, views = parts.nets, Augmentation(mean=parts.mean, std=parts.std)
    heads = [net for name, net in nets.items() if name.endswith("_head")]
    if heads:
        scale = min(parts.scale or 1.0, LARGEST_SCALE)
        method: Any = CLIP(
            image_encoder=nets["image"].encoder, text_encoder=nets["text"].encoder, vector_size=heads[0].encoder.vector_size,
            augmentation=views, scale=scale, projection_bias=heads[0].encoder["bias"],
        )  # fmt: skip
    elif "text" in nets:
        method = UntrainedSentences(encoder=nets["text"].encoder)
    else:
        method = Untrained(encoder=nets["image"].encoder, augmentation=views, projection=())
    called = nets if heads else {"encoder": nets["text" if "text" in nets else "image"]}
    learned = {"log_scale": np.float32(np.log(method.scale))} if heads else {}
    params = Params(
        {},
        {name: one.params for name, one in called.items()} | learned,
        {name: one.kept for name, one in called.items()},
    )
    columns = {one.rank: one.column for one in parts.inputs.values()}
    return Model(TrainedNet(method, params, columns), parts.inputs, Path(parts.name).name)


def _method(run: Run) -> Any:
    """The method of a run as it was trained."""
    from jaxembed.study.recorded import rebuilt

    try:
        return rebuilt(run.trained_method)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{run.folder} is of another version: {error}; {_recorded(run)}") from error


def _recorded(run: Run) -> str:
    facts = run.environment
    version = facts.get("versions", {}).get("jaxembed")
    return f"it was recorded by jaxembed {version} at the commit {facts.get('commit') or 'unknown'}: use that"


def _shapes(tree: Mapping[str, Any]) -> dict[tuple[str, ...], tuple[int, ...]]:
    return {path: leaf.shape for path, leaf in flat(tree)}


@partial(jax.jit, static_argnums=(0, 1))
def _computed(graph: Any, function: Function | None, state: Any, batch: jax.Array) -> jax.Array:
    return nnx.merge(graph, state)(batch, function=function)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
