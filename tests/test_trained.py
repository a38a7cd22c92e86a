"""Runs in use: `jaxembed.load`, `encode`, `similarity`, `search`, and the Flax modules in them."""

import dataclasses
import json
import shutil
import sys
from io import BytesIO
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from PIL import Image

import jaxembed
from jaxembed import KeyedVectors, trained
from jaxembed.data.inputs import ImageInput, TextInput
from jaxembed.data.tokenized import TokenGroups, TokenizedImages, text_rows
from jaxembed.data.tokens import train_tokenizer
from jaxembed.encoders.functional import encoder
from jaxembed.methods.dense import embed
from jaxembed.methods.image_text import CLIP
from jaxembed.methods.images import MoCo, Pixels, SimCLR
from jaxembed.methods.sentences import AveragedTokens, SimCSE
from jaxembed.study.run import Run
from jaxembed.tracking import console

SENTENCES = [
    "a dog runs over the grass",
    "the brown dog is running",
    "two men play a guitar",
    "men make music together",
    "rain",
]
LENGTH, SIZE = 12, (28, 20, 1)
VIT = encoder("vit", hidden_size=16, depth=1, heads=2, patch=4)
TRANSFORMER = encoder("transformer", vocab_size=1, hidden_size=16, heads=2, depth=1, segments=0, norm="pre")
IMAGES = np.random.default_rng(0).integers(0, 256, (40, *SIZE), np.uint8)
METHODS = {
    "simclr": SimCLR(encoder=VIT, projection=(8,)),
    "moco": MoCo(encoder=encoder("resnet", width=2), projection=(4,), queue=8),
    "pixels": Pixels(),
    "simcse": SimCSE(encoder=TRANSFORMER, projection=(8,)),
    "averaged": AveragedTokens(),
    "clip": CLIP(image_encoder=VIT, text_encoder=TRANSFORMER, vector_size=8),
}


@dataclasses.dataclass
class Pixelled:
    """What the methods of images take."""

    images: np.ndarray
    labels: None = None


def weights(method, constants):
    """Random ones of the right shapes: to compile the true start of a ResNet takes half a minute."""
    random = np.random.default_rng(1)

    def leaf(path, shape):
        drawn = random.normal(0, 0.2, shape.shape).astype(shape.dtype)
        return np.abs(drawn) + 1 if "var" in jax.tree_util.keystr(path) else drawn

    return jax.tree_util.tree_map_with_path(leaf, jax.eval_shape(method.init, jax.random.key(0), constants))


def recorded(folder: Path, name: str) -> tuple[Path, dict[str, np.ndarray]]:
    """A run as training leaves it, its weights drawn at random, and its vectors of IMAGES and of SENTENCES."""
    tokenizer = train_tokenizer(SENTENCES, vocab_size=100, kind="word", min_count=1, cache=False)
    ids = text_rows(SENTENCES, tokenizer, LENGTH)
    numbers, start = np.arange(len(ids), dtype=np.int32), np.ones((len(tokenizer), 6), np.float32).cumsum(0)
    given = {"start": start} if name == "averaged" else {}
    groups = TokenGroups(
        ids[:, None], np.ones(len(ids), np.int32), numbers[:, None], len(tokenizer), max_length=LENGTH, **given
    )
    pairs = TokenizedImages(IMAGES[: len(ids)], ids, numbers, len(tokenizer), max_length=LENGTH)
    data = {"simcse": groups, "averaged": groups, "clip": pairs}.get(name, Pixelled(IMAGES))
    method = dataclasses.replace(METHODS[name], batch_size=4, watch=2).suited_to(data)
    constants = method.source(data).constants
    params = method.init(jax.random.key(3), constants) if name == "averaged" else weights(method, constants)
    inputs = {"image": ImageInput(*SIZE)} if data is not groups else {}
    inputs |= {"text": TextInput(tokenizer, LENGTH)} if not isinstance(data, Pixelled) else {}
    examples = {"image": {"images": IMAGES}, "text": {"ids": ids}}
    vectors = {kind: embed(method, params, examples[kind]) for kind in inputs}
    run = Run.create(folder / name, {"method": method, "seed": 1})
    run.save_model(method, params, inputs)
    shape = {"shape": list(SIZE)} if "image" in inputs else {}
    known = {"data": {**shape, **({"tokenizer": {}} if "text" in inputs else {})}, "trained_method": method}
    run.note(**known)
    run.save(KeyedVectors([f"{kind}/{i}" for kind in vectors for i in range(len(vectors[kind]))],
                          np.concatenate(list(vectors.values()))))  # fmt: skip
    run.finish({})
    return run.folder, vectors


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {name: recorded(folder, name) for name in METHODS}


@pytest.fixture
def no_data(monkeypatch, tmp_path):
    """Nothing to read from, and nothing to read it with."""
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setitem(sys.modules, "datasets", None)


