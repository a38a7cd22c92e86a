from dataclasses import replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.data.documents import DocumentInput, Documents, TaggedDocument
from jaxembed.data.text import read_corpus
from jaxembed.methods.cbow import CBOW
from jaxembed.methods.documents import DBOW, DM, infer
from jaxembed.methods.skipgram import SkipGram
from jaxembed.methods.words import word_constants
from jaxembed.sampling import windows
from jaxembed.sampling.random import key_of
from jaxembed.training.loop import fit
from jaxembed.training.method import Shard
from jaxembed.training.settings import Training

COMMON = {"vector_size": 8, "sample": 0.0}
KINDS = [
    DBOW(**COMMON), DBOW(**COMMON, dbow_words=True), DM(**COMMON), DM(**COMMON, combine="sum"),
    DM(**COMMON, combine="concat", window=2),
]  # fmt: skip


def texts(n=40, seed=0):
    """Documents of two kinds, which share no word."""
    random = np.random.default_rng(seed)
    return [[f"{'ab'[i % 2]}{random.integers(15)}" for _ in range(random.integers(1, 90))] for i in range(n)]


@pytest.fixture(scope="module")
def documents():
    return Documents.of(read_corpus(texts(), min_count=1))


def a_batch(method, documents, step=0):
    method = method.suited_to(documents)
    source = method.source(documents)
    shard = Shard(*(jax.tree.map(jnp.asarray, part) for part in (source.constants, source.piece(0))))
    shard = shard.prepared(method.prepare(shard, key_of(1)))
    batch = jax.jit(lambda step: method.batch(shard, step, key_of(2)))
    return method, shard, batch(step), batch


def test_pieces_hold_every_word_of_every_document_once(documents):
    method, shard, _, batch = a_batch(DBOW(sample=0.0, block=8), documents)
    met = {i: [] for i in range(len(documents.names))}
    for step in range(method.steps(shard)):
        found = jax.device_get(batch(step))
        for tokens, own, document in zip(found["tokens"], found["documents"], found["document"][:, 0], strict=True):
            met[int(document)] += tokens[own >= 0].tolist()
    offsets, tokens = documents.corpus.offsets, documents.corpus.tokens
    for i, words in met.items():
        assert sorted(words) == sorted(tokens[offsets[i] : offsets[i + 1]].tolist())


def test_a_piece_sees_the_words_beside_it_in_its_own_document_only(documents):
    method, shard, _, batch = a_batch(DM(sample=0.0, block=8, window=3), documents)
    offsets, tokens = documents.corpus.offsets, documents.corpus.tokens
    expected = set()
    for i in range(documents.corpus.documents):
        own = np.pad(tokens[offsets[i] : offsets[i + 1]], (3, 16), constant_values=-1)
        expected |= {(i, *own[start : start + 14].tolist()) for start in range(0, offsets[i + 1] - offsets[i], 8)}
    met = set()
    for step in range(method.steps(shard)):
        found = jax.device_get(batch(step))
        words = np.where(found["documents"] >= 0, found["tokens"], -1)
        met |= {(int(i), *row) for i, row in zip(found["document"][:, 0], words.tolist(), strict=True) if max(row) >= 0}
    assert met == expected


