"""Which objective makes the best sentence vectors from nothing but captions? Judged on STS-B, over seeds.

    python -m experiments.contrastive_sentences --preset smoke --results runs/sentences-smoke   # needs JAXEMBED_DATA
    python -m experiments.contrastive_sentences                                                 # cpu: about 25 minutes, 2 cores
    python -m experiments.contrastive_sentences --preset sweep   # batches x temperatures, 15 minutes
    python -m experiments.contrastive_sentences --preset gpu --results results/contrastive_sentences_gpu

    python -m experiments.contrastive_sentences --data sentence-transformers/all-nli --config triplet \\
        --pair anchor positive --negative negative

No pretrained weights: captions of the same picture are pairs (multi30k-captions), the tokenizer is trained on them, and
token vectors start from Skip-gram on enwik8-text (`--no-start`: from noise, and there is no mean of them). words is their
mean, trained (Wieting et al. 2016), transformer has layers above them. Beside these stand the mean of the token vectors and
the encoder of words untrained. What is chosen is chosen on STS-B's dev split; the test split is only measured.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from experiments.settings import main
from experiments.vary import Varied, crossed, varied_note
from jaxembed.encoders.functional import encoder
from jaxembed.methods import sentences
from jaxembed.methods.dense import named_objective
from jaxembed.study.plan import Variant
from jaxembed.study.study import Study
from jaxembed.tasks.sentences import COLUMNS, CURVES, SentenceTask, Start
from jaxembed.training.dense import Dense
from jaxembed.training.settings import Training

BASELINES = ("mean_of_tokens", "untrained")
ALL = (
    *BASELINES, "words/infonce", "words/dcl", "words/align_uniform", "words/triplet", "words_unsupervised/infonce",
    "transformer/infonce",
)  # fmt: skip


@dataclass(frozen=True)
class Settings(Varied):
    """What is compared, on what, and how long.

    preset: where the other settings start from.
    data: a dataset of texts; column: of texts or of lists of texts that mean the same; pair, negative: columns instead.
    sts: pairs with people's scores, its validation and test splits. contenders: METHOD/OBJECTIVE.
    tokenizer: wordpiece, bpe or word, trained on the texts, or a tokenizer.json; vocab_size, max_length: of the texts.
    start: begin with token vectors of Skip-gram, trained on start_data (its first start_words words; 0: all).
    max_rows: only so many rows of the data, 0 for all. depth, heads, mlp_size: of the transformer, which has a learning rate
    and a number of passes of its own.
    """

    preset: Literal["smoke", "sweep", "gpu", "cpu"] = "cpu"
    results: Path = Path("results/contrastive_sentences")
    data: str = "multi30k-captions"
    config: str | None = None
    split: str | None = "train"
    column: str = "captions"
    pair: tuple[str, str] | None = None
    negative: str | None = None
    sts: str = "stsb"
    max_rows: int = 0
    contenders: tuple[str, ...] = ALL
    tokenizer: str = "word"
    vocab_size: int = 40_000
    max_length: int = 24
    start: bool = True
    start_data: str = "enwik8-text"
    start_words: int = 0
    start_epochs: int = 3
    hidden_size: int = 256
    depth: int = 1
    heads: int = 4
    mlp_size: int = 256
    dropout: float = 0.1
    temperature: float = 0.05
    batch_size: int = 256
    learning_rate: float = 5e-3
    transformer_learning_rate: float = 5e-4
    weight_decay: float = 0.0
    epochs: int = 4
    transformer_epochs: int = 1
    seeds: tuple[int, ...] = (1, 2, 3)


_CPU = Settings()
PRESETS = {
    "smoke": replace(
        _CPU, preset="smoke", max_rows=512, hidden_size=32, heads=2, vocab_size=2000, epochs=1, seeds=(1, 2), batch_size=64,
        contenders=("mean_of_tokens", "words/infonce"), start_data="enwik8-small", start_words=50_000, start_epochs=1,
        results=Path("runs/sentences-smoke"),
    ),
    "sweep": replace(
        _CPU, preset="sweep", contenders=("mean_of_tokens", "words/infonce"), epochs=2,
        vary=("batch_size=64,256,1024", "temperature=0.02,0.05,0.1"), results=Path("results/contrastive_sentences_sweep"),
    ),
    "gpu": replace(
        _CPU, preset="gpu", depth=4, mlp_size=1024, transformer_epochs=20, batch_size=1024,
        results=Path("results/contrastive_sentences_gpu")),
    "cpu": _CPU,
}  # fmt: skip


def contender(name: str, settings: Settings) -> Variant:
    """The method and the training behind a name."""
    kind, _, objective = name.partition("/")
    kinds = {"mean_of_tokens": sentences.AveragedTokens, "untrained": sentences.UntrainedSentences,
             "words": sentences.SimCSE, "words_unsupervised": sentences.SimCSEUnsupervised,
             "transformer": sentences.SimCSE}  # fmt: skip
    if kind not in kinds:
        raise ValueError(f"unknown contender {name!r}: the methods are {', '.join(kinds)}, some with /OBJECTIVE")
    layered = kind == "transformer"
    net = encoder(
        "transformer", vocab_size=settings.vocab_size, hidden_size=settings.hidden_size, heads=settings.heads,
        mlp_size=settings.mlp_size, dropout=settings.dropout, max_length=settings.max_length, segments=0,
        **({"depth": settings.depth, "norm": "pre"} if layered else {"depth": 0, "positions": "none"}),
    )  # fmt: skip
    how: dict[str, Any] = {"encoder": net, "batch_size": settings.batch_size}
    if objective:
        how["objective"] = named_objective(objective, settings.temperature)
    dense = Dense(optimizer="adamw", weight_decay=settings.weight_decay, warmup=0.1, clip=1.0)
    passes = {"transformer": settings.transformer_epochs, "words_unsupervised": 1} | dict.fromkeys(BASELINES, 1)
    epochs = passes.get(kind, settings.epochs)
    rate = settings.transformer_learning_rate if layered else settings.learning_rate
    training = Training(epochs, rate, reports=20, dense=dense)
    return Variant(name, kinds[kind](**how), training, {"method": kind, "objective": objective or "none"})


def task(settings: Settings) -> SentenceTask:
    """The sentences and the scored pairs."""
    start = Start(settings.start_data, settings.start_words, settings.hidden_size, settings.start_epochs)
    return SentenceTask.read(
        settings.data, config=settings.config, split=settings.split, column=settings.column, pair=settings.pair,
        negative=settings.negative, sts=settings.sts, max_rows=settings.max_rows, tokenizer=settings.tokenizer,
        vocab_size=settings.vocab_size, max_length=settings.max_length, start=start if settings.start else None,
    )  # fmt: skip


def study(settings: Settings) -> Study:
    """The study that the settings ask for."""
    began = f"Skip-gram on {settings.start_data}" if settings.start else "noise"
    chosen = tuple(name for name in settings.contenders if settings.start or name != "mean_of_tokens")
    return Study(
        name="contrastive_sentences",
        title=f"Sentence vectors without pretrained weights: {settings.data}",
        folder=settings.results,
        tasks={settings.data: lambda: task(settings)},
        variants=crossed(replace(settings, contenders=chosen), contender, BASELINES),
        seeds=settings.seeds,
        columns=COLUMNS,
        lower_is_better=("alignment", "uniformity"),
        unranked=("effective rank",),
        curves=CURVES,
        settings={"experiment": "contrastive_sentences"},
        notes=[
            f"words: the mean of token vectors, {settings.hidden_size} wide, {settings.epochs} passes at "
            f"{settings.learning_rate:g}; transformer: {settings.depth} layer(s) above them, {settings.transformer_epochs} "
            f"pass(es) at {settings.transformer_learning_rate:g}; batch {settings.batch_size}; tokens: {settings.tokenizer}; "
            f"token vectors start from {began}.",
            "STS-B: Spearman's rho of cosines with people's scores. STS-B shares sentences with multi30k-captions (about a tenth "
            "of its distinct test sentences): no score was seen, but such sentences were.",
            "mean_of_tokens: the mean of the token vectors that the encoders start from. words_unsupervised: each caption "
            "alone, two dropout masks (Gao et al. 2021), one pass, which has as many steps as five over groups.",
            *varied_note(settings),
        ],
    )


if __name__ == "__main__":
    main(PRESETS, study, None, __doc__)
