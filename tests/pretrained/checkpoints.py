"""Tiny checkpoints with the names that transformers gives their tensors, and what they compute, in NumPy float64.

Every forward pass is written from its paper, with a checkpoint's own names and layouts: it shares nothing with the tables of
`jaxembed.pretrained`.
"""

import json
import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.numpy import save_file

WIDTH, HEADS, INNER, LAYERS, PLACES, SIDE, PATCH = 8, 2, 12, 2, 16, 12, 4
_erf = np.vectorize(math.erf)
ACTIVATIONS = {
    "gelu": lambda x: x * 0.5 * (1 + _erf(x / math.sqrt(2))),
    "gelu_new": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
}


def drawn(shapes, seed=0):
    """Float32 tensors of these shapes, by name; none is what training starts from, and variances are positive."""
    rng = np.random.default_rng(seed)

    def values(name, shape):
        x = rng.normal(0, 0.4 if len(shape) < 2 else 1.5 / math.sqrt(np.prod(shape[1:]) + 1), shape)
        positive = name.endswith("running_var")
        return (1 + np.abs(x) if positive else x + (len(shape) == 1 and name.endswith("weight"))).astype(np.float32)

    return {name: values(name, shape) for name, shape in shapes.items()}


def linear(name, inputs, outputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name, size=WIDTH):
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


# -- what is stored


def bert(words):
    config = {
        "model_type": "bert", "vocab_size": words, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "hidden_act": "gelu",
        "num_attention_heads": HEADS, "intermediate_size": INNER, "max_position_embeddings": PLACES, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12, "pad_token_id": 0,
    }  # fmt: skip
    tables = {"word": words, "position": PLACES, "token_type": 2}
    shapes = {f"embeddings.{name}_embeddings.weight": (rows, WIDTH) for name, rows in tables.items()}
    shapes |= norm("embeddings.LayerNorm") | linear("pooler.dense", WIDTH, WIDTH)
    for i in range(LAYERS):
        at = f"encoder.layer.{i}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= linear(f"{at}.attention.{part}", WIDTH, WIDTH)
        shapes |= norm(f"{at}.attention.output.LayerNorm") | norm(f"{at}.output.LayerNorm")
        shapes |= linear(f"{at}.intermediate.dense", WIDTH, INNER) | linear(f"{at}.output.dense", INNER, WIDTH)
    return config, drawn(shapes)


def roberta(words):
    config, tensors = bert(words)
    config |= {"model_type": "roberta", "pad_token_id": 1, "max_position_embeddings": PLACES, "layer_norm_eps": 1e-5}
    return config, tensors


def distilbert(words):
    config = {
        "model_type": "distilbert", "vocab_size": words, "dim": WIDTH, "n_layers": LAYERS, "activation": "gelu",
        "n_heads": HEADS, "hidden_dim": INNER, "max_position_embeddings": PLACES, "pad_token_id": 0,
    }  # fmt: skip
    shapes = {
        "embeddings.word_embeddings.weight": (words, WIDTH),
        "embeddings.position_embeddings.weight": (PLACES, WIDTH),
    }
    shapes |= norm("embeddings.LayerNorm")
    for i in range(LAYERS):
        at = f"transformer.layer.{i}"
        for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
            shapes |= linear(f"{at}.attention.{part}", WIDTH, WIDTH)
        shapes |= norm(f"{at}.sa_layer_norm") | norm(f"{at}.output_layer_norm")
        shapes |= linear(f"{at}.ffn.lin1", WIDTH, INNER) | linear(f"{at}.ffn.lin2", INNER, WIDTH)
    return config, drawn(shapes)


def gpt2(words):
    config = {
        "model_type": "gpt2", "vocab_size": words, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_inner": INNER,
        "n_positions": PLACES, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
    }  # fmt: skip
    shapes = {"wte.weight": (words, WIDTH), "wpe.weight": (PLACES, WIDTH)} | norm("ln_f")
    for i in range(LAYERS):
        at = f"h.{i}"
        shapes |= norm(f"{at}.ln_1") | norm(f"{at}.ln_2")
        for name, inputs, outputs in (
            ("attn.c_attn", WIDTH, 3 * WIDTH), ("attn.c_proj", WIDTH, WIDTH), ("mlp.c_fc", WIDTH, INNER),
            ("mlp.c_proj", INNER, WIDTH),
        ):  # fmt: skip
            shapes |= {f"{at}.{name}.weight": (inputs, outputs), f"{at}.{name}.bias": (outputs,)}
    return config, drawn(shapes)


