"""Training that starts from a checkpoint: encoders, tokenizer and weights are its own, and the last layers may learn alone."""

import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.special import logsumexp
from tokenizers import Tokenizer as Core
from tokenizers import models, pre_tokenizers

import jaxembed
from jaxembed.cli import main
from jaxembed.data.tokenized import TokenGroups
from jaxembed.data.tokens import train_tokenizer
from jaxembed.pretrained import Parts, open_parts, opened
from jaxembed.recipes import recipe
from jaxembed.study.reproduce import reproduce
from jaxembed.study.run import Run

from . import checkpoints as tiny

TEXT = "a dog runs over the brown grass two men play guitar in warm rain music"
WORDS = TEXT.split()
GROUPS = [[" ".join(WORDS[i : i + 4]), " ".join(WORDS[i + 1 : i + 6])] for i in range(9)]
SMALL = ["--batch-size", "4", "--watch", "4", "--max-length", "12", "--epochs", "1"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    core = train_tokenizer([TEXT], vocab_size=80, min_count=1, cache=False).core
    told = {"pad_token": "[PAD]", "model_max_length": 12}
    return tiny.write(
        tmp_path_factory.mktemp("start") / "bert", *tiny.bert(core.get_vocab_size()), core, tokenizer_config=told
    )


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Captions, and pairs with scores."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in ("captions", "pairs"):
        (tmp_path / name).mkdir()
    pq.write_table(pa.table({"captions": GROUPS}), tmp_path / "captions" / "train.parquet")
    a, b = (list(side) for side in zip(*GROUPS, strict=True))
    pairs = pa.table({"sentence1": a, "sentence2": b, "score": [float(i % 5) for i in range(9)]})
    for split in ("validation", "test"):
        pq.write_table(pairs, tmp_path / "pairs" / f"{split}.parquet")
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return ["--data", "captions", "--sts", "pairs"]


def test_a_recipe_takes_over_encoder_and_tokenizer_and_other_settings_still_hold(bert):
    one = recipe("simcse").with_(start=str(bert), dropout=0.3, max_length=20)
    own = open_parts(bert).nets["text"].encoder
    assert one.method.encoder == own.with_(dropout=0.3)
    assert (one.task.tokenizer, one.task.start, one.task.buckets, one.task.max_length) == (str(bert), None, 0, 20)
    assert one.training.learning_rate == 3e-5
    assert recipe("simcse").with_(start=str(bert), learning_rate=1e-4).training.learning_rate == 1e-4
    with pytest.raises(ValueError, match="has no encoder of pictures, which SimCLR starts from: it has one of texts"):
        recipe("simclr").with_(start=str(bert))


def test_seeds_that_train_at_once_start_from_the_same_encoder_and_from_heads_of_their_own(bert):
    method = recipe("simcse").with_(start=str(bert), projection=(4,), batch_size=2, watch=2).method
    ids = np.ones((3, 1, 5), np.int32)
    groups = TokenGroups(ids, np.ones(3, np.int32), np.arange(3)[:, None], 9, max_length=12)
    method = method.suited_to(groups)
    constants, keys = method.source(groups).constants, jax.random.split(jax.random.key(0), 2)
    params = jax.jit(jax.vmap(method.init, (0, None)))(keys, constants)
    own = open_parts(bert).nets["text"].params
    for found, expected in zip(*map(jax.tree.leaves, (params.net["encoder"], own)), strict=True):
        np.testing.assert_array_equal(found, np.stack([expected, expected]))
    heads = params.net["head"]["linears"]["0"]["kernel"]
    assert not np.array_equal(heads[0], heads[1])


def test_a_model_of_the_hub_is_recorded_with_its_commit():
    assert Parts("someone/tiny", {}, revision="c0ffee").pinned == "someone/tiny@c0ffee"
    assert Parts("folder/tiny", {}).pinned == "folder/tiny"


@pytest.mark.slow
def test_simcse_trains_the_last_layer_of_a_checkpoint_and_goes_on_from_its_run(bert, data, capsys):
    options = [*data, *SMALL, "--train-layers", "1", "--learning-rate", "0.01", "--warmup", "0"]
    assert main(["train", "simcse", "--start", str(bert), *options, "--output", "once"]) == 0, capsys.readouterr().err
    before, after = (open_parts(place).nets["text"].params for place in (bert, "once/seed-1"))
    changed = jax.tree.map(lambda x, y: bool((x != y).any()), before, after)
    assert not any(jax.tree.leaves({name: of for name, of in changed.items() if name != "blocks"}))
    assert not any(jax.tree.leaves(changed["blocks"]["0"]))
    assert all(jax.tree.leaves({name: of for name, of in changed["blocks"]["1"].items() if name != "attention"}))
    # untrained, it is judged as it is: a checkpoint, and then the run
    for start in (bert, "once/seed-1"):
        line = [
            "train",
            "untrained-sentences",
            "--start",
            str(start),
            *data,
            *SMALL,
            "--output",
            f"judged-{start!s:.1}",
        ]
        assert main(line) == 0, capsys.readouterr().err
        run = Run.open(f"judged-{start!s:.1}/seed-1")
        texts = [a for a, _ in GROUPS]
        expected = np.stack([run.vectors()[f"test/a/{i}"] for i in range(len(texts))])
        np.testing.assert_allclose(jaxembed.load(start).encode(texts), expected, atol=1e-5)
        assert run.settings["method"]["start"] == str(start)


def test_other_sizes_than_the_checkpoints_and_a_foreign_tokenizer_are_refused(bert, data, capsys):
    assert main(["train", "simcse", "--start", str(bert), *data, *SMALL, "--depth", "3"]) == 1
    assert "the encoder is not that of" in (told := capsys.readouterr().err)
    assert "depth: 3 and there 2" in told
    for size in ("60", "300"):  # fewer tokens than the checkpoint has, and more
        more = ["--tokenizer", "bpe", "--vocab-size", size, "--output", "other"]
        assert main(["train", "simcse", "--start", str(bert), *data, *SMALL, *more]) == 1
        assert "leave the tokenizer 'bpe' out" in capsys.readouterr().err
    assert main(["train", "simcse", "--start", str(bert), *data, *SMALL, "--max-length", "99", "--output", "long"]) == 1
    assert f"the {tiny.PLACES} that {bert} reads" in capsys.readouterr().err
    assert (
        main(["train", "simcse", *data, *SMALL, "--train-layers", "1", "--no-task.start", "--output", "bag"]) == 1
    )  # of words
    assert "there is none: leave it out" in capsys.readouterr().err
    assert main(["train", "simcse", "--start", "./nowhere", *data]) == 1
    assert "there is no folder" in capsys.readouterr().err


def test_methods_of_pictures_take_over_size_channels_and_scale_of_pixels(tmp_path):
    config, tensors = tiny.vit()
    told = {"size": {"height": 12, "width": 12}, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    folder = tiny.write(tmp_path / "vit", config, tensors, preprocessor_config=told)
    one = recipe("simclr").with_(start=str(folder), projection=(4,), batch_size=4, watch=2)
    assert (one.task.size, one.task.channels) == ((12, 12), 3)
    assert one.method.augmentation.mean == (0.1, 0.2, 0.3)

    class Colour:
        images = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3), np.uint8)
        labels = None

    method = one.method.suited_to(Colour)
    params = jax.eval_shape(method.init, jax.random.key(0), method.source(Colour).constants)
    assert params.net["encoder"]["class_token"].shape == (1, tiny.WIDTH)
    given = method.source(Colour).constants["start_weights"]["encoder"][0]
    np.testing.assert_array_equal(given["class_token"], tensors["embeddings.cls_token"][0])
    Colour.images = Colour.images[..., :1]
    method = one.method.suited_to(Colour)
    with pytest.raises(ValueError, match="channels: 1 and there 3"):
        method.source(Colour)


