"""How the dense rest of a method, encoders and heads, is trained: optax's optimisers and the schedule of the rate."""

from dataclasses import dataclass
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import DictKey, tree_map_with_path

from jaxembed.encoders.functional import PLACES
from jaxembed.naming import unknown
from jaxembed.ranges import Checked, Count, CountOrZero, NotNegative, Positive, Range, ShareBelowOne

OPTIMIZERS = ("adam", "adamw", "adagrad", "lars", "sgd")
SCHEDULES = ("linear", "cosine", "constant")


@dataclass(frozen=True)
class Dense(Checked):
    """Optimiser, decay and the schedule of the learning rate; the rate itself is `Training.learning_rate`."""

    # Optimiser of encoders and heads: adam, adamw (its decay is apart from the gradient: Loshchilov and Hutter 2019), adagrad
    # (from 0, with an eps of 1e-10, as PyTorch's), lars (You et al. 2017), or sgd.
    optimizer: str = "adam"
    # Weight decay of matrices and kernels; biases, norms, class tokens and position embeddings do not decay. Only adamw, lars
    # and sgd take one.
    weight_decay: NotNegative = 0.0
    # Coupled L2: so many times the matrices that would decay is added to their gradients, before the optimiser sees these. With
    # adam it is what graph networks call weight decay (Kipf and Welling 2017).
    l2: NotNegative = 0.0
    decay_places: bool = False  # Let class tokens and position embeddings decay too, as in runs of older versions.
    momentum: ShareBelowOne = 0.9  # Momentum of lars and sgd.
    b1: ShareBelowOne = 0.9  # Decay of the first moment of adam and adamw.
    b2: ShareBelowOne = 0.999  # Decay of the second moment of adam and adamw.
    net_rate: Positive = (
        1.0  # Learning rate of encoders and heads as a share of learning_rate, which tables take whole.
    )
    # Factor by which the learning rate of each layer is smaller than that of the layer above it (Clark et al. 2020); embeddings
    # are below the first layer, and what stands above the last one takes the rate whole.
    layer_decay: Annotated[float, Range(above=0, most=1)] = 1.0
    # Number of layers of each encoder, the last ones, that are trained with what stands above them; None trains everything.
    train_layers: CountOrZero | None = None
    clip: NotNegative = 0.0  # A gradient with a larger norm is scaled down to this one; 0 never scales.
    # Number of steps whose gradients are averaged before the nets change, for batches that do not fit into memory.
    accumulate: Count = 1
    warmup: ShareBelowOne = 0.0  # Share of all steps in which the rate rises linearly from 0.
    # How the rate then falls to final_rate: linear, cosine, or constant, which keeps it.
    schedule: str = "linear"

    def __post_init__(self):
        super().__post_init__()
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if self.optimizer in ("adam", "adagrad") and self.weight_decay:
            raise ValueError(f"{self.optimizer} takes no weight_decay: choose adamw")

    def transformation(self) -> optax.GradientTransformation:
        """The update before the learning rate, which the engine multiplies in last."""
        matrices = lambda tree: jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, tree)
        decayed = matrices if self.decay_places else _maps
        parts = [optax.stateless(self._without_frozen)] if self.train_layers is not None else []
        parts += [optax.clip_by_global_norm(self.clip)] if self.clip else []
        parts += [optax.add_decayed_weights(self.l2, decayed)] if self.l2 else []
        decay = [optax.add_decayed_weights(self.weight_decay, decayed)] if self.weight_decay else []
        if self.optimizer in ("adam", "adamw"):
            parts += [optax.scale_by_adam(self.b1, self.b2), *decay]
        elif self.optimizer == "adagrad":
            parts += [_adagrad()]
        elif self.optimizer == "lars":
            scaled = optax.masked(optax.scale_by_trust_ratio(trust_coefficient=1e-3), matrices)
            parts += [*decay, scaled, optax.trace(self.momentum)]
        else:
            parts += [*decay, optax.trace(self.momentum)]
        parts += [optax.scale(self.net_rate)] if self.net_rate != 1 else []
        if self.layer_decay != 1 or self.train_layers is not None:
            parts += [optax.stateless(self._by_layer)]
        rule = parts[0] if len(parts) == 1 else optax.chain(*parts)
        return rule if self.accumulate == 1 else optax.MultiSteps(rule, self.accumulate).gradient_transformation()

    def factors(self, net: Any) -> Any:
        """Shares of the learning rate that the leaves of a net's parameters take: 0 for those that are not trained."""
        depths = _depths(net)
        if self.train_layers is not None and not depths:
            raise ValueError("train_layers counts the layers of a Transformer or ViT, and there is none: leave it out")

        def factor(path: Any, leaf: Any) -> float:
            below = _layers_below_the_top(path, depths)
            return 0.0 if self.train_layers is not None and below > self.train_layers else self.layer_decay**below

        return tree_map_with_path(factor, net)

    def _without_frozen(self, updates: Any, params: Any) -> Any:
        # Zeros and no products with 0: XLA then leaves out the backward pass through what is not trained.
        kept = self.factors(updates)
        return jax.tree.map(lambda x, factor: x if factor else jnp.zeros_like(x), updates, kept)

    def _by_layer(self, updates: Any, params: Any) -> Any:
        return jax.tree.map(lambda x, factor: x * factor, updates, self.factors(updates))

    def multiplier(self, share: jax.Array, final: jax.Array) -> jax.Array:
        """The rate's share of its peak when `share` of the steps are done; `final` is what is left at the end."""
        after = jnp.clip((share - self.warmup) / (1 - self.warmup), 0.0, 1.0)
        if self.schedule == "cosine":
            left = final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * after))
        else:
            left = 1.0 - (1 - final) * after if self.schedule == "linear" else jnp.ones_like(after)
        return left * jnp.minimum(1.0, share / self.warmup) if self.warmup else left


def _adagrad(eps: float = 1e-10) -> optax.GradientTransformation:
    """Adagrad from 0 (Duchi et al. 2011), with `eps` outside the root; optax has it inside, where 1e-10 is a start of 1e-10."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        state = jax.tree.map(lambda total, update: total + update * update, state, updates)
        return jax.tree.map(lambda update, total: update / (jnp.sqrt(total) + eps), updates, state), state

    return optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), update)


#: What stands above the layers of an encoder; all else of an encoder with layers is below them.
_ABOVE = ("final_norm", "widening")


def _depths(net: Any) -> dict[str, int]:
    """The number of layers of each encoder in a net's parameters that has some."""
    encoders = net.items() if isinstance(net, dict) else ()
    return {name: len(one["blocks"]) for name, one in encoders if isinstance(one, dict) and "blocks" in one}


def _layers_below_the_top(path: Any, depths: dict[str, int]) -> int:
    """How many layers down a leaf lies: 0 above an encoder's last layer, 1 in it, and one more than layers in its embeddings."""
    keys = [str(key.key) for key in path if isinstance(key, DictKey)]
    if len(keys) < 2 or keys[0] not in depths or keys[1] in _ABOVE:
        return 0
    return depths[keys[0]] - int(keys[2]) if keys[1] == "blocks" else depths[keys[0]] + 1


def _maps(tree: Any) -> Any:
    """Which leaves of a net's parameters are matrices and kernels, and no vectors of places."""
    of_place = lambda path: any(isinstance(key, DictKey) and key.key in PLACES for key in path)
    return tree_map_with_path(lambda path, leaf: jnp.ndim(leaf) > 1 and not of_place(path), tree)