@pytest.fixture(scope="module")
def models(runs):
    return {name: jaxembed.load(folder) for name, (folder, _) in runs.items()}


@pytest.fixture(scope="module")
def simclr(models):
    return models["simclr"]


@pytest.fixture(scope="module")
def clip(models):
    return models["clip"]


@pytest.mark.parametrize("name", METHODS)
def test_a_run_encodes_as_its_vectors_were_made_without_any_data(runs, name, no_data):
    folder, vectors = runs[name]
    model = jaxembed.load(folder)
    things = {"image": IMAGES, "text": SENTENCES}
    assert set(model.inputs) == set(vectors)
    for kind, expected in vectors.items():
        found = model.encode(things[kind])
        assert found.dtype == np.float32
        assert found.shape == (len(expected), model.vector_size)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_order_and_length_whatever_the_batches_and_little_is_compiled(simclr, runs):
    expected = runs["simclr"][1]["image"]
    trained._computed.clear_cache()
    for size in (3, 32):
        np.testing.assert_allclose(simclr.encode(IMAGES, batch_size=size), expected, atol=1e-6)
    before = trained._computed._cache_size()
    for n in (17, 20, 31, 32):
        np.testing.assert_allclose(simclr.encode(IMAGES[:n]), expected[:n], atol=1e-6)
    assert trained._computed._cache_size() == before
    unit = simclr.encode(list(IMAGES), normalize=True)
    np.testing.assert_allclose(unit, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(simclr.encode(list(IMAGES), normalize_embeddings=True), unit)
    assert simclr.encode(IMAGES[0]).shape == (simclr.vector_size,)
    assert "SimCLR, takes pictures, vector_size=16" in repr(simclr)


def test_a_text_is_encoded_alike_alone_and_beside_longer_ones(runs, models):
    model = models["simcse"]
    for text, expected in zip(SENTENCES, runs["simcse"][1]["text"], strict=True):
        np.testing.assert_allclose(model.encode(text), expected, atol=1e-6)
    long = " ".join(SENTENCES)
    with pytest.raises(ValueError, match=f"1 of the texts is longer than the {LENGTH} tokens"):
        model.encode([*SENTENCES, long], truncate=False)
    with pytest.warns(UserWarning, match="cut to these"):
        cut = model.encode([*SENTENCES, long, long])
    np.testing.assert_allclose(cut[:5], runs["simcse"][1]["text"], atol=1e-6)  # in their own order
    words = long.split()
    np.testing.assert_allclose(cut[5], model.encode(" ".join(words[: LENGTH - 2])), atol=1e-6)
    np.testing.assert_array_equal(model.encode(long), model.encode(long))  # told once
    assert model.encode(np.array(SENTENCES)).shape == (5, 16)


def test_a_picture_may_be_an_array_a_pillow_image_or_a_file(simclr, runs, tmp_path):
    expected = runs["simclr"][1]["image"]
    files = []
    for i, image in enumerate(IMAGES):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i}.png")
        files.append(tmp_path / f"{i}.png")
    several = [files, [Image.open(file) for file in files], list(IMAGES[..., 0]), jnp.asarray(IMAGES), iter(IMAGES)]
    for things in several:
        np.testing.assert_allclose(simclr.encode(things), expected, atol=1e-6)
    for thing in (files[0], Image.open(files[0]), IMAGES[0], IMAGES[0, ..., 0]):
        np.testing.assert_allclose(simclr.encode(thing), expected[0], atol=1e-6)


