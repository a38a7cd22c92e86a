"""Doc2Vec: a document is a word that meets all words of its text (Le and Mikolov 2014), by Skip-gram's and CBOW's own code."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxembed.data.documents import Documents
from jaxembed.data.text import Corpus
from jaxembed.encoders.tables import SkipGramModel
from jaxembed.methods.cbow import CBOW
from jaxembed.methods.skipgram import SkipGram
from jaxembed.methods.words import FEW, WordMethod
from jaxembed.ranges import Checked, Count, Positive, Range
from jaxembed.sampling import negatives, random, windows
from jaxembed.scores import weighted_sums
from jaxembed.tables import gather, lanes, padded, row_adagrad
from jaxembed.training.method import Lookups, Loss, Params, Shard, Source, Static, share_of
from jaxembed.training.settings import Training

AT_ONCE = 32  # documents whose vectors are inferred together: the rows of a step stay in the processor's cache


@dataclass(frozen=True)
class DocumentMethod(WordMethod):
    """Word methods with a vector for each document.

    A block is a piece of one document, with its halo, and pieces are met in an order of their own. The negatives are shared by
    all documents of a step: those of one document's words alone would tell the document from no other.
    """

    block: Count = 32  # Number of consecutive words of a document that are scored together.
    tile: Count = 32  # Number of words scored in one matrix product: a block.
    halo: Annotated[int, Range(least=-1)] = -1  # Number of words that a block sees beyond either end: the window, or 0.
    # Negatives drawn for a step; they are weighted so that they count as `negative` per positive. A document is scored with each
    # of them once, so that many are cheap, and few are not enough.
    shared_negatives: Count = 256
    document_rate: Positive = 1.0  # Factor on the learning rate of the documents' vectors.
    infer_epochs: Count = 10  # Number of passes over a new document while its vector is inferred.
    infer_rate: Positive = 0.5  # Learning rate of inference at its start; it falls to zero.

    def __post_init__(self):
        Checked.__post_init__(self)  # before tile and halo are chosen
        object.__setattr__(self, "tile", self.block)
        object.__setattr__(self, "halo", self.window if self.reads_words else 0)
        super().__post_init__()

    @property
    def reads_words(self) -> bool:
        """Whether words have vectors of their own, beside those as contexts."""
        raise NotImplementedError

    def with_(self, **values: Any) -> Self:
        """Like Method's: tile and halo follow from the rest."""
        return replace(self, **values)

    def training_for(self, documents: Documents, training: Training) -> Training:
        """Leaves the training as it is: CBOW's rules for small corpora are those of words."""
        return training

    def read(self, data: Documents | Corpus) -> Documents:
        """Takes the documents of a corpus as they are: each has a vector."""
        return Documents.of(data) if isinstance(data, Corpus) else data

    def suited_to(self, documents: Documents) -> Self:
        """Chooses steps small enough that a pass has hundreds. Raises ValueError if no word is left to learn from."""
        words = np.diff(documents.corpus.offsets)[documents.document]
        pieces = int((-(-words // self.block)).sum())
        if not pieces:
            raise ValueError("there is nothing to train on: no document holds a word of the vocabulary")
        counts = documents.corpus.vocabulary.counts
        if (left := float(counts @ windows.keep_probability(counts, self.sample))) < FEW:
            raise ValueError(
                f"there is nothing to train on: subsampling with sample={self.sample:g} leaves {left:.2g} words of "
                f"{len(documents.corpus.tokens):,} in a pass. Pass sample=0, or more documents"
            )
        return replace(self, step_tokens=self.block * max(1, min(self._blocks, pieces // 200)))

    def source(self, documents: Documents) -> Source:
        """Returns the documents as a stream of words, and which vector each trains; one that trains several is met as often."""
        corpus = documents.stream()
        source = super().source(corpus)
        length, offsets = source.rows, corpus.offsets
        borders = np.arange(0, len(corpus.tokens) + length, length)
        most = np.diff(np.searchsorted(offsets, borders)).max() + 2  # documents in one piece of the stream
        most = int(min(most, length))
        pieces = -(-source.constants["capacity"].value // self.block) + most
        sizes = {"documents": Static(len(documents.names)), "most": Static(most), "pieces": Static(pieces)}

        def piece(i: int, share: int = 0, shares: int = 1) -> dict[str, np.ndarray]:
            first, size = share_of(length, share, shares)
            return windows.piece(
                corpus.tokens, offsets, i * length + first, size, 0
            )  # documents are counted from the first

        return replace(source, constants=source.constants | sizes | {"row": documents.row}, piece=piece)

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts documents as Skip-gram starts words."""
        document_key, word_key = jax.random.split(key)
        model = SkipGramModel(constants["keep"].shape[0], self.vector_size, key=word_key)
        size = (constants["documents"].value, self.vector_size)
        start = jax.random.uniform(document_key, size, jnp.float32, -0.5 / size[1], 0.5 / size[1])
        words = {"in": lanes(model.centres.embedding[...])} if self.reads_words else {}
        return Params({"document": lanes(start), "out": lanes(model.contexts.embedding[...]), **words})

    def prepare(self, shard: Shard, key: jax.Array) -> dict[str, jax.Array]:
        """Subsamples as for words, then cuts documents into pieces.

        `start, documents [pieces]`: where a piece starts, behind the end if there are fewer, and which document it is of;
        `border [most + 1]`: where the documents of the shard begin, of which `first` is the number of the first.
        """
        own = super().prepare(shard, key)
        documents, count = own["documents"], shard.constants["pieces"].value
        # Documents follow each other in ascending order, so that their borders are searched for, not looked for word by word.
        # What is of none, -1, is the largest unsigned number.
        ordered = lax.bitcast_convert_type(documents, jnp.uint32)
        first = jnp.maximum(documents[0], 0)
        numbers = first + jnp.arange(shard.constants["most"].value + 1, dtype=jnp.int32)
        border = jnp.searchsorted(ordered, numbers.astype(jnp.uint32)).astype(jnp.int32)
        pieces = -(-jnp.diff(border) // self.block)
        ends = jnp.cumsum(pieces)
        place = jnp.arange(count, dtype=jnp.int32)
        of = jnp.minimum(jnp.searchsorted(ends, place, side="right"), len(ends) - 1).astype(jnp.int32)
        start = border[of] + self.block * (place - (ends - pieces)[of])
        start = jnp.where(place < ends[-1], start, documents.shape[0])
        return own | {"start": start.astype(jnp.int32), "documents": first + of, "border": border, "first": first}

    def _count(self, shard: Shard) -> int:
        return random.shuffle_size(shard.constants["pieces"].value)

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """Returns pieces and candidates, as `examples` does."""
        own, count, end = shard.own, self._count(shard), shard.own["tokens"].shape[0]
        place = step * self._blocks + jnp.arange(self._blocks)
        drawn = random.shuffled(own["order"], count, jnp.minimum(place, count - 1))
        start = jnp.where(place < count, own["start"].at[drawn].get(mode="fill", fill_value=end), end)
        of = own["documents"][jnp.minimum(drawn, len(own["start"]) - 1)] - own["first"]
        seen = start[:, None] + jnp.arange(-self.halo, self.block + self.halo)[None]
        there = (seen >= own["border"][of][:, None]) & (seen < own["border"][of + 1][:, None])
        tokens = jnp.where(there, own["tokens"][jnp.clip(seen, 0, end - 1)], -1)
        document = jnp.where(start < end, own["first"] + of, 0)
        return self.examples(shard.constants, tokens, shard.constants["row"][document], key)

    def examples(
        self, constants: Mapping[str, Any], tokens: jax.Array, document: jax.Array, key: jax.Array
    ) -> dict[str, jax.Array]:
        """Returns a batch of `tokens [B, L]`, -1 where there is none, of `document [B]`, with candidates."""
        documents, tokens = jnp.where(tokens >= 0, document[:, None], -1), jnp.maximum(tokens, 0)
        batch = {"tokens": tokens, "documents": documents, "document": document[:, None]}
        if self.objective.negatives == "path":
            centres = self.centres(tokens)
            return batch | {"nodes": constants["nodes"][centres], "turns": constants["turns"][centres]}
        if self.objective.negatives == "everybody":
            return batch | {"everybody": jnp.arange(constants["keep"].shape[0])}
        table = negatives.AliasTable(constants["threshold"], constants["alias"], constants["log_probability"])
        drawn = negatives.draw(key, table, (1, self.shared_negatives))
        return batch | {"negatives": drawn, "log_probability": table.log_probability[drawn]}

    def lookups(self, batch: dict[str, jax.Array]) -> Lookups:
        """Looks up the documents, beside what a word method looks up."""
        return {"document": ("document", batch["document"])} | super().lookups(batch)

    def vectors(self, params: Params, constants: Any = None) -> jax.Array:
        """Returns the vectors of the documents, `[documents, vector_size]`."""
        return params.tables["document"][:, : self.vector_size]

    @property
    def table_rates(self) -> Mapping[str, float]:
        """Documents learn at a rate of their own."""
        return {"document": self.document_rate}

    def usable(self, params: Params) -> Params:
        """Vectors of new documents are inferred from those of words alone."""
        return params._replace(tables={name: table for name, table in params.tables.items() if name != "document"})


@dataclass(frozen=True)
class DBOW(DocumentMethod, SkipGram):
    """PV-DBOW: a document predicts its words, as in Skip-gram a word predicts its neighbours (Le and Mikolov 2014, 2.3)."""

    dbow_words: bool = False  # Whether words learn from their neighbours as well, by Skip-gram.
    step_tokens: Count = 2048  # Words in one step; fewer where a pass would have less than 200 steps.
    shared_negatives: Count = 192  # Fewer, since a step has more documents that share them.
    shard_tokens: Count = 1 << 25  # Words on the device at a time; more, since reading them takes a share of the time.

    merges: ClassVar[int] = 16  # Copies seldom meet the same document, and merging all of their vectors takes time.

    @property
    def reads_words(self) -> bool:
        """Only if they learn as well."""
        return self.dbow_words

    def lookups(self, batch: dict[str, jax.Array]) -> Lookups:
        """Looks up documents and candidates; if words learn, they are looked up as Skip-gram does."""
        found = super().lookups(batch)
        return found if self.dbow_words else {name: one for name, one in found.items() if one[0] != "in"}

    def loss(self, rows: dict[str, jax.Array], net: Any, kept: Any, batch: dict[str, jax.Array], key: Any) -> Loss:
        """Returns the sum of the objective over the words of the batch; `weight` is their number."""
        document = rows["document"][:, :, None]  # [B, 1, 1, d], one tile with one centre
        present = (self.centres(batch["documents"]) >= 0).astype(jnp.float32)[:, None]  # [B, 1, block]
        if "nodes" in batch:
            loss = self.path_loss(batch, present[:, :, None], document, rows["path"])
        else:
            contexts = rows["contexts"][:, None, self.halo : self.halo + self.block]
            loss = self.pair_loss(batch, present[..., None], document, contexts, rows)
        total, weight = jnp.sum(loss), jnp.sum(present)
        if self.dbow_words:
            words = super().loss(rows, net, kept, batch, key)
            total, weight = total + words.value, weight + words.metrics["weight"]
        return Loss(total, {"loss": total, "weight": weight})


@dataclass(frozen=True)
class DM(DocumentMethod, CBOW):
    """PV-DM: a document and the words around a word predict it, as in CBOW the words alone (Le and Mikolov 2014, 2.2)."""

    # How vectors of document and words become one: their mean, their sum, or all of them side by side, in the order of the text.
    combine: Literal["mean", "sum", "concat"] = "mean"
    shared_negatives: Count = 128  # Fewer, since each word is scored with all of them.
    block: Count = 16  # Shorter than without windows, since less of what their products multiply by is then zero.

    reads_words: ClassVar[bool] = True  # pyright: ignore[reportIncompatibleMethodOverride]

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Like the others', but words as they are predicted are as wide as what predicts them."""
        params = super().init(key, constants)
        out = params.tables["out"]
        if self.combine == "concat":
            out = jnp.zeros((out.shape[0], (2 * self.window + 1) * params.tables["document"].shape[1]), out.dtype)
        return params._replace(tables=params.tables | {"out": out})

    def context(self, rows: dict[str, jax.Array], batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Returns document and words combined, `[B, 1, T, d]`, and 1 for words that are there, else 0."""
        present = (self.centres(batch["documents"]) >= 0).astype(jnp.float32)[:, None]
        document = rows["document"][:, None]  # [B, 1, 1, d]
        if self.combine == "concat":
            there = (batch["documents"] >= 0)[..., None]
            words = jnp.where(there, rows["neighbours"], 0)
            at = [i for i in range(2 * self.window + 1) if i != self.window]
            around = [words[:, i : i + self.block] for i in at]
            whole = jnp.concatenate([jnp.broadcast_to(document[:, 0], around[0].shape), *around], -1)
            return whole[:, None], present
        weight = self.pair_weights(batch, self.band())  # [B, 1, L, T]
        total = document + weighted_sums(weight, self.halo_tiles(rows["neighbours"]))
        count = 1 + jnp.sum(weight, -2)[..., None] if self.combine == "mean" else 1.0
        return total / count, present

    @property
    def row_sizes(self) -> Mapping[str, int]:
        """Words side by side are wider than a vector."""
        return {} if self.combine != "concat" else {"out": (2 * self.window + 1) * -(-self.vector_size // 8) * 8}


def infer(
    method: DocumentMethod, tables: Mapping[str, jax.Array], constants: Mapping[str, Any],
    documents: Sequence[np.ndarray], advance: Callable[[int], Any] = lambda n: None,
) -> np.ndarray:  # fmt: skip
    """Returns vectors of new documents, float32 `[n, vector_size]`: only these are trained, from zero, by row-wise Adagrad.

    `documents` are the ids of their words; one without any stays zero. A vector depends on its document alone: neither on the
    others, nor on its place among them. `tables` and `constants` are those of words; `advance` is told how many are done.
    """
    pieces = np.array([-(-len(one) // method.block) for one in documents])
    found = np.zeros((len(documents), method.vector_size), np.float32)
    for size in sorted(set(_rounded(pieces[pieces > 0]))):
        # One program for each size: what a document is filled up with, and so every bit of it, depends on its own length.
        chosen = np.flatnonzero((_rounded(pieces) == size) & (pieces > 0))
        for start in range(0, len(chosen), AT_ONCE):
            part = chosen[start : start + AT_ONCE]
            tokens = np.full((AT_ONCE, size * method.block), -1, np.int32)
            for row, at in enumerate(part):
                tokens[row, : len(documents[at])] = documents[at]
            vectors = _inferred(method, tables, constants, tokens)
            found[part] = np.asarray(vectors)[: len(part), : method.vector_size]
            advance(len(part))
    return found


def _rounded(pieces: np.ndarray) -> np.ndarray:
    """Rounds numbers up to 1, 2, 3, 4, 6, 8, 12, 16, ..., so that few programs serve all lengths."""
    power = 1 << np.ceil(np.log2(np.maximum(pieces, 1))).astype(int)
    return np.where((pieces <= power * 3 // 4) & (power >= 4), power * 3 // 4, power)


@partial(jax.jit, static_argnums=0)
def _inferred(
    method: DocumentMethod, tables: Mapping[str, jax.Array], constants: Mapping[str, Any], tokens: jax.Array
) -> jax.Array:
    """Returns the vectors of documents, `tokens [n, pieces * block]`, which are filled up with -1."""
    (n, width), block, halo = tokens.shape, method.block, method.halo
    optimizer = row_adagrad(dimension=method.vector_size)
    ids = jnp.arange(n, dtype=jnp.int32)

    def step(place: jax.Array, now: tuple[jax.Array, Any], kept: jax.Array, rate: jax.Array, key: jax.Array) -> Any:
        part = lax.dynamic_slice_in_dim(kept, place * block, block + 2 * halo, 1)
        batch = method.examples(constants, part, ids, jax.random.fold_in(key, place))
        looked = {name: one for name, one in method.lookups(batch).items() if name != "document"}
        rows = {name: gather(tables[table], at) for name, (table, at) in looked.items()}
        loss = lambda own: method.loss(rows | {"document": own[:, None]}, None, None, batch, key).value
        return optimizer.update(*now, ids, jax.grad(loss)(now[0]), rate)

    def epoch(number: jax.Array, now: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        # What is drawn is the same for all documents. Words that subsampling leaves out make room for those behind them.
        coin_key, key = jax.random.split(jax.random.fold_in(random.key_of(0), number))
        kept = (random.uniform(coin_key, (1, width)) < constants["keep"][tokens]) & (tokens >= 0)
        order = jnp.argsort(~kept, axis=1, stable=True)
        moved = jnp.take_along_axis(jnp.where(kept, tokens, -1), order, 1)
        moved = jnp.pad(moved, ((0, 0), (halo, halo)), constant_values=-1)
        count = jnp.maximum(jnp.ceil(jnp.sum(kept, 1) / block), 1)

        def one(place: jax.Array, now: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
            share = (number + jnp.minimum(place / count, 1.0)) / method.infer_epochs
            return step(place, now, moved, method.infer_rate * (1 - share), key)

        return lax.fori_loop(0, width // block, one, now)

    start = jnp.zeros((n, padded(method.vector_size)), jnp.float32)
    return lax.fori_loop(0, method.infer_epochs, epoch, (start, optimizer.init(start)))[0]
