"""Language models: a Transformer reads a stream of tokens and predicts the next ones (GPT), or those that are hidden (BERT)."""

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
from jaxembed.methods.masking import Hidden, Pairs, hide, paired
from jaxembed.objectives import cached
from jaxembed.objectives.vocabulary import (
    Adaptive,
    adaptive_cross_entropy,
    adaptive_scored,
    cross_entropy,
    sampled_cross_entropy,
    scored,
)
from jaxembed.pretrained import Part, Parts, opened
from jaxembed.pretrained.names import flat, shapes_of
from jaxembed.ranges import Count, CountOrZero, Range, Share
from jaxembed.sampling import random
from jaxembed.sampling.negatives import AliasTable, draw, unigram_table
from jaxembed.training.method import Batch, Loss, Params, Shard, Source

_NEVER = -1e9  # the score of what is never predicted


class Judged(NamedTuple):
    """How predictions turn out: `loss` and `first` as `LanguageModel.scored` has them, and weights, each `[b, m]`.

    right, pairs: of a model that predicts which pieces of texts follow each other whether it is right, and weights, each `[b]`.
    """

    loss: jax.Array
    first: jax.Array
    weight: jax.Array
    right: jax.Array | None = None
    pairs: jax.Array | None = None


@dataclass(frozen=True)
class LanguageModel(EncoderMethod):
    """A Transformer that predicts tokens, whose vectors are those that it reads them with.

    A row is `length` consecutive tokens of the stream; in each pass the rows begin elsewhere. Several texts may share a row. If
    they are not parts of one longer text, a token attends to those of its own text alone, whose places count from 0, so that a
    text is read as if it stood alone; a text that a row's end cuts goes on in another row without what came before.
    """

    encoder: Encoder = field(default_factory=lambda: encoder("transformer", vocab_size=1))  # Encoder of the tokens.
    # What the weights are at the start: those of a checkpoint of others (a folder, or a model of the Hugging Face hub,
    # OWNER/MODEL) or of a run. Encoder and tokenizer are then those of the checkpoint, and the learning rate is 3e-5, unless
    # others are given. What stands between the encoder and the tokens that it predicts goes on from the run of a language model
    # with the same objective and sizes, and else starts anew. None starts from random numbers.
    start: str | None = None
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
            counts = np.pad(
                counts, (0, max(0, self.encoder["vocab_size"] - len(counts)))
            )  # a checkpoint may know more tokens
            order = np.argsort(-counts, kind="stable").astype(np.int32)
            if self.start and "output" in self.started_nets(opened(self.start)):
                order = opened(self.start).output["order"]  # by which the rows of its clusters stand
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
        """Whether pairs of texts are distinguished from others."""
        return False

    @property
    def start_fingerprint(self) -> str | None:
        """The fingerprint of the weights that `start` has, those of its output among them."""
        return None if self.start is None else opened(self.start).whole_fingerprint

    def started_nets(self, parts: Parts) -> dict[str, Part]:
        """Returns the encoder, and the output of a language model if it has the shape of this one's."""
        own = self.nets()["output"]
        learned = {name: x for name, x in parts.output.items() if name != "order"}
        shapes = {path: x.shape for path, x in flat(learned).items()}
        same = shapes == shapes_of(own)[0] and ("order" in parts.output) == (self.objective == "adaptive_softmax")
        return super().started_nets(parts) | ({"output": Part(own, learned, {})} if same else {})

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

    def judged(self, params: Params, ids: jax.Array, last: int) -> Judged:
        """Predicts the `last` tokens of rows `[b, l + 1]` by all before them."""
        net, kept = params.net, params.kept
        read = self.read_ids(net, kept, ids[:, :-1], documents=self.documents(ids[:, :-1]))[:, -last:]
        target = ids[:, -last:]
        loss, first = self.scored(net, kept, read.reshape(-1, read.shape[-1]), target.reshape(-1))
        return Judged(loss.reshape(target.shape), first.reshape(target.shape), self._predicted(target))


