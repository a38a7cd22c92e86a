"""How the dense rest of a method, encoders and heads, is trained: optax's optimisers and the schedule of the rate."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import DictKey, tree_map_with_path

from jaxembed.encoders.functional import PLACES
from jaxembed.naming import unknown
from jaxembed.ranges import Checked, NotNegative, ShareBelowOne

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
    clip: NotNegative = 0.0  # A gradient with a larger norm is scaled down to this one; 0 never scales.
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
        parts = [optax.clip_by_global_norm(self.clip)] if self.clip else []
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
        return parts[0] if len(parts) == 1 else optax.chain(*parts)

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


def _maps(tree: Any) -> Any:
    """Which leaves of a net's parameters are matrices and kernels, and no vectors of places."""
    of_place = lambda path: any(isinstance(key, DictKey) and key.key in PLACES for key in path)
    return tree_map_with_path(lambda path, leaf: jnp.ndim(leaf) > 1 and not of_place(path), tree)
