"""How a method is trained: settings, and the update rules and the schedule of the learning rate that follow from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp

from jaxembed.naming import unknown
from jaxembed.ranges import Checked, Count, CountOrZero, NotNegative, Positive
from jaxembed.tables import ROW_OPTIMIZERS, RowOptimizer
from jaxembed.training.dense import Dense
from jaxembed.training.method import Method
from jaxembed.training.step import Optimizers


@dataclass(frozen=True)
class Training(Checked):
    """How a method is trained."""

    epochs: Count = 5  # Passes over the data.
    learning_rate: Positive = 0.3  # Step size at the start.
    final_rate: NotNegative = 1e-4  # Share of the learning rate that is left at the end.
    # Optimiser of the tables: sgd, row_adagrad, adagrad, or lazy_adam (adam means the same).
    optimizer: str = "row_adagrad"
    initial_accumulator: NotNegative = 1.0  # What Adagrad's accumulators start from (other optimisers have none).
    eps: NotNegative = (
        0.0  # What Adagrad adds to the roots of its accumulators; PyTorch's starts from 0 and adds 1e-10.
    )
    reports: Count = 100  # How often the loss is reported over the whole run.
    # The loss is computed at every loss_every-th step only, which makes the other steps faster; reports have the mean of the
    # steps that were counted. 1 counts every step, and 0 none: losses are then NaN. The result of training does not change.
    loss_every: CountOrZero = 1
    # Copies of the tables that train side by side on parts of each pass, one per core, and are merged now and then (local SGD:
    # Ji et al., Parallelizing Word2Vec in Shared and Distributed Memory, 2016). The result depends on their number, not on
    # timing or cores; 1 trains exactly step by step, as every run does on an accelerator or a mesh.
    replicas: Count = 1
    # Most steps of a replica between two merges; 0 chooses as many as meet a row a dozen times, fewer for small tables.
    merge_steps: CountOrZero = 512
    # How many times each pass goes over the data, with other draws each time. 0 lets the method choose by the data and the
    # passes, and is 1 where it does not: CBOW goes over small corpora more often.
    sweeps: CountOrZero = 1
    # How many times a squared gradient counts in the accumulators of row_adagrad; 0 lets the method choose, as for sweeps.
    damping: NotNegative = 1.0
    # Whether the pass is kept that was best on the validation part, rather than the last one.
    best_pass: bool = False
    dense: Dense | None = None  # How encoders and other nets are trained; None is Adam and a linear decay.

    def __post_init__(self):
        super().__post_init__()
        if self.optimizer == "adam":  # of rows it is always lazy
            object.__setattr__(self, "optimizer", "lazy_adam")
        if self.replicas > 1 and self.optimizer == "lazy_adam":
            raise ValueError("lazy_adam cannot merge replicas: choose sgd or an Adagrad, or replicas=1")
        if self.optimizer not in ROW_OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, ROW_OPTIMIZERS)
        self._rows()

    @classmethod
    def of(cls, method: Method, **settings: Any) -> Self:
        """The training that suits a method (`Method.training`), with other settings."""
        return cls(**{**method.training, **settings})

    def optimizers(self, method: Method, numbers: Mapping[str, Any]) -> Optimizers:
        """The update rules of a run with these numbers, `total_steps` among them."""
        own = {table: self._rows(width) for table, width in method.row_sizes.items()}
        net = (self.dense or Dense()).transformation()
        return Optimizers(self._rows(method.row_size), net, lambda step: self.rate(numbers, step), own)

    def _rows(self, width: int | None = None) -> RowOptimizer:
        """The optimiser of tables with rows of this true width. Raises ValueError for an Adagrad that would divide by 0."""
        settings: dict[str, Any] = {}
        if "adagrad" in self.optimizer:
            settings |= {"initial": self.initial_accumulator, "eps": self.eps}
        if self.optimizer == "row_adagrad":
            settings |= {"dimension": width, "damping": self.damping or 1.0}
        return ROW_OPTIMIZERS[self.optimizer](**settings)

    def rate(self, numbers: Mapping[str, Any], step: jax.Array) -> jax.Array:
        """The learning rate of a run with these numbers at a step."""
        share = jnp.minimum(step.astype(jnp.float32) / numbers["total_steps"], 1.0)
        if self.dense:
            return numbers["learning_rate"] * self.dense.multiplier(share, numbers["final_rate"])
        return numbers["learning_rate"] * ((1.0 - share) + numbers["final_rate"] * share)
