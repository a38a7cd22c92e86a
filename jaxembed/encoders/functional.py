"""Flax NNX modules as pure functions of their variables, so that the engine can scan, vmap, shard and save them."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import jax
from flax import nnx

from jaxembed.encoders.bag import Bag
from jaxembed.encoders.heads import Head
from jaxembed.encoders.resnet import ResNet
from jaxembed.encoders.sage import SAGE
from jaxembed.encoders.transformer import Transformer
from jaxembed.encoders.vit import ViT
from jaxembed.encoders.words import Words
from jaxembed.naming import unknown
from jaxembed.ranges import declared_by

Variables = dict[str, Any]

#: Flax modules by the names that settings give them. `ENCODERS["mine"] = Mine` makes another one an encoder, with its settings.
ENCODERS: dict[str, type[nnx.Module]] = {
    "vit": ViT,
    "resnet": ResNet,
    "transformer": Transformer,
    "bag": Bag,
    "head": Head,
    "sage": SAGE,
    "words": Words,
}

#: Variables of encoders that are vectors of places and no maps, in tables though they stand: weight decay leaves them alone.
PLACES = ("class_token", "position_embedding")

#: Settings of encoders that are the data's, whatever is asked for.
OF_DATA = ("image_size", "channels", "vocab_size", "input_size")


@dataclass(frozen=True)
class Encoder:
    """A module yet to be made: its kind and its settings, as `encoder` makes it. It can be hashed, compared and saved."""

    kind: str
    settings: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self):
        if self.kind not in ENCODERS:
            raise unknown("encoder", self.kind, ENCODERS)
        object.__setattr__(self, "settings", tuple(sorted((name, _frozen(value)) for name, value in self.settings)))
        known = parameters(self.kind)
        for name, value in self.settings:
            if name not in known:
                raise unknown(f"{self.kind} setting", name, known)
            if ranged := declared_by(known[name].annotation):
                ranged.check(name, value)

    def __getitem__(self, name: str) -> Any:
        """A setting, or its default."""
        given = dict(self.settings)
        return given[name] if name in given else parameters(self.kind)[name].default

    def __contains__(self, name: str) -> bool:
        return name in dict(self.settings)

    def with_(self, **settings: Any) -> "Encoder":
        """The same with other settings."""
        return replace(self, settings=tuple((dict(self.settings) | settings).items()))

    @property
    def longest(self) -> int | None:
        """How many tokens of a text it takes; None where it takes any number."""
        return self["max_length"] if "max_length" in parameters(self.kind) else None

    def for_texts(self, vocab_size: int, max_length: int) -> "Encoder":
        """The same for so many tokens; and for texts of that length, where it takes no text of any length."""
        length = {} if self.longest is None else {"max_length": max_length}
        return self.with_(vocab_size=vocab_size, **length)

    def init(self, key: jax.Array) -> tuple[Variables, Variables]:
        """Fresh parameters, and what training keeps beside them (running statistics; {} where there are none)."""
        _, params, kept = nnx.split(_module(self, nnx.Rngs(params=key)), nnx.Param, ...)
        return _plain(params), _plain(kept)

    def apply(
        self,
        params: Variables,
        kept: Variables,
        *inputs: Any,
        train: bool = False,
        key: jax.Array | None = None,
        call: str = "__call__",
        **options: Any,
    ) -> tuple[jax.Array, Variables]:
        """What the module's method `call` gives for `inputs`, and its statistics after; `key` is for dropout."""
        module = self.module(params, kept)
        rngs = None if key is None else nnx.Rngs(dropout=key)
        output = getattr(module, call)(*inputs, train=train, rngs=rngs, **options)
        return output, _plain(nnx.state(module, nnx.Not(nnx.Param)))

    def module(self, params: Variables, kept: Variables) -> Any:
        """The Flax module with these variables."""
        return nnx.merge(_graph(self), _with_numbers(params), _with_numbers(kept))

    @property
    def vector_size(self) -> int:
        """Width of the output."""
        return _abstract(self).vector_size


def encoder(kind: str, **settings: Any) -> Encoder:
    """The encoder registered as `kind`, with its settings: `encoder("vit", patch=4, hidden_size=192)`.

    Raises ValueError that lists the kinds, or the settings of this kind, where there is none of that name.
    """
    return Encoder(kind, tuple(settings.items()))


def parameters(kind: str) -> dict[str, inspect.Parameter]:
    """The settings of a kind of encoder, with their defaults."""
    found = inspect.signature(ENCODERS[kind].__init__).parameters
    return {name: parameter for name, parameter in found.items() if name not in ("self", "rngs")}


def _module(spec: Encoder, rngs: nnx.Rngs) -> Any:
    settings: Mapping[str, Any] = {k: _dtype(k, v) for k, v in spec.settings}
    make: Any = ENCODERS[spec.kind]
    return make(**settings, rngs=rngs)


def _dtype(name: str, value: Any) -> Any:
    return jax.numpy.dtype(value) if name == "dtype" else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(one) for one in value) if isinstance(value, list | tuple) else value


@cache
def _abstract(spec: Encoder) -> Any:
    return nnx.eval_shape(lambda: _module(spec, nnx.Rngs(0)))


@cache
def _graph(spec: Encoder) -> Any:
    return nnx.split(_abstract(spec), nnx.Param, ...)[0]


def _plain(state: Any) -> Variables:
    """Nested dictionaries of arrays with strings for keys, as checkpoints and files have them."""
    named = lambda tree: {str(k): named(v) for k, v in tree.items()} if isinstance(tree, dict) else tree
    return named(nnx.to_pure_dict(state))


def _with_numbers(tree: Any) -> Any:
    """The keys of lists are numbers again."""
    number = lambda key: int(key) if key.isdigit() else key
    return {number(k): _with_numbers(v) for k, v in tree.items()} if isinstance(tree, dict) else tree
