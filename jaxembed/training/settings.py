"""How a method is trained: settings, and the update rules and the course of the learning rate that they ask for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxembed.naming import unknown
from jaxembed.tables import ROW_OPTIMIZERS
from jaxembed.training.dense import Dense
from jaxembed.training.method import Method
from jaxembed.training.step import Optimizers


@dataclass(frozen=True)
class Training:
    """How a method is trained.

    epochs: passes over the data.
    learning_rate: step size at the start.
    final_rate: share of it that is left at the end of a linear decay.
    optimizer: of the tables, one of `jaxembed.tables.ROW_OPTIMIZERS`.
    initial_accumulator: what Adagrad's accumulators start from (other optimisers have none).
    reports: how often the loss is reported over the whole run.
    track_loss: count the loss of every step; without, steps are faster and losses are NaN.
    replicas: copies of the tables that train side by side on parts of each pass, a core each, and are merged every
        `merge_steps` steps (local SGD: Ji et al., Parallelizing Word2Vec in Shared and Distributed Memory, 2016). The
        result depends on their number, not on timing; 1 trains exactly step by step.
    dense: how encoders and other nets are trained, and the course of the learning rate; None is Adam and a linear decay.
    """

    epochs: int = 5
    learning_rate: float = 0.3
    final_rate: float = 1e-4
    optimizer: str = "row_adagrad"
    initial_accumulator: float = 1.0
    reports: int = 100
    track_loss: bool = True
    replicas: int = 1
    merge_steps: int = 512
    dense: Dense | None = None

    def __post_init__(self):
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {self.epochs}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, not {self.learning_rate}")
        if self.replicas < 1 or self.merge_steps < 1:
            raise ValueError(f"replicas and merge_steps must be at least 1, not {self.replicas} and {self.merge_steps}")
        if self.replicas > 1 and self.optimizer == "lazy_adam":
            raise ValueError("lazy_adam cannot merge replicas: choose sgd or an Adagrad, or replicas=1")
        if self.optimizer not in ROW_OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, ROW_OPTIMIZERS)

    def optimizers(self, method: Method, numbers: Mapping[str, Any]) -> Optimizers:
        """The update rules of a run with these numbers, `total_steps` among them."""
        settings: dict[str, Any] = {}
        if "adagrad" in self.optimizer:
            settings["initial"] = self.initial_accumulator
        if self.optimizer == "row_adagrad":
            settings["dimension"] = getattr(method, "row_size", None)
        net = (self.dense or Dense()).transformation()
        return Optimizers(ROW_OPTIMIZERS[self.optimizer](**settings), net, lambda step: self.rate(numbers, step))

    def rate(self, numbers: Mapping[str, Any], step: jax.Array) -> jax.Array:
        """The learning rate of a run with these numbers at a step."""
        share = jnp.minimum(step.astype(jnp.float32) / numbers["total_steps"], 1.0)
        if self.dense:
            return numbers["learning_rate"] * self.dense.course(share, numbers["final_rate"])
        return numbers["learning_rate"] * ((1.0 - share) + numbers["final_rate"] * share)
