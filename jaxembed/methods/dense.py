"""The common part of methods with encoders: examples on the device, batches without replacement, encoding in parts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.encoders.functional import Encoder
from jaxembed.methods.examples import ExampleMethod
from jaxembed.objectives import cached, pairwise
from jaxembed.pretrained import Part, Parts, opened
from jaxembed.pretrained.names import shapes_of
from jaxembed.ranges import Count, Range
from jaxembed.training.method import Batch, Loss, Method, Params, Shard, Source

Examples = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class DenseMethod(ExampleMethod):
    """Methods that train encoders. The functions of the engine's contract follow from what such a method declares."""

    # Number of examples in one step. A pass leaves out what does not fill its last batch, other examples in each pass.
    batch_size: Annotated[int, Range(least=2, why="an example is compared with the others of its batch")] = 256
    # Number of examples, the first of the data, whose vectors are watched during training.
    watch: Annotated[int, Range(least=2)] = 1024
    # Number of bytes on the device. Larger data come in pieces of this size, and the next is read while one is trained on.
    device_bytes: Count = 2 << 30
    # Number of rows that are encoded at a time, for batches whose activations do not fit (gradient caching); None encodes all.
    encode_chunk: Count | None = None

    # What a method declares.

    def examples(self, data: Any) -> dict[str, np.ndarray]:
        """Returns arrays with one row per example."""
        raise NotImplementedError

    def nets(self) -> dict[str, Any]:
        """Returns the encoders and heads, `{name: Encoder}`."""
        raise NotImplementedError

    def encode(self, net: Any, kept: Any, examples: Mapping[str, jax.Array]) -> jax.Array:
        """Returns the vectors of a batch, `[b, vector_size]`, without augmentation, dropout or head."""
        raise NotImplementedError

    # The engine's contract.

    def suited_to(self, data: Any) -> Self:
        """Chooses batches no larger than the data."""
        n = len(next(iter(self.examples(data).values())))
        if n < 2:
            raise ValueError(f"there is {n} example to train on: a batch needs two or more")
        return replace(self, batch_size=min(self.batch_size, n))

    def source(self, data: Any) -> Source:
        """Returns all examples as one piece, or as pieces under `device_bytes`, of which the last is filled from the start."""
        examples = self.examples(data)
        pieces = max(1, -(-sum(column.nbytes for column in examples.values()) // self.device_bytes))
        watched = {name: np.ascontiguousarray(column[: self.watch]) for name, column in examples.items()}
        return Source.cut(examples, pieces, {"watch": watched}, refill=True)

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts with fresh encoders and heads, each from its own key."""
        nets = self.nets()
        built = {
            name: net.init(one) for (name, net), one in zip(nets.items(), jax.random.split(key, len(nets)), strict=True)
        }
        return Params(
            {}, {name: params for name, (params, _) in built.items()}, {name: kept for name, (_, kept) in built.items()}
        )

    def vectors(self, params: Params, constants: Mapping[str, Any]) -> jax.Array:
        """Returns the vectors of the watched examples."""
        return self.encode(params.net, params.kept, constants["watch"])

    def run(
        self,
        name: str,
        net: Any,
        kept: Any,
        *inputs: Any,
        train: bool = False,
        key: jax.Array | None = None,
        **options: Any,
    ) -> tuple[jax.Array, dict]:
        """Returns the output of the net called `name`, and its statistics afterwards.

        A file keeps no empty dictionaries. In place of its parameters, `net` may hold a live module, as in
        `jaxembed.trained.TrainedNet`.
        """
        if callable(net.get(name)):
            return net[name](*inputs, **options), {}
        return self.nets()[name].apply(net.get(name, {}), kept.get(name, {}), *inputs, train=train, key=key, **options)

    def encoded(self, name: str, net: Any, kept: Any, inputs: jax.Array, key: jax.Array) -> tuple[jax.Array, dict]:
        """Like `run` of a batch in training, with `encode_chunk` rows at a time if that is set."""
        if self.encode_chunk is None:
            return self.run(name, net, kept, inputs, train=True, key=key)
        if jax.tree.leaves(kept.get(name, {})):
            raise ValueError(
                f"encode_chunk cuts the batch, but {name} needs statistics of the whole batch: leave it out, or choose a ViT"
            )
        encode = lambda rows, key: self.run(name, net, kept, rows, train=True, key=key)[0]
        return cached(encode, inputs, self.encode_chunk, key), kept.get(name, {})


@dataclass(frozen=True)
class EncoderMethod(DenseMethod):
    """Methods of texts and pictures, whose encoders may start from trained ones."""

    # What the encoders' weights are at the start: those of a checkpoint of others (a folder, or a model of the Hugging Face hub,
    # OWNER/MODEL) or of a run. The encoders, the tokenizer and the size of pictures are then those of the checkpoint, and
    # the learning rate of a Transformer or ViT is 3e-5, unless others are given. None starts from random numbers.
    start: str | None = None

    #: The fields that are encoders, and what these take.
    takes: ClassVar[Mapping[str, str]] = {"encoder": "text"}

    def with_(self, **values: Any) -> Self:
        """The same with other hyper-parameters; with another `start` the encoders are those of the checkpoint."""
        if values.get("start") and values["start"] != self.start:
            parts = opened(values["start"])
            values = self.started(parts) | values | {"start": parts.pinned}
        return super().with_(**values)

    def started(self, parts: Parts) -> dict[str, Any]:
        """Returns the hyper-parameters that come from a checkpoint. Raises ValueError if it has no encoder of that kind."""
        if missing := [kind for kind in self.takes.values() if kind not in parts.nets]:
            what = {"text": "texts", "image": "pictures"}
            raise ValueError(
                f"{parts.name} has no encoder of {' and '.join(what[kind] for kind in missing)}, which {type(self).__name__} "
                f"starts from: it has one of {' and '.join(what[kind] for kind in parts.nets if kind in what)}"
            )
        return {name: parts.nets[kind].encoder for name, kind in self.takes.items()}

    @property
    def start_fingerprint(self) -> str | None:
        """The fingerprint of the weights that `start` has."""
        return None if self.start is None else opened(self.start).fingerprint

    def for_texts(self, net: Encoder, vocab_size: int, length: int) -> Encoder:
        """Returns an encoder for texts of so many tokens, or as the checkpoint has it that it starts from."""
        if self.start is None:
            return net.for_texts(vocab_size, length)
        own = opened(self.start).nets["text"].encoder
        if own.longest is not None and length > own.longest:
            raise ValueError(
                f"texts of {length} tokens are longer than the {own.longest} that {self.start} reads: choose at most these"
            )
        if vocab_size > own["vocab_size"]:
            raise ValueError(
                f"the tokenizer has {vocab_size} tokens and {self.start} vectors of {own['vocab_size']}: use its own tokenizer "
                f"(--tokenizer {self.start})"
            )
        return net.for_texts(own["vocab_size"], own.longest or length)

    def source(self, data: Any) -> Source:
        """As DenseMethod's, with the weights that encoders start from; ValueError for encoders that are not the checkpoint's."""
        source = super().source(data)
        if self.start is None:
            return source
        weights = {}
        for name, one in self.started_nets(opened(self.start)).items():
            ours = self.nets()[name]
            if shapes_of(ours) != shapes_of(one.encoder):
                differences = _differences(ours, one.encoder)
                raise ValueError(
                    f"the {name} is not that of {self.start}: leave its sizes as they are there ({differences})"
                )
            weights[name] = (one.params, one.kept)
        return replace(source, constants={**source.constants, "start_weights": weights})

    def started_nets(self, parts: Parts) -> dict[str, Part]:
        """Returns the trained parts, by the names of this method's nets."""
        return {name: parts.nets[kind] for name, kind in self.takes.items() if name in self.nets()}

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts with fresh encoders and heads, or with what was trained."""
        params = super().init(key, constants)
        for name, (learned, kept) in constants.get("start_weights", {}).items():
            params.net[name], params.kept[name] = jax.tree.map(jnp.asarray, (learned, kept))
        return params


def _differences(ours: Encoder, theirs: Encoder) -> str:
    if ours.kind != theirs.kind:
        return f"it is a {ours.kind} and there a {theirs.kind}"
    names = dict.fromkeys(name for one in (theirs, ours) for name, _ in one.settings)
    return ", ".join(f"{name}: {ours[name]} and there {theirs[name]}" for name in names if ours[name] != theirs[name])


def summed(loss: jax.Array, examples: int, kept: Any) -> Loss:
    """Returns a mean loss with its metrics, which are sums over the examples."""
    return Loss(loss, {"loss": loss * examples, "weight": jnp.float32(examples)}, kept)


def named_objective(name: str, temperature: float) -> Any:
    """Returns the pairwise objective of that name, with this temperature if it has one."""
    objective = pairwise(name)
    return replace(objective, temperature=temperature) if hasattr(objective, "temperature") else objective


@dataclass(frozen=True)
class Fixed(Method):
    """Methods without training: one step, which changes nothing, since a warm-up makes its rate 0 or no weights decay."""

    trained: ClassVar[bool] = False

    def steps(self, shard: Shard) -> int:
        """A pass is one step."""
        return 1

    def loss(self, rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns zero."""
        return summed(jnp.float32(0), len(next(iter(batch.values()))), kept)


def embed(
    method: DenseMethod, params: Params, examples: Examples, batch: int = 512, encode: Callable | None = None
) -> np.ndarray:
    """Encodes all examples in batches of one shape, of which the last is filled up: vectors, float32 `[n, d]`.

    `encode` takes the place of `method.encode`, for methods with one tower per kind of input.
    """
    n = len(next(iter(examples.values())))
    if n == 0:
        raise ValueError("there is nothing to encode: give at least one example")
    batch = min(batch, n)
    encode = encode or method.encode
    params = jax.device_put(params)
    parts = []
    for start in range(0, n, batch):
        part = {name: column[start : start + batch] for name, column in examples.items()}
        filled = {
            name: np.concatenate([c, np.repeat(c[-1:], batch - len(c), 0)]) if len(c) < batch else c
            for name, c in part.items()
        }
        parts.append(_encoded(encode, params.net, params.kept, filled)[: len(next(iter(part.values())))])
    return np.asarray(jnp.concatenate(parts), np.float32)


@partial(jax.jit, static_argnums=0)
def _encoded(encode: Callable, net: Any, kept: Any, examples: Examples) -> jax.Array:
    return encode(net, kept, examples)
