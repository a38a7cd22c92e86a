"""The families of models whose checkpoints can be opened: which encoder a config.json is, and what its tensors are called."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.pretrained.names import (
    Layout,
    Names,
    batch_norm,
    behind,
    convolution,
    leaf,
    linear,
    norm,
    patches,
    shaped,
    under,
    words,
)

Config = Mapping[str, Any]

#: What activations are called elsewhere.
ACTIVATIONS = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu", "relu": "relu",
}  # fmt: skip
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class Vocabulary:
    """The rows of a checkpoint's token table, and the id of padding, which may lie behind them: it then has no row there."""

    rows: int
    pad: int

    @property
    def size(self) -> int:
        """Rows of the table here."""
        return max(self.rows, self.pad + 1)

    @property
    def layout(self) -> Layout:
        """How the tables correspond."""
        return words(self.rows, self.pad)


@dataclass(frozen=True)
class Net:
    """An encoder and the names of its tensors."""

    encoder: Encoder
    names: Names


@dataclass(frozen=True)
class Family:
    """A family of models.

    nets: the encoders of a config.json, by what they are ("text", "image", and heads). prefix: what names begin with where the
    model was saved with a head. unused: regular expression of tensors that no encoder needs: heads, buffers. normalization:
    mean and standard deviation of pixels, where the checkpoint does not tell them.
    """

    nets: Callable[[Config, Vocabulary], dict[str, Net]]
    prefix: str
    unused: str
    normalization: tuple[tuple[float, ...], tuple[float, ...]] = HALF


