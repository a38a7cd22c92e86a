"""Folders for sentence-transformers: what is in them, opened again here, and by the library where it is installed."""

import json

import numpy as np
import pytest

import jaxembed
from jaxembed import FastText, KeyedVectors, export
from jaxembed.cli import main
from jaxembed.data.inputs import ImageInput, TextInput
from jaxembed.data.tokens import train_tokenizer
from jaxembed.encoders.functional import encoder
from jaxembed.methods.images import SimCLR
from jaxembed.methods.sentences import SimCSE
from jaxembed.study.run import Run
from jaxembed.training.method import Params

TEXTS = ["a dog runs", "the brown dog is running over the grass", "rain", "two men play a guitar", "men make music"]
SMALL = {"hidden_size": 8, "heads": 2, "depth": 2, "dropout": 0.0, "max_length": 24}
TRANSFORMERS = {
    "bert": SMALL,
    "fixed": {
        **SMALL,
        "segments": 0,
        "positions": "sinusoidal",
        "pooling": "cls",
        "activation": "gelu_tanh",
        "normalize": True,
    },
    "lifted": {**SMALL, "segments": 0, "positions": "none", "pooling": "last", "token_dim": 5, "epsilon": 1e-3},
}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=80, min_count=1, cache=False)


def run_of(folder, net, text, weights=None):
    """A finished run of an encoder whose weights are drawn at random."""
    import jax

    shapes, _ = jax.eval_shape(net.init, jax.random.key(0))
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda x: random.normal(0, 0.4, x.shape).astype(np.float32), shapes)
    params |= weights or {}
    run = Run.create(folder, {"seed": 1})
    inputs = {"text": text} if isinstance(text, TextInput) else {"image": text}
    method = SimCSE(encoder=net) if isinstance(text, TextInput) else SimCLR(encoder=net)
    run.save_model(method, Params({}, {"encoder": params}, {}), inputs)
    run.finish({})
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tokenizer):
    """Folders by what they hold, and the vectors of TEXTS that are expected of each."""
    root, found = tmp_path_factory.mktemp("exported"), {}
    for name, settings in TRANSFORMERS.items():
        net = encoder("transformer", vocab_size=len(tokenizer), **settings)
        run = run_of(root / f"run-{name}", net, TextInput(tokenizer, 24))
        found[name] = export(run, root / name), jaxembed.load(run).encode(TEXTS)
    bag = encoder("bag", vocab_size=len(tokenizer), hidden_size=6)
    light = np.where(np.isin(np.arange(len(tokenizer)), (0, 2, 3)), -30.0, 0.0).astype(np.float32)
    for name, more in (("bag", 0), ("weighted", np.random.default_rng(1).normal(size=len(tokenizer)))):
        weights = {"token_weight": (light + more).astype(np.float32)}
        run = run_of(root / f"run-{name}", bag, TextInput(tokenizer, 0), weights)
        found[name] = export(run, root / name), jaxembed.load(run).encode(TEXTS, normalize=name == "weighted")
    words = sorted({word for text in TEXTS[1:] for word in text.split()})
    vectors = KeyedVectors(words, np.random.default_rng(0).normal(size=(len(words), 4)).astype(np.float32))
    vectors.save(root / "words.safetensors")
    known = [[vectors[word] if word in vectors else np.zeros(4) for word in text.split()] for text in TEXTS]
    found["words"] = export(root / "words.safetensors", root / "words"), np.stack([np.mean(one, 0) for one in known])
    return found


@pytest.mark.parametrize("name", ["bag", "weighted", "words"])
def test_a_bag_of_words_is_opened_again_and_encodes_as_the_run_did(name, folders):
    folder, expected = folders[name]
    np.testing.assert_allclose(jaxembed.load(folder).encode(TEXTS), expected, atol=1e-5)
    again = export(folder, folder.parent / f"{name}-again")
    np.testing.assert_allclose(jaxembed.load(again).encode(TEXTS), expected, atol=1e-5)


def test_a_bag_that_cuts_texts_cuts_them_in_the_folder_too(tmp_path, tokenizer):
    bag = encoder("bag", vocab_size=len(tokenizer), hidden_size=6)
    light = np.where(np.isin(np.arange(len(tokenizer)), (0, 2, 3)), -30.0, 0.0).astype(np.float32)
    run = run_of(tmp_path / "run", bag, TextInput(tokenizer, 5), {"token_weight": light})
    found = []
    for place in (run, export(run, tmp_path / "folder")):
        with pytest.warns(UserWarning, match="longer than"):
            found.append(jaxembed.load(place).encode(TEXTS))
    np.testing.assert_allclose(*found, atol=1e-5)


