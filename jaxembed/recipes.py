"""The registry: it maps the names that people type to a method, its data and its training.

`jaxembed train NAME` and its help, the contenders of experiments, grids, reproduction, the table of methods and the contract
tests are all made from `RECIPES`. The settings are those of the numbers in the README. A new method adds one line here.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from jaxembed.encoders.functional import encoder
from jaxembed.fields import Chooses, changed, settings
from jaxembed.files import write_text
from jaxembed.methods import clicks, closed_form, documents, image_text, images, knowledge, sentences
from jaxembed.methods.cbow import CBOW
from jaxembed.methods.classifier import Classifier
from jaxembed.methods.dense import EncoderMethod
from jaxembed.methods.fasttext import FastText
from jaxembed.methods.glove import GloVe
from jaxembed.methods.graphsage import GraphSAGE, GraphSAGEUnsupervised, NodeFeatures, NodeMethod
from jaxembed.methods.language import CausalLanguageModel, LanguageModel, MaskedLanguageModel
from jaxembed.methods.lightgcn import LightGCN
from jaxembed.methods.recommend import MF
from jaxembed.methods.sasrec import SASRec
from jaxembed.methods.skipgram import SkipGram
from jaxembed.methods.two_tower import TwoTower
from jaxembed.methods.walks import LINE, DeepWalk, Node2Vec
from jaxembed.naming import spelled, unknown
from jaxembed.objectives import FAMILIES, InfoNCE, family_of
from jaxembed.pretrained import opened
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.tasks.base import Task
from jaxembed.tasks.clicks import Clicks
from jaxembed.tasks.documents import Documents
from jaxembed.tasks.image_texts import ImageTexts
from jaxembed.tasks.images import Images
from jaxembed.tasks.interactions import Interactions
from jaxembed.tasks.labelled import Labelled
from jaxembed.tasks.nodes import Nodes
from jaxembed.tasks.sentences import Sentences
from jaxembed.tasks.start import Start
from jaxembed.tasks.texts import Texts
from jaxembed.tasks.triples import Triples
from jaxembed.tasks.words import Words
from jaxembed.training.dense import Dense
from jaxembed.training.method import Method
from jaxembed.training.settings import Training

FINE_TUNING = 3e-5  # the middle of the rates with which BERT is fine-tuned (Devlin et al. 2019, A.3)


@dataclass(frozen=True)
class Recipe(Chooses):
    """A method, the data that it is trained on and judged by, and the settings of its training."""

    method: Method
    task: Task
    training: Training

    @property
    def hidden(self) -> frozenset[tuple[str, ...]]:
        """The settings of training that have no effect: those of tables, if the method has encoders, and so on."""
        names = (
            ("optimizer", "initial_accumulator", "eps", "loss_every", "replicas", "merge_steps", "sweeps", "damping")
            if self.training.dense
            else ("dense",)
        )
        names += () if self.task.select else ("best_pass",)
        return frozenset(("training", name) for name in names)

    def following(self, before: Self) -> Self:
        """Returns the recipe with the task that the start of its method needs, its tokenizer and size of pictures, and a rate
        of fine-tuning where it is a Transformer or a ViT, which larger rates would make forget.
        """
        start, earlier = (one.method.start if isinstance(one.method, EncoderMethod) else None for one in (self, before))
        if start is None:
            return self
        if start == earlier:
            tokenizer = settings(self.task).get("tokenizer")
            if tokenizer and tokenizer.value != start:
                raise ValueError(
                    f"the vectors of {start} are those of its own tokens: leave the tokenizer {tokenizer.value!r} out"
                )
            return self
        parts = opened(start)
        layered = any(one.encoder.kind in ("transformer", "vit") for one in parts.nets.values())
        rate = min(self.training.learning_rate, FINE_TUNING) if layered else self.training.learning_rate
        return replace(self, task=self.task.started(parts), training=replace(self.training, learning_rate=rate))

    def with_(self, **values: Any) -> Self:
        """Returns the recipe with other settings, under the names of `jaxembed.fields.settings`."""
        return changed(self, values)


def recipe(name: str) -> Recipe:
    """Returns the recipe called `name`. Raises ValueError, with near matches, if there is none."""
    if spelled(name) not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[spelled(name)]


def _words(method: Method, **training: Any) -> Recipe:
    # Two copies of the tables fill two cores, and a sixteenth of the losses suffices to follow the training.
    return Recipe(method, Words("enwik8-small"), Training(replicas=2, loss_every=16, **training))


def _images(kind: type[images.ImageMethod], epochs: int = 8, **settings: Any) -> Recipe:
    net = encoder("vit", hidden_size=96, depth=3, heads=3, patch=7, features=384, dtype="float32")
    views = Augmentation(crop=(0.3, 1.0), jitter=0.8, grayscale=0.0, mean=0.5, std=0.5)
    dense = Dense(optimizer="adamw", weight_decay=0.05, schedule="cosine", warmup=0.1)
    method = kind(encoder=net, augmentation=views, batch_size=128, **settings)
    return Recipe(method, Images("fashion-mnist-small"), Training(epochs, 3e-3, reports=20, dense=dense))


def _sentences(kind: type[sentences.SimCSE], epochs: int = 2, dropout: float = 0.0) -> Recipe:
    net = encoder("bag", vocab_size=40_000, hidden_size=768, dropout=dropout)
    task = Sentences(
        "multi30k-captions", tokenizer="word", vocab_size=40_000, buckets=8192, max_length=24, whole=True,
        start=Start(std=0.2, own=512, grams=(3, 4), centred=True, smoothing=1e-3, frequencies=("imdb",)),
    )  # fmt: skip
    dense = Dense(optimizer="adamw", warmup=0.1, clip=1.0)
    return Recipe(
        kind(encoder=net, objective=InfoNCE(temperature=0.1), batch_size=256),
        task,
        Training(epochs, 5e-3, reports=20, dense=dense),
    )


def _pairs(kind: type[image_text.CLIP], epochs: int = 8) -> Recipe:
    towers = {"hidden_size": 128, "heads": 4, "dropout": 0.1}
    method = kind(
        image_encoder=encoder("vit", depth=2, patch=12, features=256, **towers),
        text_encoder=encoder("transformer", vocab_size=4000, depth=1, segments=0, norm="pre", **towers),
        augmentation=Augmentation(crop=(0.6, 1.0), flip=0.5, jitter=0.0, grayscale=0.0),
        batch_size=256,
    )
    dense = Dense(optimizer="adamw", weight_decay=0.1, warmup=0.1, clip=1.0, schedule="cosine")
    training = Training(epochs, 2e-3, reports=20, dense=dense)
    return Recipe(method, ImageTexts("fashion-products", max_length=16), training)


def _language(kind: type[LanguageModel], tokenizer: str, **settings: Any) -> Recipe:
    net = encoder("transformer", vocab_size=1, hidden_size=128, depth=2, heads=4, dropout=0.1, **settings)
    dense = Dense(optimizer="adamw", weight_decay=0.01, b2=0.98, clip=1.0, warmup=0.1, schedule="cosine")
    training = Training(1, 2e-3, reports=20, best_pass=True, dense=dense)
    return Recipe(kind(encoder=net, length=128), Texts("enwik8-small", tokenizer=tokenizer), training)


def _classes() -> Recipe:
    net = encoder("transformer", vocab_size=1, hidden_size=128, depth=2, heads=4, dropout=0.1)
    dense = Dense(optimizer="adamw", weight_decay=0.01, clip=1.0, warmup=0.1)
    return Recipe(
        Classifier(encoder=net, batch_size=32),
        Labelled("sst2"),
        Training(8, 1e-3, reports=20, best_pass=True, dense=dense),
    )


def _nodes(method: Method, learning_rate: float = 0.15) -> Recipe:
    # Copies of small tables are merged often, those of large ones seldom.
    return Recipe(
        method, Nodes("karate"), Training(1, learning_rate, replicas=2, merge_steps=0, loss_every=16, reports=20)
    )


def _documents(method: documents.DocumentMethod, learning_rate: float) -> Recipe:
    training = Training(10, learning_rate, replicas=2, loss_every=16)
    return Recipe(method, Documents("enwik8-small"), training)


def _sage(kind: type[NodeMethod], epochs: int, learning_rate: float, dense: Dense, **settings: Any) -> Recipe:
    net = encoder("sage", input_size=1, **settings.pop("encoder"))
    training = Training(epochs, learning_rate, reports=20, best_pass=kind is GraphSAGE, dense=dense)
    return Recipe(kind(encoder=net, **settings), Nodes("karate", judged="parts"), training)


def _facts(method: knowledge.KnowledgeMethod, **training: Any) -> Recipe:
    return Recipe(method, Triples("countries"), Training.of(method, loss_every=16, best_pass=True, **training))


def _interactions(method: Method, epochs: int = 1, **training: Any) -> Recipe:
    return Recipe(method, Interactions("made-interactions"), Training(epochs, reports=20, **training))


def _of_nets(method: Method, epochs: int, learning_rate: float, **task: Any) -> Recipe:
    training = Training(epochs, learning_rate, reports=20, best_pass=True, dense=Dense())
    return Recipe(method, Interactions("made-interactions", **task), training)


def _clicks(method: Method, epochs: int = 5) -> Recipe:
    # One rate serves the rows and the nets where both are trained by Adam.
    training = Training(epochs, 2e-3, optimizer="lazy_adam", reports=20, best_pass=True, dense=Dense())
    return Recipe(method, Clicks("made-clicks"), training)


_HEAD: dict[str, Any] = {"projection": (256, 64)}

RECIPES: dict[str, Recipe] = {
    "skipgram": _words(SkipGram(), epochs=5, learning_rate=0.3),
    "cbow": _words(CBOW(), epochs=5, learning_rate=0.6, sweeps=0, damping=0.0),
    "fasttext": _words(FastText(), epochs=5, learning_rate=0.5),
    "glove": _words(GloVe(), epochs=10, learning_rate=0.3),
    "doc2vec": _documents(documents.DBOW(sample=0.0), 0.5),
    "doc2vec_dm": _documents(documents.DM(sample=1e-4), 0.5),
    "simclr": _images(images.SimCLR, **_HEAD),
    "supcon": _images(images.SupCon, **_HEAD),
    "moco": _images(images.MoCo, **_HEAD),
    "byol": _images(images.BYOL),
    "simsiam": _images(images.SimSiam),
    "vicreg": _images(images.VICReg),
    "barlow_twins": _images(images.BarlowTwins),
    "simcse": _sentences(sentences.SimCSE),
    "simcse_unsupervised": _sentences(sentences.SimCSEUnsupervised, epochs=1, dropout=0.1),
    "clip": _pairs(image_text.CLIP),
    "siglip": _pairs(image_text.SigLIP),
    "bert": _language(MaskedLanguageModel, "wordpiece"),
    "gpt": _language(CausalLanguageModel, "bpe", segments=0, norm="pre", causal=True, positions="rotary"),
    "classifier": _classes(),
    "deepwalk": _nodes(DeepWalk()),
    "node2vec": _nodes(Node2Vec()),
    "line": _nodes(LINE(), learning_rate=0.3),
    "graphsage": _sage(
        GraphSAGE, 30, 0.01, Dense(l2=5e-4, schedule="constant"), encoder={"dropout": 0.8, "last_map": False}
    ),
    "graphsage_unsupervised": _sage(
        GraphSAGEUnsupervised, 4, 0.003, Dense(), encoder={"hidden_size": 128, "dropout": 0.5}
    ),
    "transe": _facts(knowledge.TransE(), epochs=15),
    "distmult": _facts(knowledge.DistMult(), epochs=30),
    "complex": _facts(knowledge.ComplEx(), epochs=40),
    "rotate": _facts(knowledge.RotatE(), epochs=20),
    "mf": _interactions(MF(), epochs=30, learning_rate=0.5, initial_accumulator=0.1, best_pass=True),
    "lightgcn": _of_nets(LightGCN(), epochs=15, learning_rate=0.02),
    "two_tower": _of_nets(TwoTower(tied=True), epochs=15, learning_rate=2e-3),
    "sasrec": _of_nets(SASRec(), epochs=60, learning_rate=3e-3, time="time", hold="last"),
    "fm": _clicks(clicks.FM()),
    "deepfm": _clicks(clicks.DeepFM()),
    "dcn": _clicks(clicks.DCN()),
    "ials": _interactions(closed_form.IALS(), epochs=10, dense=Dense()),
    # Baselines.
    "pixels": _images(images.Pixels, epochs=1, **_HEAD),
    "untrained_images": _images(images.Untrained, epochs=1, **_HEAD),
    "mean_of_tokens": _sentences(sentences.AveragedTokens, epochs=1),
    "tf_idf": _sentences(sentences.TfIdf, epochs=1),
    "untrained_sentences": _sentences(sentences.UntrainedSentences, epochs=1),
    "untrained_towers": _pairs(image_text.UntrainedTowers, epochs=1),
    "popularity": _interactions(closed_form.Popularity(), dense=Dense()),
    "item_cosine": _interactions(closed_form.ItemCosine(), dense=Dense()),
    "logistic_regression": _clicks(clicks.LogisticRegression()),
    "node_features": Recipe(NodeFeatures(), Nodes("karate", judged="parts"), Training(1, 1e-3, dense=Dense())),
    "gf_cf": _interactions(closed_form.GFCF(), dense=Dense()),
}


MARKS = "<!-- recipes: python -m jaxembed.recipes README.md -->", "<!-- /recipes -->"


def table() -> str:
    """Returns the recipes in Markdown: one line for each task, by the family of the objectives that they take."""
    lines = ["| data (task) | recipes, by the family of objectives that they take |", "|---|---|"]
    for task in dict.fromkeys(type(one.task) for one in RECIPES.values()):
        families: dict[str, list[str]] = {}
        for name, one in RECIPES.items():
            if type(one.task) is task:
                known = settings(one).get("objective")
                family = next(
                    (of for of, kinds in FAMILIES.items() if known and kinds is family_of(known.value)), "their own"
                )
                families.setdefault(family if one.method.trained else "baselines", []).append(f"`{name}`")
        order = sorted(families, key=lambda family: family == "baselines")
        about = (task.__doc__ or "").partition("\n")[0].rstrip(".")
        lists = "; ".join(f"{family}: {', '.join(families[family])}" for family in order)
        lines.append(f"| {about} ({task.__name__}) | {lists} |")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """Returns a page with the current table between its marks."""
    before, _, rest = page.partition(MARKS[0])
    return f"{before}{MARKS[0]}\n{table()}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}"


if __name__ == "__main__":
    write_text(sys.argv[1], with_table(Path(sys.argv[1]).read_text(encoding="utf-8")))
