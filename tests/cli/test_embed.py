"""`jaxembed embed`, and `jaxembed neighbors` of what it wrote."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import jaxembed
from jaxembed import KeyedVectors, load_vectors
from jaxembed.cli import main
from jaxembed.data.inputs import ImageInput, TextInput
from jaxembed.data.tokens import train_tokenizer
from jaxembed.encoders.functional import encoder
from jaxembed.methods.image_text import CLIP
from jaxembed.methods.images import Pixels
from jaxembed.methods.sentences import SimCSE
from jaxembed.study.run import Run

LINES = ["a dog runs", "", "  two men play  ", "a dog runs", "rain", "a dog runs (2)"]
KEYS = ["a dog runs", "two men play", "a dog runs (3)", "rain", "a dog runs (2)"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of encoders with random weights: of texts, of pictures, and of both; and one of words."""
    import jax

    folder, random = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    tokenizer = train_tokenizer(LINES, vocab_size=60, kind="word", min_count=1, cache=False)
    bag = encoder("transformer", vocab_size=len(tokenizer), hidden_size=8, heads=2, depth=0, segments=0, max_length=6)
    pooled = encoder("vit", image_size=(8, 8), patch=8, hidden_size=8, heads=2, depth=1)
    text, image = {"text": TextInput(tokenizer, 6)}, {"image": ImageInput(8, 8, 1)}
    made = {"texts": (SimCSE(encoder=bag), text), "pictures": (Pixels(), image)}
    hashing = tokenizer.with_buckets(16)
    made["whole"] = (
        SimCSE(encoder=encoder("bag", vocab_size=len(hashing), hidden_size=8)), {"text": TextInput(hashing, 0)},
    )  # fmt: skip
    made["both"] = (CLIP(image_encoder=pooled, text_encoder=bag, vector_size=4), text | image)
    for name, (method, inputs) in made.items():
        run = Run.create(folder / name, {"method": method})
        shapes = jax.eval_shape(method.init, jax.random.key(0), {})
        params = jax.tree.map(lambda x: random.normal(0, 0.2, x.shape).astype(x.dtype), shapes)
        run.save_model(method, params, inputs)
        run.save(KeyedVectors(["test/0", "test/1"], np.eye(2, 8)))
        run.finish({})
    run = Run.create(folder / "words", {"method": {"class": "GloVe"}})
    run.save(KeyedVectors(["king", "queen"], np.eye(2)))
    run.finish({})
    return folder


@pytest.fixture
def run(runs, tmp_path):
    """Gives a copy of one of the runs."""
    return lambda name: shutil.copytree(runs / name, tmp_path / "runs" / name)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "lines.txt").write_text("\n".join(LINES) + "\n")
    return tmp_path / "lines.txt"


@pytest.fixture
def pictures(tmp_path):
    for i, name in enumerate(("b.png", "sub/a.PNG", "notes.txt")):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (9, 7, 3), np.uint8)
        with open(tmp_path / "pictures" / name, "wb") as file:
            Image.fromarray(pixels).save(file, "PNG")
    return tmp_path / "pictures"


def rows(capsys):
    return [line.split("  ")[1] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]