def test_two_towers_take_each_what_is_theirs_and_meet(clip, runs):
    vectors = runs["clip"][1]
    images, texts = clip.encode(IMAGES), clip.encode(SENTENCES)
    cosines = clip.similarity(images, texts)
    assert cosines.shape == (40, 5)
    np.testing.assert_allclose(cosines, vectors["image"] @ vectors["text"].T, atol=1e-5)  # both are of length 1
    assert clip.similarity(images[0], texts).shape == (1, 5)
    found = clip.search(SENTENCES[2], KeyedVectors([*SENTENCES], texts), topn=3)
    assert len(found) == 3
    assert SENTENCES[2] not in dict(found)
    best = np.argsort(-(texts @ texts[2]))[1]
    assert found[0] == (SENTENCES[best], pytest.approx(float(texts[best] @ texts[2]), abs=1e-5))
    with pytest.raises(ValueError, match="another model's"):
        clip.search("rain", KeyedVectors(["a"], np.ones((1, 3))))
    for a, b in ((images, texts[:, :3]), (IMAGES, texts), (SENTENCES, texts)):
        with pytest.raises(ValueError, match="as encode makes them"):
            clip.similarity(a, b)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("simcse", IMAGES[:2], "takes texts: number 0 is a picture; give strings"),
        ("simcse", [*SENTENCES, Path("a.png")], "number 5 is a picture"),
        ("simcse", [*SENTENCES * 20, " "], "text 100 is blank"),
        ("simcse", [], "nothing to encode"),
        ("simcse", "", "text 0 is blank"),
        ("simcse", 3, "expected texts or pictures to encode, found 3"),
        ("simcse", ["a", None], "number 1 is None"),
        ("simclr", SENTENCES, r"takes pictures: number 0 is a text; give paths \(pathlib.Path\('cat.png'\)"),
        ("simclr", IMAGES[:0], "nothing to encode"),
        ("simclr", IMAGES[..., 0], r"shape \(40, 28, 20\) is no picture: .*several as \[n, h, w, c\]"),
        ("simclr", IMAGES / np.float32(255), "picture 0 is of float32: give pixels as uint8"),
        ("simclr", [IMAGES[0], np.zeros((4, 4, 2), np.uint8)], r"picture 1 has the shape \(4, 4, 2\)"),
        ("simclr", [IMAGES[0], np.zeros((0, 4), np.uint8)], r"picture 1 has the shape \(0, 4\)"),
        ("simclr", [Path(__file__)], "test_trained.py cannot be read as a picture: it is no image of a known format"),
        ("clip", ["a dog", IMAGES[0]], "takes texts: number 1 is a picture"),
        ("clip", [IMAGES[0], "a dog"], "takes pictures: number 1 is a text"),
    ],
)
def test_what_cannot_be_encoded_is_told(models, name, given, message):
    with pytest.raises(ValueError, match=message):
        models[name].encode(given)