def test_subsampling_closes_the_gaps_within_a_document(documents):
    _, shard, _, _ = a_batch(DM(sample=0.01, block=8, window=3), documents)
    own = jax.device_get(shard.own)
    sizes = np.diff(own["border"])  # of the documents, one after the other, without gaps
    assert 0 < sizes.sum() < len(documents.corpus.tokens)
    start = own["start"][own["start"] < len(own["tokens"])]
    assert len(start) == sum(-(-size // 8) for size in sizes)


def reference(method, rows, batch):
    """The loss of a batch, word by word in float64: log-sigmoids of scores with words and shared negatives."""
    soft = lambda x: np.log1p(np.exp(-x))
    rows = {name: np.asarray(value, np.float64) for name, value in rows.items()}
    share = method.negative / method.shared_negatives
    halo, block = method.halo, method.block
    out = rows.get("contexts", rows.get("centres"))
    total = 0.0
    for piece, own in enumerate(np.asarray(batch["documents"])):
        document = rows["document"][piece, 0]
        for t in range(block):
            if own[t + halo] < 0:
                continue
            around = {d: rows["neighbours"][piece, t + halo + d] for d in range(-method.window, method.window + 1)
                      if isinstance(method, DM) and d and own[t + halo + d] >= 0}  # fmt: skip
            if isinstance(method, DBOW):
                query, word = document, out[piece, t + halo]
            else:
                word = rows["centres"][piece, t]
                used = {d: (method.window + 1 - abs(d)) / method.window for d in around}
                zero = np.zeros_like(document)
                if method.combine == "concat":
                    places = [d for d in range(-method.window, method.window + 1) if d]
                    query = np.concatenate([document, *(around.get(d, zero) for d in places)])
                else:
                    query = document + sum((used[d] * around[d] for d in around), zero)
                    query = query / (1 + sum(used.values())) if method.combine == "mean" else query
            total += soft(query @ word) + share * soft(-(rows["negatives"][0] @ query)).sum()
    return total


@pytest.mark.parametrize(
    "method", [KINDS[0], *KINDS[2:]], ids=lambda one: f"{type(one).__name__}-{getattr(one, 'combine', '')}"
)
def test_the_loss_is_that_of_the_paper(method, documents):
    method, shard, batch, _ = a_batch(replace(method, sample=0.1), documents)
    params = method.init(key_of(3), shard.constants)
    random = np.random.default_rng(0)
    tables = {name: jnp.asarray(random.normal(size=table.shape), jnp.float32) for name, table in params.tables.items()}
    rows = {name: tables[table][ids] for name, (table, ids) in method.lookups(batch).items()}
    assert (np.asarray(batch["documents"]) < 0).any()
    found = method.loss(rows, None, None, batch, None)
    np.testing.assert_allclose(float(found.value), reference(method, rows, batch), rtol=2e-5)


def test_the_words_of_dbow_learn_by_skipgrams_own_loss(documents):
    method, shard, batch, _ = a_batch(KINDS[1], documents)
    params = method.init(key_of(3), shard.constants)
    rows = {name: params.tables[table][ids] + 0.1 for name, (table, ids) in method.lookups(batch).items()}
    both = method.loss(rows, None, None, batch, None).value
    alone = replace(method, dbow_words=False).loss(
        {**rows, "contexts": rows["contexts"][:, method.halo : -method.halo]},
        None, None, {**batch, "documents": batch["documents"][:, method.halo : -method.halo]}, None,
    ).value  # fmt: skip
    words = SkipGram.loss(method, rows, None, None, batch, None).value
    np.testing.assert_allclose(float(both), float(alone + words), rtol=1e-6)


def test_documents_are_skipgram_and_cbow():
    assert issubclass(DBOW, SkipGram)
    assert issubclass(DM, CBOW)
    assert DM.loss is CBOW.loss


def test_the_negatives_of_a_step_are_shared_by_all_its_documents(documents):
    _, _, batch, _ = a_batch(DBOW(), documents)
    assert batch["negatives"].shape == (1, DBOW().shared_negatives)


@pytest.mark.parametrize(
    "method", KINDS, ids=lambda one: f"{type(one).__name__}-{getattr(one, 'combine', one.reads_words)}"
)
def test_documents_of_a_kind_are_near_each_other(method, documents):
    """And an inferred vector finds its own document, among 40, far more often than by chance."""
    result = fit(method, documents, Training(30, 0.5), seeds=(1,))
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    vectors, kind = unit(result.vectors[0]), np.arange(len(documents.names)) % 2
    cosines = vectors @ vectors.T
    same = kind[:, None] == kind[None]
    np.fill_diagonal(same, False)
    apart = kind[:, None] != kind[None]
    if method in (
        KINDS[0],
        KINDS[2],
    ):  # elsewhere words tell each other nearly all, and a document only what is its own
        assert cosines[same].mean() > cosines[apart].mean() + (0.2 if method == KINDS[0] else 0.03)
    inferred = unit(inferred_by(result, documents)[0])
    assert ((inferred @ vectors.T).argmax(1) == np.arange(len(vectors))).mean() > 0.15


def inferred_by(result, documents, order=None):
    corpus, method = documents.corpus, result.method
    own = [corpus.tokens[corpus.offsets[i] : corpus.offsets[i + 1]] for i in range(corpus.documents)]
    constants = word_constants(method, corpus.vocabulary.counts)
    tables = method.usable(result.params[0]).tables
    return infer(method, tables, constants, own if order is None else [own[i] for i in order]), tables


@pytest.mark.parametrize("method", [KINDS[0], KINDS[2]], ids=["DBOW", "DM"])
def test_an_inferred_vector_is_bit_for_bit_that_of_its_document_alone(method, documents):
    result = fit(method, documents, Training(2, 0.5), seeds=(1,))
    whole, tables = inferred_by(result, documents)
    assert "document" not in tables
    order = np.random.default_rng(1).permutation(40)
    np.testing.assert_array_equal(inferred_by(result, documents, order)[0], whole[order])
    np.testing.assert_array_equal(inferred_by(result, documents, [7])[0][0], whole[7])


def test_a_document_without_a_known_word_stays_zero(documents):
    result = fit(DBOW(vector_size=8), documents, Training(1, 0.5), seeds=(1,))
    constants = word_constants(result.method, documents.corpus.vocabulary.counts)
    ids = DocumentInput(documents.corpus.vocabulary).ids(["never seen", "a1 never"])
    found = infer(result.method, result.params[0].tables, constants, ids)
    assert not found[0].any()
    assert found[1].any()


def test_documents_with_one_tag_share_a_vector():
    tagged = [TaggedDocument(words, ["even" if i % 2 == 0 else "odd", f"own{i}"]) for i, words in enumerate(texts())]
    documents = Documents.tagged(tagged, min_count=1)
    assert documents.names[:3] == ("even", "own0", "odd")
    assert len(documents.names) == 42
    source = DBOW(sample=0.0).suited_to(documents).source(documents)
    assert source.size == 2 * len(documents.corpus.tokens)


def test_a_frozen_table_stays_as_it_is(documents):
    class Frozen(DBOW):
        table_rates: ClassVar = {"out": 0.0}

    begun = fit(DBOW(vector_size=8), documents, Training(1, 0.5), seeds=(1,)).params
    out = np.array(begun[0].tables["out"])
    result = fit(Frozen(vector_size=8), documents, Training(1, 0.5), seeds=(1,), init=begun)
    np.testing.assert_array_equal(result.params[0].tables["out"], out)
    assert (np.asarray(result.params[0].tables["document"]) != np.asarray(begun[0].tables["document"])).any()


def test_the_rate_of_documents_is_a_factor_of_their_own(documents):
    """In the first step both tables move by their gradients alone, and the accumulators are the same."""
    moved = []
    for factor in (1.0, 3.0):
        method = DBOW(vector_size=8, document_rate=factor, step_tokens=1 << 20)
        result = fit(method, documents, Training(1, 0.01, final_rate=1.0), seeds=(1,))
        fresh = method.init(jax.random.split(key_of(1))[0], method.suited_to(documents).source(documents).constants)
        moved.append(
            {name: np.asarray(result.params[0].tables[name] - fresh.tables[name]) for name in ("document", "out")}
        )
    assert np.abs(moved[1]["document"]).sum() > 2 * np.abs(moved[0]["document"]).sum()


def test_nothing_to_train_on_is_an_error():
    corpus = read_corpus([["a"], ["b"]], min_count=1)
    empty = replace(corpus, tokens=corpus.tokens[:0], offsets=np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="no document holds a word"):
        DBOW().suited_to(Documents.of(empty))
    for method in (DBOW(sample=1e-9), DBOW(sample=1e-9, dbow_words=True), DM(sample=1e-9)):
        with pytest.raises(ValueError, match=r"subsampling with sample=1e-09 leaves .* of 2 in a pass"):
            method.suited_to(Documents.of(corpus))


def test_windows_of_dm_are_those_of_words():
    """A document that fills one block has the weights of CBOW's window for its words."""
    method = DM(window=3, block=8)
    np.testing.assert_array_equal(method.band(), windows.window_weights(8, 3, 3))