def _clip_layers(at):
    shapes = {}
    for i in range(LAYERS):
        layer = f"{at}.encoder.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{layer}.self_attn.{part}", WIDTH, WIDTH)
        shapes |= norm(f"{layer}.layer_norm1") | norm(f"{layer}.layer_norm2")
        shapes |= linear(f"{layer}.mlp.fc1", WIDTH, INNER) | linear(f"{layer}.mlp.fc2", INNER, WIDTH)
    return shapes


def clip(words):
    common = {
        "hidden_size": WIDTH, "intermediate_size": INNER, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
        "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    }  # fmt: skip
    config = {
        "model_type": "clip", "projection_dim": 6,
        "text_config": {**common, "vocab_size": words, "max_position_embeddings": PLACES},
        "vision_config": {**common, "image_size": SIDE, "patch_size": PATCH, "num_channels": 3},
    }  # fmt: skip
    shapes = {
        "logit_scale": (),
        "text_projection.weight": (6, WIDTH), "visual_projection.weight": (6, WIDTH),
        "text_model.embeddings.token_embedding.weight": (words, WIDTH),
        "text_model.embeddings.position_embedding.weight": (PLACES, WIDTH),
        "vision_model.embeddings.class_embedding": (WIDTH,),
        "vision_model.embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
        "vision_model.embeddings.position_embedding.weight": (1 + (SIDE // PATCH) ** 2, WIDTH),
    }  # fmt: skip
    for name in ("text_model.final_layer_norm", "vision_model.pre_layrnorm", "vision_model.post_layernorm"):
        shapes |= norm(name)
    return config, drawn(shapes | _clip_layers("text_model") | _clip_layers("vision_model"))


def vit():
    config = {
        "model_type": "vit", "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "hidden_act": "gelu", "intermediate_size": INNER, "image_size": SIDE, "patch_size": PATCH, "num_channels": 3,
        "layer_norm_eps": 1e-12,
    }  # fmt: skip
    shapes = {
        "embeddings.cls_token": (1, 1, WIDTH),
        "embeddings.position_embeddings": (1, 1 + (SIDE // PATCH) ** 2, WIDTH),
        "embeddings.patch_embeddings.projection.weight": (WIDTH, 3, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": (WIDTH,),
    } | norm("layernorm")  # fmt: skip
    for i in range(LAYERS):
        at = f"encoder.layer.{i}"
        for part in ("attention.query", "attention.key", "attention.value", "output.dense"):
            shapes |= linear(f"{at}.attention.{part}", WIDTH, WIDTH)
        shapes |= norm(f"{at}.layernorm_before") | norm(f"{at}.layernorm_after")
        shapes |= linear(f"{at}.intermediate.dense", WIDTH, INNER) | linear(f"{at}.output.dense", INNER, WIDTH)
    return config, drawn(shapes)


def resnet():
    config = {
        "model_type": "resnet", "layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [2, 4, 8, 16],
        "embedding_size": 2, "num_channels": 3, "hidden_act": "relu",
    }  # fmt: skip

    def normed(name, inputs, outputs, size):
        found = {f"{name}.convolution.weight": (outputs, inputs, size, size)} | norm(f"{name}.normalization", outputs)
        return found | {f"{name}.normalization.running_{kind}": (outputs,) for kind in ("mean", "var")}

    shapes, inputs = normed("embedder.embedder", 3, 2, 7), 2
    for stage, width in enumerate((2, 4, 8, 16)):
        for i in range(2):
            at = f"encoder.stages.{stage}.layers.{i}"
            shapes |= normed(f"{at}.layer.0", inputs, width, 3) | normed(f"{at}.layer.1", width, width, 3)
            shapes |= normed(f"{at}.shortcut", inputs, width, 1) if inputs != width else {}
            inputs = width
    return config, drawn(shapes)


def write(folder, config, tensors, tokenizer=None, **files):
    """A folder with these files; `1_Pooling__config` is the file 1_Pooling/config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"config": config, **files}
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    save_file({name: np.asarray(x, order="C") for name, x in tensors.items()}, folder / "model.safetensors")
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
    return folder


# -- what is computed


class Forward:
    """The parts of a forward pass, over tensors in float64."""

    def __init__(self, tensors, epsilon, activation):
        self.tensors = {name: x.astype(np.float64) for name, x in tensors.items()}
        self.epsilon, self.activate = epsilon, ACTIVATIONS[activation]

    def __getitem__(self, name):
        return self.tensors[name]

    def linear(self, name, x):
        return x @ self[f"{name}.weight"].T + self.tensors.get(f"{name}.bias", 0)

    def norm(self, name, x):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.epsilon)
        return scaled * self[f"{name}.weight"] + self[f"{name}.bias"]

    def attend(self, q, k, v, causal=False):
        """Of one text without padding, `[L, D]`."""
        heads = [np.split(x, HEADS, axis=-1) for x in (q, k, v)]
        out = []
        for q, k, v in zip(*heads, strict=True):
            scores = q @ k.T / math.sqrt(q.shape[-1])
            scores = np.where(np.tril(np.ones(scores.shape)) > 0, scores, -np.inf) if causal else scores
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out.append(weights / weights.sum(-1, keepdims=True) @ v)
        return np.concatenate(out, axis=-1)


def _post(f, x, at, q, k, v, out, norm1, up, down, norm2):
    x = f.norm(norm1, x + f.linear(out, f.attend(*(f.linear(part, x) for part in (q, k, v)))))
    return f.norm(norm2, x + f.linear(down, f.activate(f.linear(up, x))))


def run_bert(config, tensors, ids):
    """States of the tokens of one text, `[L, D]` (Devlin et al. 2019)."""
    f = Forward(tensors, config["layer_norm_eps"], "gelu")
    first = config["pad_token_id"] + 1 if config["model_type"] == "roberta" else 0
    places = f["embeddings.position_embeddings.weight"][first : first + len(ids)]
    x = f["embeddings.word_embeddings.weight"][ids] + places + f["embeddings.token_type_embeddings.weight"][0]
    x = f.norm("embeddings.LayerNorm", x)
    for i in range(LAYERS):
        at = f"encoder.layer.{i}"
        x = _post(
            f, x, at, *(f"{at}.attention.self.{part}" for part in ("query", "key", "value")), f"{at}.attention.output.dense",
            f"{at}.attention.output.LayerNorm", f"{at}.intermediate.dense", f"{at}.output.dense", f"{at}.output.LayerNorm",
        )  # fmt: skip
    return x


def run_distilbert(config, tensors, ids):
    """States of the tokens of one text, `[L, D]` (Sanh et al. 2019)."""
    f = Forward(tensors, 1e-12, "gelu")
    x = f["embeddings.word_embeddings.weight"][ids] + f["embeddings.position_embeddings.weight"][: len(ids)]
    x = f.norm("embeddings.LayerNorm", x)
    for i in range(LAYERS):
        at = f"transformer.layer.{i}"
        x = _post(
            f, x, at, *(f"{at}.attention.{part}_lin" for part in "qkv"), f"{at}.attention.out_lin", f"{at}.sa_layer_norm",
            f"{at}.ffn.lin1", f"{at}.ffn.lin2", f"{at}.output_layer_norm",
        )  # fmt: skip
    return x


def run_gpt2(config, tensors, ids):
    """States of the tokens of one text, `[L, D]` (Radford et al. 2019)."""
    f = Forward(tensors, 1e-5, "gelu_new")
    plain = lambda name, x: x @ f[f"{name}.weight"] + f[f"{name}.bias"]
    x = f["wte.weight"][ids] + f["wpe.weight"][: len(ids)]
    for i in range(LAYERS):
        qkv = np.split(plain(f"h.{i}.attn.c_attn", f.norm(f"h.{i}.ln_1", x)), 3, axis=-1)
        x = x + plain(f"h.{i}.attn.c_proj", f.attend(*qkv, causal=True))
        x = x + plain(f"h.{i}.mlp.c_proj", f.activate(plain(f"h.{i}.mlp.c_fc", f.norm(f"h.{i}.ln_2", x))))
    return f.norm("ln_f", x)


def _pre(f, x, at, norm1, qkv, out, norm2, up, down, causal=False):
    y = f.norm(f"{at}.{norm1}", x)
    x = x + f.linear(f"{at}.{out}", f.attend(*(f.linear(f"{at}.{part}", y) for part in qkv), causal=causal))
    return x + f.linear(f"{at}.{down}", f.activate(f.linear(f"{at}.{up}", f.norm(f"{at}.{norm2}", x))))


def _clip_tower(f, x, at, causal):
    qkv = [f"self_attn.{part}_proj" for part in "qkv"]
    for i in range(LAYERS):
        names = ("layer_norm1", qkv, "self_attn.out_proj", "layer_norm2", "mlp.fc1", "mlp.fc2")
        x = _pre(f, x, f"{at}.encoder.layers.{i}", *names, causal=causal)
    return x


def run_clip_text(config, tensors, ids):
    """The vector of one text of length 1, `[projection_dim]` (Radford et al. 2021)."""
    f = Forward(tensors, 1e-5, "quick_gelu")
    at = "text_model.embeddings"
    x = f[f"{at}.token_embedding.weight"][ids] + f[f"{at}.position_embedding.weight"][: len(ids)]
    x = f.norm("text_model.final_layer_norm", _clip_tower(f, x, "text_model", causal=True))[-1]
    return _unit(f.linear("text_projection", x))


def _patches(weight, pixels):
    """A convolution whose stride is its size, of pixels `[H, W, C]`: `[places, D]`."""
    size = weight.shape[-1]
    rows = [
        np.einsum("dcij,ijc->d", weight, pixels[y : y + size, x : x + size])
        for y in range(0, pixels.shape[0], size)
        for x in range(0, pixels.shape[1], size)
    ]
    return np.stack(rows)


def run_clip_image(config, tensors, pixels):
    """The vector of one picture, normalised pixels `[H, W, C]`, of length 1."""
    f = Forward(tensors, 1e-5, "quick_gelu")
    at = "vision_model.embeddings"
    x = np.concatenate([f[f"{at}.class_embedding"][None], _patches(f[f"{at}.patch_embedding.weight"], pixels)])
    x = f.norm("vision_model.pre_layrnorm", x + f[f"{at}.position_embedding.weight"])
    x = f.norm("vision_model.post_layernorm", _clip_tower(f, x, "vision_model", causal=False)[0])
    return _unit(f.linear("visual_projection", x))


def run_vit(config, tensors, pixels):
    """The state of the class token of one picture (Dosovitskiy et al. 2021)."""
    f = Forward(tensors, config["layer_norm_eps"], "gelu")
    at = "embeddings.patch_embeddings.projection"
    x = _patches(f[f"{at}.weight"], pixels) + f[f"{at}.bias"]
    x = np.concatenate([f["embeddings.cls_token"][0], x]) + f["embeddings.position_embeddings"][0]
    qkv = [f"attention.attention.{part}" for part in ("query", "key", "value")]
    for i in range(LAYERS):
        names = (
            "layernorm_before",
            qkv,
            "attention.output.dense",
            "layernorm_after",
            "intermediate.dense",
            "output.dense",
        )
        x = _pre(f, x, f"encoder.layer.{i}", *names)
    return f.norm("layernorm", x)[0]


def run_resnet(config, tensors, pixels):
    """The mean over the places of the last stage (He et al. 2016)."""
    f = Forward(tensors, 1e-5, "gelu")

    def normed(name, x, stride):
        weight = f[f"{name}.convolution.weight"]
        size = weight.shape[-1]
        padded = np.pad(x, ((size // 2,) * 2, (size // 2,) * 2, (0, 0)))
        windows = sliding_window_view(padded, (size, size), axis=(0, 1))[::stride, ::stride]
        x, at = np.einsum("hwcij,dcij->hwd", windows, weight), f"{name}.normalization"
        x = (x - f[f"{at}.running_mean"]) / np.sqrt(f[f"{at}.running_var"] + 1e-5)
        return x * f[f"{at}.weight"] + f[f"{at}.bias"]

    x = np.maximum(normed("embedder.embedder", pixels, 2), 0)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    x = sliding_window_view(padded, (3, 3), axis=(0, 1))[::2, ::2].max((-1, -2))
    for stage in range(4):
        for i in range(2):
            at, stride = f"encoder.stages.{stage}.layers.{i}", 2 if stage and not i else 1
            y = normed(f"{at}.layer.1", np.maximum(normed(f"{at}.layer.0", x, stride), 0), 1)
            x = normed(f"{at}.shortcut", x, stride) if f"{at}.shortcut.convolution.weight" in tensors else x
            x = np.maximum(x + y, 0)
    return x.mean((0, 1))


def _unit(x):
    return x / np.linalg.norm(x)