def activation(name: str) -> str:
    """The activation that is called `name` elsewhere. Raises ValueError for one that encoders here do not have."""
    if name not in ACTIVATIONS:
        raise ValueError(f"its activation is {name!r}, and encoders here have {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def plain(config: Config, **expected: Any) -> None:
    """Raises ValueError where a config departs from what the encoders here do."""
    for name, value in expected.items():
        if config.get(name, value) != value:
            raise ValueError(f"its config.json has {name} {config[name]!r}, and only {value!r} is supported")


def _bert(config: Config, vocabulary: Vocabulary) -> dict[str, Net]:
    """BERT (Devlin et al. 2019), and RoBERTa, whose positions begin behind that of padding (Liu et al. 2019)."""
    plain(config, position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)
    first = config.get("pad_token_id", 1) + 1 if config["model_type"] in ("roberta", "xlm-roberta") else 0
    net = encoder(
        "transformer", vocab_size=vocabulary.size, hidden_size=config["hidden_size"], depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"], mlp_size=config["intermediate_size"],
        max_length=config["max_position_embeddings"] - first, segments=config.get("type_vocab_size", 0),
        dropout=config.get("hidden_dropout_prob", 0.1), activation=activation(config["hidden_act"]),
        epsilon=config.get("layer_norm_eps", 1e-12),
    )  # fmt: skip
    return {"text": Net(net, bert_names(net, vocabulary.layout, behind(first)))}


def bert_names(net: Encoder, table: Layout, places: Layout) -> Names:
    """The names of BERT's tensors."""
    found = under(
        token_embedding=leaf("embeddings.word_embeddings.weight", table),
        segment_embedding=leaf("embeddings.token_type_embeddings.weight"),
        position_embedding=leaf("embeddings.position_embeddings.weight", places),
        embedding_norm=norm("embeddings.LayerNorm"),
    )
    for i in range(net["depth"]):
        layer, block = f"encoder.layer.{i}", f"blocks__{i}__"
        qkv = (f"{layer}.attention.self.{part}" for part in ("query", "key", "value"))
        found |= under(**{
            f"{block}attention__qkv": linear(*qkv),
            f"{block}attention__out": linear(f"{layer}.attention.output.dense"),
            f"{block}norm1": norm(f"{layer}.attention.output.LayerNorm"),
            f"{block}up": linear(f"{layer}.intermediate.dense"),
            f"{block}down": linear(f"{layer}.output.dense"),
            f"{block}norm2": norm(f"{layer}.output.LayerNorm"),
        })  # fmt: skip
    return found


def bert_config(net: Encoder, vocab_size: int) -> dict[str, Any]:
    """The config.json of an encoder that BERT can express. Raises ValueError that names all that it cannot."""
    causes = [
        f"{name} {net[name]!r} (BERT has {value!r})"
        for name, value in {"norm": "post", "causal": False, "embedding_norm": True, "token_dim": None}.items()
        if net[name] != value
    ]
    causes += [f"positions {net['positions']!r}"] * (net["positions"] not in ("learned", "sinusoidal", "none"))
    causes += ["pooling 'weighted'"] * (net["pooling"] == "weighted")
    if causes:
        raise ValueError(f"this encoder cannot be written as BERT: {'; '.join(causes)}")
    theirs = {ours: name for name, ours in reversed(ACTIVATIONS.items())}
    return {
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": vocab_size, "hidden_size": net["hidden_size"],
        "num_hidden_layers": net["depth"], "num_attention_heads": net["heads"],
        "intermediate_size": net["mlp_size"] or 4 * net["hidden_size"], "max_position_embeddings": net["max_length"],
        "type_vocab_size": max(net["segments"], 1), "hidden_act": theirs[net["activation"]],
        "hidden_dropout_prob": net["dropout"], "attention_probs_dropout_prob": net["dropout"],
        "layer_norm_eps": net["epsilon"], "position_embedding_type": "absolute", "pad_token_id": 0,
    }  # fmt: skip


def _distilbert(config: Config, vocabulary: Vocabulary) -> dict[str, Net]:
    """DistilBERT: BERT without segments, and with other names (Sanh et al. 2019)."""
    net = encoder(
        "transformer", vocab_size=vocabulary.size, hidden_size=config["dim"], depth=config["n_layers"],
        heads=config["n_heads"], mlp_size=config["hidden_dim"], max_length=config["max_position_embeddings"], segments=0,
        dropout=config.get("dropout", 0.1), activation=activation(config["activation"]), epsilon=1e-12,
    )  # fmt: skip
    found = under(
        token_embedding=leaf("embeddings.word_embeddings.weight", vocabulary.layout),
        position_embedding=leaf("embeddings.position_embeddings.weight"),
        embedding_norm=norm("embeddings.LayerNorm"),
    )
    for i in range(net["depth"]):
        layer, block = f"transformer.layer.{i}", f"blocks__{i}__"
        found |= under(**{
            f"{block}attention__qkv": linear(*(f"{layer}.attention.{part}_lin" for part in "qkv")),
            f"{block}attention__out": linear(f"{layer}.attention.out_lin"),
            f"{block}norm1": norm(f"{layer}.sa_layer_norm"),
            f"{block}up": linear(f"{layer}.ffn.lin1"),
            f"{block}down": linear(f"{layer}.ffn.lin2"),
            f"{block}norm2": norm(f"{layer}.output_layer_norm"),
        })  # fmt: skip
    return {"text": Net(net, found)}


def _gpt2(config: Config, vocabulary: Vocabulary) -> dict[str, Net]:
    """GPT-2 (Radford et al. 2019): causal, normalised before each part, linear maps laid out as here."""
    plain(config, scale_attn_weights=True, scale_attn_by_inverse_layer_idx=False, add_cross_attention=False)
    net = encoder(
        "transformer", vocab_size=vocabulary.size, hidden_size=config["n_embd"], depth=config["n_layer"],
        heads=config["n_head"], mlp_size=config.get("n_inner") or 4 * config["n_embd"], max_length=config["n_positions"],
        segments=0, dropout=config.get("resid_pdrop", 0.1), causal=True, norm="pre", embedding_norm=False,
        activation=activation(config["activation_function"]), epsilon=config.get("layer_norm_epsilon", 1e-5),
    )  # fmt: skip
    found = under(
        token_embedding=leaf("wte.weight", vocabulary.layout),
        position_embedding=leaf("wpe.weight"),
        final_norm=norm("ln_f"),
    )
    for i in range(net["depth"]):
        layer, block = f"h.{i}", f"blocks__{i}__"
        found |= under(**{
            f"{block}norm1": norm(f"{layer}.ln_1"),
            f"{block}attention__qkv": linear(f"{layer}.attn.c_attn", turned=False),
            f"{block}attention__out": linear(f"{layer}.attn.c_proj", turned=False),
            f"{block}norm2": norm(f"{layer}.ln_2"),
            f"{block}up": linear(f"{layer}.mlp.c_fc", turned=False),
            f"{block}down": linear(f"{layer}.mlp.c_proj", turned=False),
        })  # fmt: skip
    return {"text": Net(net, found)}


def _clip_layers(depth: int, above: str) -> Names:
    found: Names = {}
    for i in range(depth):
        layer, block = f"{above}.encoder.layers.{i}", f"blocks__{i}__"
        found |= under(**{
            f"{block}norm1": norm(f"{layer}.layer_norm1"),
            f"{block}attention__qkv": linear(*(f"{layer}.self_attn.{part}_proj" for part in "qkv")),
            f"{block}attention__out": linear(f"{layer}.self_attn.out_proj"),
            f"{block}norm2": norm(f"{layer}.layer_norm2"),
            f"{block}up": linear(f"{layer}.mlp.fc1"),
            f"{block}down": linear(f"{layer}.mlp.fc2"),
        })  # fmt: skip
    return found


def _clip(config: Config, vocabulary: Vocabulary) -> dict[str, Net]:
    """CLIP (Radford et al. 2021): a causal Transformer and a ViT that is normalised before its first layer, too."""
    of_text = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8} | dict(config["text_config"])
    of_image = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12} | dict(
        config["vision_config"]
    )
    of_text |= {"num_hidden_layers": of_text.get("num_hidden_layers", 12)}
    of_image |= {"num_hidden_layers": of_image.get("num_hidden_layers", 12)}
    common = lambda one: {
        "hidden_size": one["hidden_size"], "depth": one["num_hidden_layers"], "heads": one["num_attention_heads"],
        "mlp_size": one["intermediate_size"], "activation": activation(one.get("hidden_act", "quick_gelu")),
        "epsilon": one.get("layer_norm_eps", 1e-5), "dropout": 0.0,
    }  # fmt: skip
    text = encoder(
        "transformer", vocab_size=vocabulary.size, max_length=of_text.get("max_position_embeddings", 77), segments=0,
        causal=True, norm="pre", embedding_norm=False, pooling="last", **common(of_text),
    )  # fmt: skip
    image = encoder(
        "vit", image_size=of_image.get("image_size", 224), patch=of_image.get("patch_size", 32),
        channels=of_image.get("num_channels", 3), pooling="cls", patch_bias=False, embedding_norm=True, **common(of_image),
    )  # fmt: skip
    head = lambda net: encoder("head", sizes=(net.vector_size, config["projection_dim"]), norm="none", bias=False)
    text_names = _clip_layers(text["depth"], "text_model") | under(
        token_embedding=leaf("text_model.embeddings.token_embedding.weight", vocabulary.layout),
        position_embedding=leaf("text_model.embeddings.position_embedding.weight"),
        final_norm=norm("text_model.final_layer_norm"),
    )
    image_names = _clip_layers(image["depth"], "vision_model") | under(
        class_token=leaf("vision_model.embeddings.class_embedding", shaped(lambda s: (s[-1],), lambda s: (1, s[-1]))),
        embedding__kernel=leaf("vision_model.embeddings.patch_embedding.weight", patches(image["patch"])),
        position_embedding=leaf("vision_model.embeddings.position_embedding.weight"),
        embedding_norm=norm("vision_model.pre_layrnorm"),
        final_norm=norm("vision_model.post_layernorm"),
    )
    return {
        "text": Net(text, text_names), "image": Net(image, image_names),
        "text_head": Net(head(text), under(linears__0=linear("text_projection"))),
        "image_head": Net(head(image), under(linears__0=linear("visual_projection"))),
    }  # fmt: skip


