"""A classifier of texts: an encoder, trained or from scratch, and a linear map of its vectors (Devlin et al. 2019, 4.1)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods.dense import EncoderMethod, summed
from jaxembed.pretrained import Parts
from jaxembed.ranges import Count, Range, Share
from jaxembed.training.method import Batch, Loss, Shard

if TYPE_CHECKING:
    from jaxembed.data.tokenized import TokenizedTexts


_SORTED = 64  # batches within which texts are sorted by length
_WORTH = 4096  # texts from which on it is worthwhile to compile a program for each length


@dataclass(frozen=True)
class Classifier(EncoderMethod):
    """A text's class is predicted by an encoder and a linear map of its vector; with `start`, a trained encoder is fine-tuned."""

    encoder: Encoder = field(
        default_factory=lambda: encoder("transformer")
    )  # Encoder of the texts; its vocabulary and length come from the data.
    batch_size: Annotated[int, Range(least=1)] = 32  # Number of texts in one step.
    smoothing: Share = 0.0  # Share of a label that goes to all classes alike.
    classes: Count = 2  # Number of classes, which comes from the data.
    # Lengths that batches are cut to, which come from the data: few, since a program is compiled for each. A batch then has texts
    # of like length, as in group_by_length of Transformers. None leaves all batches as long as the longest text.
    lengths: tuple[Count, ...] | None = ()

    def started(self, parts: Parts) -> dict[str, Any]:
        """As EncoderMethod's; vectors are not scaled to length 1, so that logits may be of any size."""
        found = super().started(parts)
        return {name: net.with_(normalize=False) if "normalize" in net else net for name, net in found.items()}

    def suited_to(self, data: "TokenizedTexts") -> Self:
        """Adapts the encoder to the vocabulary and length of the texts, and takes the number of classes."""
        length = max(data.ids.shape[1], data.max_length)
        if "max_length" in self.encoder:
            length = max(length, self.encoder["max_length"])
        fitted = self.for_texts(self.encoder, data.vocabulary_size, length)
        lengths = self.lengths if self.lengths is None else _lengths(data.ids)
        return replace(super().suited_to(data), encoder=fitted, classes=data.classes, lengths=lengths)

    def examples(self, data: "TokenizedTexts") -> dict[str, np.ndarray]:
        """Returns the token ids `[n, l]` and the labels `[n]`."""
        return {"ids": data.ids, "labels": data.labels}

    def prepare(self, shard: Shard, key: jax.Array) -> dict[str, jax.Array]:
        """Draws the order of a pass. Within some batches texts are sorted by length, and the batches are mixed again."""
        order = super().prepare(shard, key)["order"]
        if not self.lengths:
            return {"order": order}
        steps = self.steps(shard._replace(own={"order": order}))
        size = min(self.batch_size, len(order))
        met, left = order[: steps * size], order[steps * size :]  # what a pass leaves out has any length
        window = jnp.arange(len(met)) // (_SORTED * size)
        sizes = jnp.count_nonzero(shard.columns["ids"][met], axis=1)
        alike = met[jnp.lexsort((sizes, window))].reshape(steps, size)
        mixed = jax.random.permutation(jax.random.fold_in(key, 1), alike)
        return {"order": jnp.concatenate([mixed.reshape(-1), left])}

    def nets(self) -> dict[str, Encoder]:
        """Returns the encoder, and a linear map to a score for each class."""
        head = encoder("head", sizes=(self.encoder.vector_size, self.classes), norm="none")
        return {"encoder": self.encoder, "head": head}

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Returns the encoder's vectors of texts, `[b, d]`; texts that are too long for it are cut."""
        return self.run("encoder", net, kept, examples["ids"][:, : self.encoder.longest])[0]

    def logits(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Returns the scores of classes, float32 `[b, classes]`."""
        return self.run("head", net, kept, self.encode(net, kept, examples))[0].astype(jnp.float32)

    def loss(self, rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the mean cross-entropy of the classes."""
        ids = batch["ids"]
        whole = min(ids.shape[1], self.encoder.longest or ids.shape[1])
        lengths = [*(length for length in self.lengths or () if length < whole), whole]
        index = jnp.searchsorted(jnp.array(lengths), jnp.count_nonzero(ids, axis=1).max())
        return one_of([partial(self._loss, length) for length in lengths], index, net, kept, batch, key)

    def _loss(self, length: int, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        vectors, of_encoder = self.encoded("encoder", net, kept, batch["ids"][:, :length], key)
        scores, of_head = self.run("head", net, kept, vectors, train=True)
        wanted = optax.smooth_labels(jax.nn.one_hot(batch["labels"], self.classes), self.smoothing)
        value = jnp.mean(optax.softmax_cross_entropy(scores.astype(jnp.float32), wanted))
        return summed(value, len(batch["labels"]), {**kept, "encoder": of_encoder, "head": of_head})


def _lengths(ids: np.ndarray) -> tuple[int, ...]:
    """Returns the quartiles of the texts' lengths, rounded up, where there are texts enough."""
    if len(ids) < _WORTH:
        return ()
    quartiles = np.quantile(np.count_nonzero(ids, axis=1), (0.25, 0.5, 0.75, 0.95))
    return tuple(sorted({8 * int(np.ceil(length / 8)) for length in quartiles}))


def one_of(losses: Sequence[Callable[..., Loss]], index: jax.Array, net: Any, *others: Any) -> Loss:
    """Returns `loss(net, *others)` of one of some losses, chosen by `index`, so that only that one is computed.

    The gradient by `net` is computed with it: `lax.switch` by itself would keep room for what each loss needs for it, too. Where
    runs are vmapped they share the loss with the largest index among theirs, for `vmap` would compute all losses for each run.
    """
    if len(losses) == 1:
        return losses[0](net, *others)

    def with_gradient(loss: Callable[..., Loss]) -> Callable[..., tuple[Loss, Any]]:
        def both(net: Any, *others: Any) -> tuple[Loss, Any]:
            valued = lambda net: ((found := loss(net, *others)).value, found)
            (_, found), gradient = jax.value_and_grad(valued, has_aux=True)(net)
            return found, gradient

        return both

    branches = [with_gradient(loss) for loss in losses]

    @jax.custom_batching.custom_vmap
    def chosen(index: jax.Array, *operands: Any) -> tuple[Loss, Any]:
        return jax.lax.switch(index, branches, *operands)

    @chosen.def_vmap
    def of_runs(runs: int, batched: Any, index: jax.Array, *operands: Any) -> tuple[Any, Any]:
        axes = jax.tree.map(lambda one: 0 if one else None, tuple(batched[1:]))
        vmapped = [jax.vmap(branch, axes, axis_size=runs) for branch in branches]
        found = jax.lax.switch(index.max(), vmapped, *operands)
        return found, jax.tree.map(lambda _: True, found)

    @jax.custom_vjp
    def value(net: Any) -> Loss:
        return chosen(index, net, *others)[0]

    scaled = lambda gradient, of: (jax.tree.map(lambda leaf: leaf * of.value, gradient),)
    value.defvjp(lambda net: chosen(index, net, *others), scaled)
    return value(net)