def test_sentences_are_embedded_and_searched(run, text, tmp_path, capsys):
    folder = run("texts")
    assert main(["embed", str(folder), str(text)]) == 0
    assert "embedded.safetensors: 5 vectors of 8 dimensions" in capsys.readouterr().out
    found = load_vectors(folder / "embedded.safetensors")
    assert found.index_to_key == KEYS
    model = jaxembed.load(folder)
    np.testing.assert_allclose(found.vectors, model.encode([LINES[i] for i in (0, 2, 3, 4, 5)]), atol=1e-6)
    notes = {"file": "embedded.safetensors", "from": str(text), "vectors": 5}
    assert json.loads((folder / "embedded.json").read_text()) == notes

    moved = folder.rename(tmp_path / "moved")
    assert main(["neighbors", str(moved), "a dog runs", "men play rain", "--topn", "4"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("neighbour") == 2
    assert "a dog runs (2)" in shown
    assert "two men play" in shown

    # By key, as those of words, where all are keys of the run's own vectors.
    assert main(["neighbors", str(moved), "test/0"]) == 0
    assert "test/1" in capsys.readouterr().out
    (moved / "vectors.safetensors").unlink()
    assert main(["neighbors", str(moved), "rain"]) == 0


def test_a_bag_of_words_takes_texts_of_any_length(run, tmp_path):
    folder, file = run("whole"), tmp_path / "long.txt"
    lines = ["a dog runs", "a dog runs " * 3000, "men unseen", " ".join(["rain"] * 700 + ["unseen"])]
    file.write_text("\n".join(lines) + "\n")
    assert main(["embed", str(folder), str(file)]) == 0
    found, model = load_vectors(folder / "embedded.safetensors").vectors, jaxembed.load(folder)
    np.testing.assert_allclose(model.encode(lines), found, atol=1e-6)
    net, takes = model.module.encoder, model.inputs["text"]
    table, weight = (np.asarray(x[...], np.float64) for x in (net.token_embedding, net.token_weight))
    for line, vector in zip(lines, found, strict=True):
        ids = takes.examples([line])["ids"][0]
        assert len(ids) == len(line.split()) + 2  # with its ends
        np.testing.assert_allclose(vector, np.average(table[ids], axis=0, weights=np.exp(weight[ids])), atol=1e-5)


def test_formats(run, text, tmp_path):
    folder = run("texts")
    vectors = {}
    for name in ("v.safetensors", "v.npy", "v.txt", "v.txt.gz"):
        assert main(["embed", str(folder), str(text), "--output", str(tmp_path / name), "--normalize"]) == 0
        path = tmp_path / name
        vectors[name] = np.load(path) if path.suffix == ".npy" else load_vectors(path).vectors
        np.testing.assert_array_equal(vectors[name], vectors["v.safetensors"])
        assert json.loads((folder / "embedded.json").read_text())["file"] == str(path)
    np.testing.assert_allclose(np.linalg.norm(vectors["v.npy"], axis=1), 1, atol=1e-6)
    assert load_vectors(tmp_path / "v.txt").index_to_key[:2] == ["a_dog_runs", "two_men_play"]


def test_pictures_are_embedded_and_found_by_texts(run, pictures, capsys):
    folder = run("both")
    assert main(["embed", str(folder), str(pictures)]) == 0
    assert load_vectors(folder / "embedded.safetensors").index_to_key == ["b.png", "sub/a.PNG"]
    assert main(["neighbors", str(folder), str(pictures / "b.png"), "rain"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("sub/a.PNG") == 2
    assert "1.000" in shown  # the picture itself
    assert main(["embed", str(run("pictures")), str(pictures / "b.png")]) == 0


@pytest.mark.slow
def test_a_column_of_a_dataset(run, capsys, tmp_path):
    data = ["--data", "fashion-mnist-small", "--split", "test", "--column", "image"]
    for name in ("pictures", "both"):
        folder = run(name)
        assert main(["embed", str(folder), *data, "--batch-size", "256"]) == 0
        assert load_vectors(folder / "embedded.safetensors").index_to_key[::999] == ["0", "999"]
    for name in ("texts", "both"):
        folder = run(name) if name == "texts" else tmp_path / "runs" / name
        assert (
            main(["embed", str(folder), "--data", "word-analogies", "--split", "google", "--column", "category"]) == 0
        )
        assert "capital-common-countries" in load_vectors(folder / "embedded.safetensors")


def test_slips_are_told_in_one_line(run, text, pictures, tmp_path, capsys):
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "bytes.txt").write_bytes(b"a\xff")
    (tmp_path / "none").mkdir()
    texts, of_pictures, words = run("texts"), run("pictures"), run("words")

    def error_of(*argv):
        capsys.readouterr()
        assert main([str(word) for word in argv]) == 1
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line

    assert "has not embedded anything yet" in error_of("neighbors", texts, "a dog")
    assert "holds vectors of words and no encoder" in error_of("embed", words, text)
    assert "has no encoder: --among" in error_of("neighbors", words, "king", "--among", text)
    assert "did you mean 'king'" in error_of("neighbors", words, "kin")
    assert "takes texts: number 0 is a picture" in error_of("embed", texts, pictures)
    assert "takes pictures: number 0 is a text" in error_of("embed", of_pictures, text)
    assert "holds no text" in error_of("embed", texts, tmp_path / "blank.txt")
    assert "is not a text in UTF-8" in error_of("embed", texts, tmp_path / "bytes.txt")
    assert "No such file" in error_of("embed", texts, tmp_path / "missing.txt")
    assert "holds no pictures" in error_of("embed", of_pictures, tmp_path / "none")
    assert "name a file that ends in .safetensors" in error_of("embed", texts, text, "--output", tmp_path / "v.csv")
    assert "give a text file" in error_of("embed", texts)
    assert "give a text file" in error_of("embed", texts, text, "--data", "enwik8-small")
    assert "has no column 'caption'" in error_of("embed", texts, "--data", "enwik8-small", "--column", "caption")
    assert "holds no run" in error_of("embed", tmp_path, text)
    assert main(["embed", str(texts), str(text), "--output", str(tmp_path / "v.npy")]) == 0
    assert "holds no keys" in error_of("neighbors", texts, "a dog")
    assert main(["embed", str(of_pictures), str(pictures)]) == 0
    assert "there is no picture a.png" in error_of("neighbors", of_pictures, "a.png")
    among = ["--among", tmp_path / "other.safetensors"]
    KeyedVectors(["a"], np.ones((1, 3))).save(among[1])
    assert "another model's" in error_of("neighbors", texts, "a dog", *among)


def test_documents_are_found_by_their_names_and_by_texts(tmp_path, capsys):
    run = tmp_path / "runs" / "seed-1"
    line = f"train doc2vec --max-words 4000 --vector-size 8 --epochs 1 --min-count 1 --output {run.parent}"
    assert main(line.split()) == 0
    (tmp_path / "new.txt").write_text("the first text\n\nanother one\n")
    capsys.readouterr()
    assert main(["neighbors", str(run), "2", "the history of the world", "--topn", "2"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("neighbour") == 2
    assert main(["embed", str(run), str(tmp_path / "new.txt")]) == 0
    found = KeyedVectors.load(run / "embedded.safetensors")
    assert found.index_to_key == ["the first text", "another one"]
    assert main(["neighbors", str(run), "the world", "--topn", "1"]) == 0
    assert "text" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no word that occurs"):
        jaxembed.load(run).search("zzzz")