def _vit(config: Config, vocabulary: Vocabulary) -> dict[str, Net]:
    """ViT (Dosovitskiy et al. 2021); a picture's vector is that of its class token."""
    plain(config, qkv_bias=True)
    net = encoder(
        "vit", image_size=config["image_size"], channels=config.get("num_channels", 3), patch=config["patch_size"],
        hidden_size=config["hidden_size"], depth=config["num_hidden_layers"], heads=config["num_attention_heads"],
        mlp_size=config["intermediate_size"], pooling="cls", dropout=config.get("hidden_dropout_prob", 0.0),
        activation=activation(config["hidden_act"]), epsilon=config.get("layer_norm_eps", 1e-12),
    )  # fmt: skip
    pixels = "embeddings.patch_embeddings.projection"
    table = lambda name: leaf(name, shaped(lambda s: (1, *s), lambda s: s[1:]))
    found = under(
        class_token=table("embeddings.cls_token"),
        position_embedding=table("embeddings.position_embeddings"),
        embedding__kernel=leaf(f"{pixels}.weight", patches(net["patch"])),
        embedding__bias=leaf(f"{pixels}.bias"),
        final_norm=norm("layernorm"),
    )
    for i in range(net["depth"]):
        layer, block = f"encoder.layer.{i}", f"blocks__{i}__"
        qkv = (f"{layer}.attention.attention.{part}" for part in ("query", "key", "value"))
        found |= under(**{
            f"{block}norm1": norm(f"{layer}.layernorm_before"),
            f"{block}attention__qkv": linear(*qkv),
            f"{block}attention__out": linear(f"{layer}.attention.output.dense"),
            f"{block}norm2": norm(f"{layer}.layernorm_after"),
            f"{block}up": linear(f"{layer}.intermediate.dense"),
            f"{block}down": linear(f"{layer}.output.dense"),
        })  # fmt: skip
    return {"image": Net(net, found)}


