"""What the tensors of a checkpoint are called and how they are laid out, in both directions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxembed.data.tokens import padding_first
from jaxembed.encoders.functional import Encoder, Variables
from jaxembed.sampling.random import key_of

Flat = dict[str, np.ndarray]  # arrays by the path of their variable: "blocks/0/attention/qkv/kernel"


class Layout(NamedTuple):
    """How tensors of a checkpoint become one array, and how this becomes so many tensors again."""

    into: Callable[..., np.ndarray]
    back: Callable[[np.ndarray, int], Sequence[np.ndarray]]


class Leaf(NamedTuple):
    """The tensors that one variable is made of."""

    names: tuple[str, ...]
    layout: Layout


Names = dict[str, Leaf]  # by the path of the variable

SAME = Layout(lambda x: x, lambda x, n: [x])
#: Several tensors one behind the other, such as the biases of queries, keys and values.
JOINED = Layout(lambda *xs: np.concatenate(xs, axis=-1), lambda x, n: np.split(x, n, axis=-1))
#: The same of matrices `[outputs, inputs]`, as PyTorch's linear maps have them.
TURNED = Layout(
    lambda *xs: np.concatenate([x.T for x in xs], axis=1), lambda x, n: [part.T for part in np.split(x, n, 1)]
)
#: Kernels of convolutions: theirs are `[outputs, inputs, height, width]`, ours `[height, width, inputs, outputs]`.
CONVOLUTION = Layout(lambda x: x.transpose(2, 3, 1, 0), lambda x, n: [x.transpose(3, 2, 0, 1)])


def patches(patch: int) -> Layout:
    """A convolution over patches, which is a linear map of `[patch * patch * channels]` pixels here."""
    into = lambda x: x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0])
    back = lambda x, n: [x.reshape(patch, patch, -1, x.shape[-1]).transpose(3, 2, 0, 1)]
    return Layout(into, back)


def shaped(
    theirs: Callable[[tuple[int, ...]], tuple[int, ...]], ours: Callable[[tuple[int, ...]], tuple[int, ...]]
) -> Layout:
    """The same numbers in another shape."""
    return Layout(lambda x: x.reshape(ours(x.shape)), lambda x, n: [x.reshape(theirs(x.shape))])


def words(rows: int, pad: int) -> Layout:
    """Token vectors of `rows` tokens, of which `pad` changes places with 0, since encoders here mask by 0.

    A `pad` behind the last row is a token more, with a vector of zeros.
    """
    size = max(rows, pad + 1)
    order = padding_first(size, pad)

    def into(x: np.ndarray) -> np.ndarray:
        return np.concatenate([x, np.zeros((size - len(x), x.shape[1]), x.dtype)])[order]

    return Layout(into, lambda x, n: [x[order][:rows]])


def behind(first: int) -> Layout:
    """Rows of which theirs are preceded by `first` others, which mean nothing: RoBERTa's positions."""
    return Layout(lambda x: x[first:], lambda x, n: [np.concatenate([np.zeros((first, x.shape[1]), x.dtype), x])])


def linear(*names: str, turned: bool = True) -> Names:
    """A linear map; several names stand side by side. turned: theirs is `[outputs, inputs]`."""
    kernels, biases = (tuple(f"{name}.{kind}" for name in names) for kind in ("weight", "bias"))
    return {"kernel": Leaf(kernels, TURNED if turned else JOINED), "bias": Leaf(biases, JOINED)}


def norm(name: str) -> Names:
    """A layer norm."""
    return {"scale": Leaf((f"{name}.weight",), SAME), "bias": Leaf((f"{name}.bias",), SAME)}


def batch_norm(name: str) -> Names:
    """A batch norm with its running statistics."""
    statistics = {ours: Leaf((f"{name}.running_{ours}",), SAME) for ours in ("mean", "var")}
    return norm(name) | statistics


def convolution(name: str) -> Names:
    """A convolution without a bias."""
    return {"kernel": Leaf((f"{name}.weight",), CONVOLUTION)}


def under(**parts: Names | Leaf) -> Names:
    """Names of parts, whose paths begin with theirs; `__` in a name stands for `/`."""
    found: Names = {}
    for part, names in parts.items():
        place = part.replace("__", "/")
        found |= (
            {place: names} if isinstance(names, Leaf) else {f"{place}/{path}": leaf for path, leaf in names.items()}
        )
    return found


def leaf(name: str, layout: Layout = SAME) -> Leaf:
    """A variable that is one tensor."""
    return Leaf((name,), layout)


def shapes_of(net: Encoder) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Shapes of an encoder's parameters and of what it keeps, by their paths; nothing is made."""
    params, kept = jax.eval_shape(net.init, key_of(0))
    return _shapes(params), _shapes(kept)


def wanted(net: Encoder, names: Names) -> dict[str, tuple[int, ...]]:
    """The tensors that an encoder is made of, with their shapes."""
    params, kept = shapes_of(net)
    blank = {path: np.broadcast_to(np.float32(0), shape) for path, shape in (params | kept).items()}
    return {name: x.shape for name, x in written(blank, names).items()}


def read(net: Encoder, names: Names, tensor: Callable[[str], np.ndarray]) -> tuple[Variables, Variables]:
    """An encoder's parameters and what it keeps, of tensors by their names."""

    def made(paths: Mapping[str, Any]) -> Variables:
        tree: Variables = {}
        for path in paths:
            *above, last = path.split("/")
            place = tree
            for part in above:
                place = place.setdefault(part, {})
            found = names[path].layout.into(*(tensor(name) for name in names[path].names))
            place[last] = np.ascontiguousarray(found, np.float32)
        return tree

    params, kept = shapes_of(net)
    return made(params), made(kept)


def written(arrays: Flat, names: Names) -> Flat:
    """The tensors of an encoder whose variables are `arrays`, by their names."""
    found: Flat = {}
    for path, x in arrays.items():
        of = names[path]
        found |= dict(zip(of.names, of.layout.back(x, len(of.names)), strict=True))
    return found


def flat(tree: Mapping[str, Any], above: str = "") -> Flat:
    """The arrays of nested dictionaries, by their paths."""
    found: Flat = {}
    for name, value in tree.items():
        found |= flat(value, f"{above}{name}/") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return found


def _shapes(tree: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {path: tuple(x.shape) for path, x in flat(tree).items()}