@dataclass(frozen=True)
class MaskedLanguageModel(LanguageModel):
    """BERT: a Transformer predicts the tokens that are hidden in a text, by those on both sides (Devlin et al. 2019).

    Every batch is masked anew.
    """

    transform: bool = True
    # Share of the tokens of a row that are hidden, and predicted.
    share: Annotated[float, Range(above=0, below=1)] = 0.15
    as_mask: Share = 0.8  # Share of the hidden tokens in whose place the mask stands.
    as_random: Share = 0.1  # Share in whose place any token stands; in the place of the rest they stand themselves.
    # Whether a row is two pieces of a text, of which the second follows the first or not, and the model predicts which.
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
        """Whether pairs of texts are distinguished from others."""
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
        ids, pairs = batch["ids"], None
        if self.next_sentence:
            follow = random.uniform(pair, (len(ids),)) < 0.5
            pairs = paired(follow, ids, jnp.roll(ids, 1, axis=0), self.ends)
            ids = pairs.ids
        hidden = self.hide(hide_key, ids)
        read, at = self._read(net, kept, ids, hidden, pairs, drop)
        weight = hidden.weight.reshape(-1)
        count = jnp.maximum(jnp.sum(weight), 1.0)
        value = self.cross_entropy(net, kept, at, hidden.target.reshape(-1), weight / count, drawn)
        metrics = {"loss": value * count, "weight": jnp.sum(weight)}
        if pairs is not None:
            scores, right = self._follow(net, kept, read, pairs)
            losses = optax.softmax_cross_entropy_with_integer_labels(scores, pairs.follows)
            value += jnp.sum(losses * pairs.weight) / jnp.maximum(jnp.sum(pairs.weight), 1.0)
            metrics |= {"pairs": jnp.sum(pairs.weight), "pairs_right": jnp.sum(right * pairs.weight)}
        return Loss(value, metrics, kept)

    def _read(
        self, net: Any, kept: Any, ids: jax.Array, hidden: Hidden, pairs: Pairs | None, drop: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the vectors of all tokens, `[b, l, d]`, and those of the hidden ones, `[b * m, d]`."""
        # A token that stands for a hidden one may be an end, but no text ends there.
        more = {"documents": self.documents(ids)} if pairs is None else {"segments": pairs.segments}
        read = self.read_ids(net, kept, hidden.ids, drop, **more)
        at = jnp.take_along_axis(read, hidden.places[..., None], axis=1)
        return read, at.reshape(-1, read.shape[-1])

    def _follow(self, net: Any, kept: Any, read: jax.Array, pairs: Pairs) -> tuple[jax.Array, jax.Array]:
        """Returns the scores of "does not follow" and "follows", `[b, 2]`, and whether the higher one is right, bool `[b]`."""
        scores = self.run("output", net, kept, read[:, 0], call="follow")[0]
        return scores, jnp.argmax(scores, axis=1) == pairs.follows

    def hide(self, key: jax.Array, ids: jax.Array) -> Hidden:
        """Hides tokens of rows `[b, l]`."""
        return hide(key, ids, self.ends, self.encoder["vocab_size"], self.share, self.as_mask, self.as_random)

    def hide_each(self, keys: jax.Array, ids: jax.Array) -> Hidden:
        """Hides tokens of rows `[b, l]`, those of each by a key of its own, whatever rows stand beside it."""
        found = jax.vmap(lambda key, row: self.hide(key, row[None]))(keys, ids)
        return jax.tree.map(lambda x: x[:, 0], found)

    def judged(self, params: Params, ids: jax.Array, keys: jax.Array, others: jax.Array | None = None) -> Judged:
        """Predicts the tokens of rows `[b, l]` that each row's key hides.

        others: `[b, l]`, for pairs: the rows of which half the rows, as the keys have it, take what does not follow them.
        """
        net, kept, pairs = params.net, params.kept, None
        if self.next_sentence:
            if others is None:
                raise ValueError("pairs need other rows, for what does not follow")
            follow = jax.vmap(lambda key: random.uniform(jax.random.fold_in(key, 0), ()) < 0.5)(keys)
            pairs = paired(follow, ids, others, self.ends)
            ids = pairs.ids
        hidden = self.hide_each(keys, ids)
        read, at = self._read(net, kept, ids, hidden, pairs)
        loss, first = self.scored(net, kept, at, hidden.target.reshape(-1))
        shape = hidden.target.shape
        found = Judged(loss.reshape(shape), first.reshape(shape), hidden.weight)
        return (
            found
            if pairs is None
            else found._replace(right=self._follow(net, kept, read, pairs)[1], pairs=pairs.weight)
        )