def _resnet(config: Config, vocabulary: Vocabulary) -> dict[str, Net]:
    """ResNet v1.5 (He et al. 2016); a picture's vector is the mean of the last stage."""
    from jaxembed.encoders.resnet import STAGES

    plain(config, hidden_act="relu", downsample_in_first_stage=False, downsample_in_bottleneck=False)
    bottleneck, width = config["layer_type"] == "bottleneck", config["embedding_size"]
    depths = {(stages, depth >= 50): depth for depth, stages in STAGES.items()}
    depth = depths.get((tuple(config["depths"]), bottleneck))
    sizes = [(width << stage) * (4 if bottleneck else 1) for stage in range(4)]
    if depth is None or list(config["hidden_sizes"]) != sizes:
        known = ", ".join(map(str, STAGES))
        raise ValueError(
            f"its stages {config['depths']} of widths {config['hidden_sizes']} are none of ResNet-{known}, whose widths double"
        )
    net = encoder("resnet", depth=depth, stem="imagenet", channels=config.get("num_channels", 3), width=width)
    found = under(
        stem=convolution("embedder.embedder.convolution"), stem_norm=batch_norm("embedder.embedder.normalization")
    )
    number = 0
    for stage, count in enumerate(config["depths"]):
        for i in range(count):
            layer, block = f"encoder.stages.{stage}.layers.{i}", f"blocks__{number}__"
            for j in range(3 if bottleneck else 2):
                found |= under(**{
                    f"{block}convs__{j}": convolution(f"{layer}.layer.{j}.convolution"),
                    f"{block}norms__{j}": batch_norm(f"{layer}.layer.{j}.normalization"),
                })  # fmt: skip
            found |= under(**{
                f"{block}shortcut": convolution(f"{layer}.shortcut.convolution"),
                f"{block}shortcut_norm": batch_norm(f"{layer}.shortcut.normalization"),
            })  # fmt: skip
            number += 1
    return {"image": Net(net, found)}


_OF_BERT = Family(_bert, "bert.", r"(cls|pooler|classifier|qa_outputs)\..*|embeddings\.position_ids")
_OF_ROBERTA = Family(_bert, "roberta.", r"(lm_head|pooler|classifier|qa_outputs)\..*|embeddings\.position_ids")

#: By the `model_type` of a config.json.
FAMILIES: dict[str, Family] = {
    "bert": _OF_BERT,
    "roberta": _OF_ROBERTA,
    "xlm-roberta": _OF_ROBERTA,
    "distilbert": Family(_distilbert, "distilbert.", r"(vocab_\w+|pre_classifier|classifier|qa_outputs)\..*"),
    "gpt2": Family(_gpt2, "transformer.", r"h\.\d+\.attn\.(masked_)?bias|(lm_head|score)\..*"),
    "clip": Family(_clip, "", r"logit_scale|.*\.position_ids", OPENAI),
    "vit": Family(_vit, "vit.", r"(classifier|pooler)\..*"),
    "resnet": Family(_resnet, "resnet.", r"classifier\..*|.*\.num_batches_tracked", IMAGENET),
}