def test_other_slips_are_told(simclr, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no picture .*missing\.png"):
        simclr.encode(tmp_path / "missing.png")
    cut = BytesIO()
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(cut, "PNG")
    (tmp_path / "cut.png").write_bytes(cut.getvalue()[:60])
    with pytest.raises(ValueError, match=r"cut\.png cannot be read as a picture"):
        simclr.encode([tmp_path / "cut.png"])
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        simclr.encode(IMAGES, batch_size=0)
    with pytest.raises(ValueError, match="takes images of 4 axes, not an array of shape"):
        simclr.module(jnp.zeros((2, 3), jnp.int32))


def test_a_progress_bar_is_shown_on_a_terminal_when_it_takes_long(simclr, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes anything for a terminal
    shown = []
    for show, patience in ((None, 60), (False, -1), (True, 60), (None, -1)):
        monkeypatch.setattr(console, "_PATIENCE", patience)
        simclr.encode(IMAGES, show_progress_bar=show)
        shown.append("encoding" in capsys.readouterr().err)
    assert shown == [False, False, True, True]
    monkeypatch.delenv("FORCE_COLOR")
    simclr.encode(IMAGES)
    assert capsys.readouterr() == ("", "")


# -- modules


class Classifier(nnx.Module):
    """A linear layer on an encoder."""

    def __init__(self, encoder, size, classes, rngs):
        self.encoder, self.linear = encoder, nnx.Linear(size, classes, rngs=rngs)

    def __call__(self, batch, train=False, rngs=None):
        return self.linear(self.encoder(batch, train=train, rngs=rngs))


@pytest.mark.parametrize(
    "name", [pytest.param("simclr", marks=pytest.mark.slow), pytest.param("simcse", marks=pytest.mark.slow), "averaged"]
)
def test_a_classifier_is_trained_on_top_and_the_encoder_with_it(runs, name):
    model = jaxembed.load(runs[name][0])
    if "text" in model.inputs:
        batch, labels = model.inputs["text"].examples(SENTENCES)["ids"], np.array([0, 0, 1, 1, 2])
    else:
        batch, labels = IMAGES[:8], np.arange(8) % 3
    before = model.encode(SENTENCES if "text" in model.inputs else batch)
    net = Classifier(model.module, model.vector_size, 3, nnx.Rngs(0))
    optimizer, rngs = nnx.Optimizer(net, optax.adam(1e-2), wrt=nnx.Param), nnx.Rngs(dropout=1)

    @nnx.jit
    def step(net, optimizer, rngs, batch, labels):
        def loss(net, rngs):
            logits = net(batch, train=True, rngs=rngs)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        value, grads = nnx.value_and_grad(loss)(net, rngs)
        optimizer.update(net, grads)
        return value, grads

    losses = [step(net, optimizer, rngs, batch, labels) for _ in range(20)]
    assert losses[-1][0] < 0.7 * losses[0][0]
    reached = {path for path, grad in nnx.to_flat_state(losses[0][1]) if np.abs(grad[...]).max() > 0}
    own = "tokens" if name == "averaged" else "encoder"
    assert any(path[:2] == ("encoder", own) for path in reached)
    # The model encodes with what its module has become.
    after = model.encode(SENTENCES if "text" in model.inputs else batch)
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, model.module(jnp.asarray(batch)), atol=1e-5)


def test_two_towers_have_their_nets_for_attributes(clip):
    module = clip.module
    assert all(isinstance(getattr(module, name), nnx.Module) for name in ("image", "text", "image_head", "text_head"))
    assert module.log_scale.shape == ()

    @nnx.jit
    def by_hand(module, images):
        return module.image_head(module.image(module.method.augmentation.plain(images)))

    found = np.asarray(by_hand(module, IMAGES[:4]))
    np.testing.assert_allclose(found / np.linalg.norm(found, axis=1, keepdims=True), clip.encode(IMAGES[:4]), atol=1e-5)


def test_words_are_an_embedding_that_attends():
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    module = KeyedVectors(list("abcde"), vectors).module
    assert isinstance(module, nnx.Embed)
    np.testing.assert_array_equal(module(jnp.array([1, 4])), vectors[[1, 4]])
    np.testing.assert_allclose(module.attend(vectors[:2]), vectors[:2] @ vectors.T, rtol=1e-5)
    grads = nnx.grad(lambda module: module(jnp.array([2])).sum())(module)
    np.testing.assert_array_equal(grads.embedding[...].any(1), np.arange(5) == 2)


# -- what else may lie in a folder


def test_runs_of_older_versions_open_where_they_can(runs, tmp_path):
    old = {name: shutil.copytree(runs[name][0], tmp_path / name) for name in ("simclr", "clip", "simcse")}
    for folder in old.values():
        (folder / "model.json").unlink()
        (folder / "tokenizer.json").unlink(missing_ok=True)
    expected = runs["simclr"][1]["image"]
    np.testing.assert_allclose(jaxembed.load(old["simclr"]).encode(IMAGES), expected, atol=1e-6)
    with pytest.warns(UserWarning, match=r"has no tokenizer\.json, so that it cannot read texts"):
        model = jaxembed.load(old["clip"])
    np.testing.assert_allclose(model.encode(IMAGES), runs["clip"][1]["image"], atol=1e-6)
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer\.json.*jaxembed reproduce RUN --output FOLDER"):
        jaxembed.load(old["simcse"])


def test_what_is_missing_or_of_another_version_is_told(runs, tmp_path):
    source = runs["simcse"][0]

    def broken(change):
        folder = shutil.copytree(source, tmp_path / "broken")
        change(folder)
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            jaxembed.load(folder)
        shutil.rmtree(folder)
        return str(caught.value)

    def rewritten(text, other):
        def change(folder):
            known = (folder / "model.json").read_text()
            assert text in known
            (folder / "model.json").write_text(known.replace(text, other))

        return change

    assert "has no tokenizer.json" in broken(lambda folder: (folder / "tokenizer.json").unlink())
    assert "is not finished" in broken(lambda folder: (folder / "summary.json").unlink())
    assert "holds no run" in broken(lambda folder: (folder / "settings.json").unlink())
    error = broken(lambda folder: (folder / "encoder.safetensors").unlink())
    assert "has no encoder.safetensors, its weights" in error
    error = broken(rewritten('"class": "SimCSE"', '"class": "SimCTG"'))
    assert "is of another version" in error
    assert "SimCTG" in error
    assert f"recorded by jaxembed {jaxembed.__version__} at the commit" in error
    assert "dropthis" in broken(rewritten('"chunk": 0', '"dropthis": 0'))
    error = broken(rewritten('"hidden_size",\n          16', '"hidden_size",\n          8'))
    assert "the weights in" in error
    assert "are not those of this version's transformer" in error
    assert "unknown input 'sound'" in broken(rewritten('"text": {', '"sound": {'))
    with pytest.raises(FileNotFoundError):
        jaxembed.load(tmp_path / "nowhere")


def test_words_open_as_keyed_vectors_from_a_run_and_from_a_file(tmp_path):
    vectors = KeyedVectors(["king", "queen"], np.eye(2))
    run = Run.create(tmp_path / "words", {"method": {"class": "SkipGram"}, "seed": 1})
    run.save(vectors)
    run.finish({})
    for path in (run.folder, run.folder / "vectors.safetensors"):
        found = jaxembed.load(path)
        assert isinstance(found, KeyedVectors)
        assert found.index_to_key == ["king", "queen"]


def test_a_run_made_again_keeps_nothing_of_the_old_one(tmp_path):
    folder, _ = recorded(tmp_path, "simcse")
    (folder / "embedded.json").write_text("{}")
    run = Run.create(folder, {"seed": 2}, overwrite=True)
    run.finish({})
    assert not {"model.json", "tokenizer.json", "embedded.json"} & {path.name for path in folder.iterdir()}
    assert json.loads((folder / "settings.json").read_text()) == {"seed": 2}