def test_both_towers_start_from_clip_with_its_projections_and_scale(tmp_path):
    core = train_tokenizer([TEXT], vocab_size=80, min_count=1, cache=False).core
    config, tensors = tiny.clip(core.get_vocab_size())
    tensors["logit_scale"] = np.float32(2.5)
    folder = tiny.write(tmp_path / "clip", config, tensors, core, tokenizer_config={"pad_token": "[PAD]"})
    one = recipe("clip").with_(start=str(folder))
    assert (one.method.vector_size, one.method.projection_bias) == (6, False)
    assert one.method.scale == pytest.approx(np.exp(2.5))
    assert (one.task.size, one.task.tokenizer) == ((12, 12), str(folder))
    assert set(one.method.started_nets(open_parts(folder))) == {"image", "text", "image_head", "text_head"}


def test_a_language_model_goes_on_from_a_checkpoint(bert, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXEMBED_CACHE", str(tmp_path / "cache"))
    core = train_tokenizer([TEXT], vocab_size=80, min_count=1, cache=False).core
    core.add_special_tokens(["[MASK]"])
    told = {"pad_token": "[PAD]", "mask_token": "[MASK]", "model_max_length": 12}
    masked = tiny.write(tmp_path / "masked", *tiny.bert(core.get_vocab_size()), core, tokenizer_config=told)
    (tmp_path / "texts.txt").write_text("\n".join(" ".join(group) for group in GROUPS))
    one = recipe("bert").with_(start=str(masked), data=str(tmp_path / "texts.txt"), length=8, watch=2)
    own = open_parts(masked).nets["text"]
    data = one.task.found.train
    method = one.method.suited_to(data)
    assert method.encoder == own.encoder
    assert data.marks.mask == core.token_to_id("[MASK]")
    params = jax.jit(method.init)(jax.random.key(0), method.source(data).constants)
    jax.tree.map(np.testing.assert_array_equal, params.net["encoder"], own.params)
    with pytest.raises(ValueError, match=r"texts of 999 tokens are longer than the \d+ that"):
        one.method.with_(length=999).suited_to(data_of(999 * 3, data))
    without = recipe("bert").with_(start=str(bert), data=str(tmp_path / "texts.txt"), length=8)
    with pytest.raises(ValueError, match="no token that hides a word"):
        without.method.suited_to(without.task.found.train)


def test_padding_that_a_checkpoint_does_not_have_is_never_predicted(tmp_path, monkeypatch):
    """GPT-2's scores are far below 0, which is the score of a row of zeros."""
    monkeypatch.setenv("JAXEMBED_CACHE", str(tmp_path / "cache"))
    core = Core(models.WordLevel({word: i for i, word in enumerate([*dict.fromkeys(WORDS), "<|endoftext|>"])}))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens(["<|endoftext|>"])
    config, tensors = tiny.gpt2(core.get_vocab_size())
    tensors["wte.weight"] -= 2
    tensors["ln_f.bias"] += 4
    gpt2 = tiny.write(tmp_path / "gpt2", config, tensors, core)
    (tmp_path / "texts.txt").write_text("\n".join(" ".join(group) for group in GROUPS))
    one = recipe("gpt").with_(start=str(gpt2), data=str(tmp_path / "texts.txt"), length=8, watch=2, dropout=0.0)
    data = replace(one.task.found.train, marks=replace(one.task.found.train.marks, consecutive=True))
    method = one.method.suited_to(data)
    params = jax.jit(method.init)(jax.random.key(0), method.source(data).constants)
    ids = data.tokens[:9].astype(np.int32)
    assert data.vocabulary_size == core.get_vocab_size() + 1
    theirs = np.where(ids == core.get_vocab_size(), 0, ids)  # the first word has changed places with padding
    scores = tiny.run_gpt2(config, tensors, theirs[:-1]) @ tensors["wte.weight"].T.astype(np.float64)
    assert scores.max() < -20
    wanted = logsumexp(scores, axis=1) - scores[np.arange(8), theirs[1:]]
    found = jax.jit(method.judged, static_argnums=2)(params, ids[None], 8)
    assert found.weight.all()
    np.testing.assert_allclose(found.loss[0], wanted, rtol=1e-5)
    batch = {"ids": ids[None]}
    assert method.loss({}, params.net, params.kept, batch, jax.random.key(0)).value == pytest.approx(
        wanted.mean(), rel=1e-5
    )


@pytest.mark.parametrize(
    ("objective", "others"),
    [
        ("softmax", {"transform": False}),
        pytest.param("adaptive_softmax", {"cutoffs": (20,)}, marks=pytest.mark.slow),
        pytest.param("softmax", {"objective": "adaptive_softmax"}, marks=pytest.mark.slow),
    ],
)
def test_a_language_model_goes_on_from_a_run_with_its_output(objective, others, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("JAXEMBED_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name, groups in (("texts", GROUPS), ("others", GROUPS[::-2])):
        (tmp_path / f"{name}.txt").write_text("\n".join(" ".join(group) for group in groups))
    small = {"length": 8, "watch": 2, "batch_size": 2, "hidden_size": 8, "depth": 1, "heads": 2, "vocab_size": 60}
    line = [word for name, x in small.items() for word in (f"--{name.replace('_', '-')}", str(x))]
    line = ["train", "bert", *line, "--objective", objective, "--cutoffs", "10", "--data", "texts.txt"]
    assert main([*line, "--learning-rate", "0.1", "--output", "run"]) == 0, capsys.readouterr().err
    there = Run.open("run/seed-1").encoder()
    opened.cache_clear()
    one = recipe("bert").with_(
        start="run/seed-1", data="others.txt", length=8, watch=2, objective=objective, cutoffs=(10,), vocab_size=60
    )
    data = one.task.found.train
    begun = lambda method: jax.jit(method.init)(jax.random.key(0), method.source(data).constants)
    method = one.method.suited_to(data)
    params = begun(method)
    jax.tree.map(np.testing.assert_array_equal, params.net, there.net)
    if objective == "adaptive_softmax":  # other texts, other frequencies: the clusters stay what they are
        np.testing.assert_array_equal(params.kept["order"], there.kept["order"])
        np.testing.assert_array_equal(params.kept["order"][params.kept["rank"]], np.arange(data.vocabulary_size))
        assert (np.argsort(-data.counts, kind="stable") != there.kept["order"]).any()
    # an output of another shape starts anew, and the encoder goes on
    params = begun(one.method.with_(**others).suited_to(data))
    jax.tree.map(np.testing.assert_array_equal, params.net["encoder"], there.net["encoder"])
    assert not np.any(params.net["output"]["bias"])
    parts = open_parts("run/seed-1")
    assert method.start_fingerprint == parts.whole_fingerprint != parts.fingerprint
    parts.output["bias"][3] += 1
    assert method.start_fingerprint != replace(parts).whole_fingerprint
    opened.cache_clear()


def data_of(n, stream):
    """A stream of `n` tokens."""
    return replace(stream, tokens=np.full(n, 5, np.uint16))


def test_a_run_is_of_the_weights_that_it_started_from(bert, data, tmp_path, capsys):
    shutil.copytree(bert, tmp_path / "mine")
    line = ["train", "untrained-sentences", "--start", "mine", *data, *SMALL, "--output", "run"]
    assert main(line) == 0, capsys.readouterr().err
    reproduce("run/seed-1")
    tensors = load_file("mine/model.safetensors")
    tensors["embeddings.word_embeddings.weight"][5, 0] += 1
    save_file(tensors, "mine/model.safetensors")
    opened.cache_clear()
    assert main(line) == 1
    assert "start_fingerprint" in capsys.readouterr().err
    with pytest.raises(ValueError, match="the weights of mine are not those that the run started from"):
        reproduce("run/seed-1")