def test_ngrams_of_fasttext_stay_behind_with_a_warning(tmp_path):
    model = FastText(
        [["dull", "lovely", "film"]] * 30, min_count=1, vector_size=4, bucket=100, epochs=1, sample=0, seed=1
    )
    model.wv.save(str(tmp_path / "grams.safetensors"))
    with pytest.warns(UserWarning, match="only the words that were trained have vectors"):
        folder = export(tmp_path / "grams.safetensors", tmp_path / "folder")
    np.testing.assert_allclose(jaxembed.load(folder).encode("film"), model.wv["film"], atol=1e-6)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformer_is_a_checkpoint_that_encodes_as_the_run_did(name, folders):
    folder, expected = folders[name]
    model = jaxembed.load(folder)
    np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-5)
    assert model.inputs["text"].max_length == 24


@pytest.mark.parametrize("name", ["bag", "weighted", "words"])
def test_a_bag_of_words_is_the_mean_of_the_rows_of_its_file(name, folders):
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    folder, expected = folders[name]
    core = Tokenizer.from_file(str(folder / "tokenizer.json"))
    table = load_file(folder / "model.safetensors")["embedding.weight"]
    kinds = [one["type"].rpartition(".")[2] for one in json.loads((folder / "modules.json").read_text())]
    assert kinds == ["StaticEmbedding", *["Normalize"] * (name == "weighted")]
    found = np.stack([table[core.encode(text, add_special_tokens=False).ids].mean(0) for text in TEXTS])
    found = found / np.linalg.norm(found, axis=1, keepdims=True) if name == "weighted" else found
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", [*TRANSFORMERS, "bag", "weighted", "words"])
def test_sentence_transformers_opens_it(name, folders):
    library = pytest.importorskip(
        "sentence_transformers", reason="sentence-transformers is not installed (the bench extra has it)"
    )
    folder, expected = folders[name]
    found = library.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_cannot_be_written_is_refused_with_every_reason(tmp_path, tokenizer):
    text = TextInput(tokenizer, 24)
    gpt = encoder("transformer", vocab_size=len(tokenizer), **SMALL, norm="pre", causal=True)
    with pytest.raises(ValueError, match=r"cannot be written as BERT: norm 'pre' \(BERT has 'post'\); causal True"):
        export(run_of(tmp_path / "gpt", gpt, text), tmp_path / "out")
    bag = encoder("bag", vocab_size=len(tokenizer), hidden_size=6)
    with pytest.raises(ValueError, match="counts the tokens at the ends of a text"):
        export(run_of(tmp_path / "bag", bag, text), tmp_path / "out")
    pictures = run_of(tmp_path / "vit", encoder("vit", hidden_size=8, depth=1, heads=2), ImageInput(28, 28, 1))
    with pytest.raises(ValueError, match="takes no texts"):
        export(pictures, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="not an empty folder"):
        export(tmp_path / "bag", tmp_path / "full")
    assert not (tmp_path / "out").exists()


def test_unknown_words_that_share_vectors_are_told_of(tmp_path):
    shared = train_tokenizer(TEXTS, vocab_size=60, kind="word", min_count=1, cache=False).with_buckets(9)
    light = np.where(np.arange(len(shared)) < 4, -30.0, 0.0).astype(np.float32)
    bag = encoder("bag", vocab_size=len(shared), hidden_size=6)
    run = run_of(tmp_path / "run", bag, TextInput(shared, 0), {"token_weight": light})
    with pytest.warns(UserWarning, match="share 9 vectors by their letters"):
        export(run, tmp_path / "out")


def test_the_command_says_how_it_is_opened(folders, tmp_path, capsys):
    run = folders["bert"][0].parent / "run-bert"
    assert main(["export", str(run), str(tmp_path / "out")]) == 0
    assert f"SentenceTransformer('{tmp_path / 'out'}') opens it" in capsys.readouterr().out
    assert main(["export", str(run), str(tmp_path / "out")]) == 1
    assert "not an empty folder" in capsys.readouterr().err
