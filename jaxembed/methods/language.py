"""Language models: a Transformer reads a stream of tokens and tells the next ones (GPT), or those that are hidden (BERT)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxembed.data.streams import Marks, TokenStream
from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods.dense import EncoderMethod
from jaxembed.objectives import cached
from jaxembed.objectives.vocabulary import (
    Adaptive,
    adaptive_cross_entropy,
    adaptive_scored,
    cross_entropy,
    sampled_cross_entropy,
    scored,
)
from jaxembed.ranges import Count, CountOrZero, Range, Share
from jaxembed.sampling import random
from jaxembed.sampling.negatives import AliasTable, draw, unigram_table
from jaxembed.training.method import Batch, Loss, Params, Shard, Source

_NEVER = -1e9  # the score of what is never predicted


@dataclass(frozen=True)
class LanguageModel(EncoderMethod):
    """A Transformer that predicts tokens, whose vectors are those that it reads them with.

    A row is `length` consecutive tokens of the stream; in each pass the rows begin elsewhere. Several texts may share a row. If
    they are not parts of one longer text, a token attends to those of its own text alone, whose places count from 0, so that a
    text is read as if it stood alone; a text that a row's end cuts goes on in another row without what came before.
    """

    encoder: Encoder = field(default_factory=lambda: encoder("transformer", vocab_size=1))  # Encoder of the tokens.
    # How tokens are predicted: among all (softmax), by a sample that stands for all (sampled_softmax, with logQ correction), or
    # by clusters of rarer tokens with shorter vectors (adaptive_softmax, Grave et al. 2017).
    objective: Literal["softmax", "sampled_softmax", "adaptive_softmax"] = "softmax"
    length: Annotated[int, Range(least=2)] = 128  # Number of tokens of a row.
    batch_size: Annotated[int, Range(least=1)] = 32  # Number of rows in one step.
    transform: bool = False  # Whether a layer with an activation and a norm stands before the output, as in BERT.
    shared_negatives: Count = 1024  # Number of tokens that sampled_softmax draws for a step.
    cutoffs: tuple[Count, ...] = (2000,)  # Numbers of tokens, the most frequent, at which adaptive_softmax cuts.
    shrink: Count = 4  # Each cluster's vectors have so many times fewer columns than those before.
    # Number of places whose scores of all tokens stand in memory at a time; 0 computes all at once.
    chunk: CountOrZero = 256
    watch: Annotated[int, Range(least=2)] = 64
    marks: Marks | None = None  # The ids of tokens that are no words; they come with the data.

    causal: ClassVar[bool]  # whether a token sees only those before it
    more: ClassVar[int] = 0  # tokens of a row beside those that are read

    def __post_init__(self):
        super().__post_init__()
        if self.encoder.kind != "transformer" or self.encoder["causal"] != self.causal:
            raise ValueError(f"the encoder of a {type(self).__name__} must be a transformer with causal={self.causal}")

    @property
    def ends(self) -> Marks:
        """The ids of tokens that are no words. Raises ValueError before the method has met its data."""
        if self.marks is None:
            raise ValueError("the ids of special tokens come with the data: call suited_to(data) first")
        return self.marks

    # What is made of the data.

    def suited_to(self, data: TokenStream) -> Self:
        """Adapts the encoder to the vocabulary and to the length of rows, with batches no larger than the data."""
        rows = len(data.tokens) // self.length - 1
        if rows < 1:
            raise ValueError(
                f"the texts have {len(data.tokens):,} tokens, too few for two rows of length={self.length}: give more text, or "
                "choose shorter rows"
            )
        longest = max(self.length, self.encoder["max_length"]) if "max_length" in self.encoder else self.length
        fitted = self.for_texts(self.encoder, data.vocabulary_size, longest)
        if self.length > fitted["max_length"]:
            raise ValueError(
                f"rows of length={self.length} are longer than the {fitted['max_length']} tokens that {self.start} reads: choose "
                f"length={fitted['max_length']} or less"
            )
        cutoffs = tuple(sorted({one for one in self.cutoffs if one < data.vocabulary_size}))
        if self.objective == "adaptive_softmax" and not cutoffs:
            raise ValueError(
                f"adaptive_softmax needs a cutoff below the {data.vocabulary_size:,} tokens of the vocabulary, not {self.cutoffs}"
            )
        return replace(
            self,
            encoder=fitted,
            marks=data.marks,
            cutoffs=cutoffs or self.cutoffs,
            batch_size=min(self.batch_size, rows),
        )

    def examples(self, data: TokenStream) -> dict[str, np.ndarray]:
        """Returns the stream as rows `[n, length]`; tokens that do not fill a row are left out."""
        whole = len(data.tokens) // self.length
        return {"tokens": data.tokens[: whole * self.length].reshape(whole, self.length)}

    def source(self, data: TokenStream) -> Source:
        """Returns the stream in pieces under `device_bytes`, and what the objective needs of the tokens' frequencies.

        Raises ValueError for a token outside the vocabulary.
        """
        given = super().source(data).constants
        counts = data.counts
        columns = self.examples(data)
        pieces = max(1, -(-columns["tokens"].nbytes // self.device_bytes))
        watched = {"ids": np.ascontiguousarray(columns["tokens"][: self.watch], np.int32)}
        output: dict[str, Any] = {}
        if self.objective == "adaptive_softmax":
            order = np.argsort(-counts, kind="stable").astype(np.int32)
            output = {"order": order, "rank": np.argsort(order).astype(np.int32)}
        if self.objective == "sampled_softmax":
            output = unigram_table(np.maximum(counts, 1))._asdict()
        constants = given | {"watch": watched, "output": output}
        return Source.cut(columns, pieces, constants, size=columns["tokens"].size, refill=True)

    def nets(self) -> dict[str, Encoder]:
        """Returns the encoder and the output."""
        own = self.encoder
        cutoffs = self.cutoffs if self.objective == "adaptive_softmax" else ()
        output = encoder(
            "words", vocab_size=own["vocab_size"], hidden_size=own["hidden_size"], size=own["token_dim"],
            transform=self.transform, cutoffs=cutoffs, shrink=self.shrink, pairs=self.pairs, dtype=own["dtype"],
        )  # fmt: skip
        return {"encoder": own, "output": output}

    @property
    def pairs(self) -> bool:
        """Whether pairs of texts are told from others."""
        return False

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts with fresh parameters; what the objective needs of the tokens' frequencies is kept with them."""
        params = super().init(key, constants)
        return params._replace(kept=params.kept | jax.tree.map(jnp.asarray, dict(constants["output"])))

    # Batches: rows that begin elsewhere in each pass.

    def prepare(self, shard: Shard, key: jax.Array) -> dict[str, jax.Array]:
        """Draws where the rows of a pass begin, and their order."""
        order, begin = jax.random.split(key)
        rows, length = shard.columns["tokens"].shape
        return {
            "order": jax.random.permutation(order, rows - 1),
            "begin": jax.random.randint(begin, (), 0, length, jnp.int32),
        }

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """Returns rows of ids, int32 `[batch_size, length]`, and one token more of each for a causal model."""
        order, tokens = shard.own["order"], shard.columns["tokens"]
        size = min(self.batch_size, order.shape[0])
        chosen = jax.lax.dynamic_slice_in_dim(order, step * size, size)
        first = chosen * self.length + shard.own["begin"]
        places = first[:, None] + jnp.arange(self.length + self.more)[None]
        return {"ids": tokens.reshape(-1)[places].astype(jnp.int32)}

    # What both kinds of model have in common.

    def documents(self, ids: jax.Array) -> jax.Array | None:
        """Returns the numbers of the texts in each row, `[b, l]`; None if a token sees all of its row."""
        return None if self.ends.consecutive else jnp.cumsum(ids == self.ends.cls, axis=1)

    def read_ids(self, net: Any, kept: Any, ids: jax.Array, key: jax.Array | None = None, **given: Any) -> jax.Array:
        """Returns the encoder's vector of each token, `[b, l, d]`, `encode_chunk` rows at a time if that is set."""

        def some(part: dict, key: jax.Array | None = None) -> jax.Array:
            rest = {name: value for name, value in part.items() if name != "ids"}
            return self.run("encoder", net, kept, part["ids"], call="sequence", train=key is not None, key=key, **rest)[
                0
            ]

        rows = {"ids": ids} | {name: value for name, value in given.items() if value is not None}
        return some(rows, key) if self.encode_chunk is None else cached(some, rows, self.encode_chunk, key)

    def cross_entropy(
        self, net: Any, kept: Any, hidden: jax.Array, target: jax.Array, weight: jax.Array, key: jax.Array
    ) -> jax.Array:
        """Returns the weighted sum of the objective over places: hidden `[n, d]`, target `[n]`, weight `[n]`."""
        given = (*self._output(net, kept, hidden), target, weight)
        if self.objective == "sampled_softmax":
            chance = kept["log_probability"]
            drawn = draw(key, AliasTable(kept["threshold"], kept["alias"], chance), (self.shared_negatives,))
            return sampled_cross_entropy(*given, drawn, chance)
        if self.objective == "adaptive_softmax":
            return adaptive_cross_entropy(*given, self._adaptive(net, kept), self.chunk)
        return cross_entropy(*given, self.chunk)

    def scored(self, net: Any, kept: Any, hidden: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns minus the log-probability of each target, float32 `[n]`, and whether it is the most likely one, bool `[n]`."""
        given = (*self._output(net, kept, hidden), target)
        if self.objective == "adaptive_softmax":
            return adaptive_scored(*given, self._adaptive(net, kept), self.chunk)
        return scored(*given, self.chunk)

    def _output(self, net: Any, kept: Any, hidden: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        rows = self.run("output", net, kept, hidden)[0]
        # Padding follows nothing. Its row in a checkpoint's table may be zero, and all others' scores far below 0.
        return rows, net["encoder"]["token_embedding"], net["output"]["bias"].at[0].set(_NEVER)

    def _adaptive(self, net: Any, kept: Any) -> Adaptive:
        own = net["output"]
        tails = tuple((own["lowers"][str(i)]["kernel"], own["tails"][str(i)]) for i in range(len(self.cutoffs)))
        return Adaptive(self.cutoffs, kept["order"], kept["rank"], own["clusters"], tails)

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Returns vectors of texts by the encoder's pooling, float32 `[b, d]`; texts that are too long for it are cut."""
        ids = examples["ids"][:, : self.encoder.longest]
        return self.run("encoder", net, kept, ids)[0].astype(jnp.float32)


@dataclass(frozen=True)
class CausalLanguageModel(LanguageModel):
    """GPT: a Transformer predicts each token by those before it (Radford et al. 2018)."""

    encoder: Encoder = field(
        default_factory=lambda: encoder(
            "transformer", vocab_size=1, segments=0, norm="pre", causal=True, positions="rotary"
        )
    )  # Encoder of the tokens; it must be causal.

    causal: ClassVar[bool] = True
    more: ClassVar[int] = 1

    def loss(self, rows: Any, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the mean cross-entropy of the tokens that have another before them in their text."""
        drop, drawn = jax.random.split(key)
        ids = batch["ids"]
        read = self.read_ids(net, kept, ids[:, :-1], drop, documents=self.documents(ids[:, :-1]))
        target = ids[:, 1:].reshape(-1)
        present = self._predicted(target)
        count = jnp.maximum(jnp.sum(present), 1.0)
        hidden = read.reshape(-1, read.shape[-1])
        value = self.cross_entropy(net, kept, hidden, target, present / count, drawn)
        return Loss(value, {"loss": value * count, "weight": jnp.sum(present)}, kept)

    def _predicted(self, target: jax.Array) -> jax.Array:
        """Returns which tokens are to be predicted: not the first of a text, if there is a token for that alone."""
        known = target != 0
        if self.ends.cls != self.ends.sep:
            known &= target != self.ends.cls
        return known.astype(jnp.float32)

    def judged(self, params: Params, ids: jax.Array, last: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns `scored` of the `last` tokens of rows `[b, l + 1]` by all before them, and their weights, each `[b, last]`."""
        net, kept = params.net, params.kept
        read = self.read_ids(net, kept, ids[:, :-1], documents=self.documents(ids[:, :-1]))[:, -last:]
        target = ids[:, -last:]
        loss, first = self.scored(net, kept, read.reshape(-1, read.shape[-1]), target.reshape(-1))
        return loss.reshape(target.shape), first.reshape(target.shape), self._predicted(target)


class Hidden(NamedTuple):
    """Rows in which tokens are hidden: ids `[b, l]`; of the hidden ones places, targets and weights, each `[b, m]`."""

    ids: jax.Array
    places: jax.Array
    target: jax.Array
    weight: jax.Array


def hide(
    key: jax.Array, ids: jax.Array, marks: Marks, vocabulary_size: int, share: float, as_mask: float, as_random: float
) -> Hidden:
    """Hides `round(share * l)` tokens of each row `[b, l]`, at least one: the mask, another token or itself stands there.

    Ends and padding are not hidden; where a row has fewer tokens, the weight of the rest is 0. Other tokens are any but padding.
    The number is the same for all rows, so that shapes do not depend on what is drawn. Devlin et al. 2019, appendix A.1.
    """
    which, how, other = jax.random.split(key, 3)
    apart = jnp.isin(ids, jnp.asarray(marks.apart))
    drawn = jnp.where(apart, -1.0, random.uniform(which, ids.shape))
    count = max(1, round(share * ids.shape[1]))
    found, places = jax.lax.top_k(drawn, count)
    target = jnp.take_along_axis(ids, places, axis=1)
    turn = random.uniform(how, places.shape)
    words = 1 + (random.bits(other, places.shape) % jnp.uint32(vocabulary_size - 1)).astype(jnp.int32)
    shown = jnp.where(turn < as_mask, marks.mask, jnp.where(turn < as_mask + as_random, words, target))
    weight = (found >= 0).astype(jnp.float32)
    shown = jnp.where(weight > 0, shown, target)
    return Hidden(ids.at[jnp.arange(len(ids))[:, None], places].set(shown), places, target, weight)


@dataclass(frozen=True)
class MaskedLanguageModel(LanguageModel):
    """BERT: a Transformer tells the tokens that are hidden in a text, by those on both sides (Devlin et al. 2019).

    Every batch is masked anew.
    """

    transform: bool = True
    # Share of the tokens of a row that are hidden, and predicted.
    share: Annotated[float, Range(above=0, below=1)] = 0.15
    as_mask: Share = 0.8  # Share of the hidden tokens in whose place the mask stands.
    as_random: Share = 0.1  # Share in whose place any token stands; in the place of the rest they stand themselves.
    # Whether a row is two pieces of text, of which the second follows the first or is another row's, and the model tells which.
    next_sentence: bool = False

    causal: ClassVar[bool] = False

    def __post_init__(self):
        super().__post_init__()
        if self.as_mask + self.as_random > 1:
            raise ValueError(f"as_mask and as_random are shares of one: {self.as_mask} and {self.as_random} are more")
        if self.next_sentence and (self.encoder["segments"] < 2 or self.length < 7 or self.batch_size < 2):
            raise ValueError(
                "next_sentence needs an encoder with segments=2, rows of 7 tokens and batches of 2 rows, or more"
            )

    @property
    def pairs(self) -> bool:
        """Whether pairs of texts are told from others."""
        return self.next_sentence

    def suited_to(self, data: TokenStream) -> Self:
        """Like LanguageModel's. Raises ValueError for tokens without a mask."""
        if data.marks.mask < 0:
            raise ValueError(
                "the tokenizer has no token that hides a word, such as [MASK]: choose another, or a causal model"
            )
        return super().suited_to(data)

    def loss(self, rows: Any, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the mean cross-entropy of the hidden tokens, and that of the pairs if there are any."""
        hide_key, drop, drawn, pair = jax.random.split(key, 4)
        ids, segments, follows = batch["ids"], None, None
        if self.next_sentence:
            ids, segments, follows = self.paired(pair, ids)
        hidden = self.hide(hide_key, ids)
        documents = None if self.next_sentence else self.documents(ids)
        read = self.read_ids(net, kept, hidden.ids, drop, segments=segments, documents=documents)
        at = jnp.take_along_axis(read, hidden.places[..., None], axis=1).reshape(-1, read.shape[-1])
        weight = hidden.weight.reshape(-1)
        count = jnp.maximum(jnp.sum(weight), 1.0)
        value = self.cross_entropy(net, kept, at, hidden.target.reshape(-1), weight / count, drawn)
        metrics = {"loss": value * count, "weight": jnp.sum(weight)}
        if follows is not None:
            told = self.run("output", net, kept, read[:, 0], call="follow")[0]
            value += jnp.mean(optax.softmax_cross_entropy_with_integer_labels(told, follows))
        return Loss(value, metrics, kept)

    def hide(self, key: jax.Array, ids: jax.Array) -> Hidden:
        """Hides tokens of rows `[b, l]`."""
        return hide(key, ids, self.ends, self.encoder["vocab_size"], self.share, self.as_mask, self.as_random)

    def paired(self, key: jax.Array, ids: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Makes pairs of pieces of rows `[b, l]`: ids and segments, each `[b, l]`, and whether one follows the other, `[b]`."""
        half = (self.length - 3) // 2
        one, other = ids[:, :half], ids[:, half : 2 * half]
        follows = (random.uniform(key, (len(ids),)) < 0.5).astype(jnp.int32)
        other = jnp.where(follows[:, None] == 1, other, jnp.roll(other, 1, axis=0))
        mark = lambda i: jnp.full((len(ids), 1), i, ids.dtype)
        whole = jnp.concatenate([mark(self.ends.cls), one, mark(self.ends.sep), other, mark(self.ends.sep)], axis=1)
        whole = jnp.pad(whole, ((0, 0), (0, self.length - whole.shape[1])))
        segments = jnp.broadcast_to((jnp.arange(self.length) >= half + 2).astype(jnp.int32), whole.shape)
        return whole, segments, follows

    def judged(self, params: Params, ids: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns `scored` of the tokens of rows `[b, l]` that `key` hides, and their weights, each `[b, m]`."""
        net, kept = params.net, params.kept
        hidden = self.hide(key, ids)
        read = self.read_ids(net, kept, hidden.ids, documents=self.documents(ids))
        at = jnp.take_along_axis(read, hidden.places[..., None], axis=1).reshape(-1, read.shape[-1])
        loss, first = self.scored(net, kept, at, hidden.target.reshape(-1))
        return loss.reshape(hidden.target.shape), first.reshape(hidden.target.shape), hidden.weight
