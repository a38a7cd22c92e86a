"""What does a language model from scratch predict of texts that it has not met? GPT and BERT, objectives, the share of masks.

    python -m experiments.language --preset smoke --results runs/language-smoke   # a minute, 2 cores; the shipped text
    python -m experiments.language --preset ptb          # GPT on Penn Treebank, an hour; needs JAXEMBED_DATA
    python -m experiments.language --preset mlm          # BERT on enwik8-text, an hour; needs JAXEMBED_DATA
    python -m experiments.language --preset reviews      # BERT on IMDB's reviews without classes, an hour; needs JAXEMBED_DATA
    python -m experiments.language --preset ablations    # objectives and shares of masks on a tenth of enwik8-text
    python -m experiments.language --preset accelerator

    python -m experiments.language --data my-texts.txt --tokenizer tokenizer.json --results runs/mine

Perplexity is reported for tokens and for words. That of a word is exp(loss / words), where the end of each text counts as a word;
it is left out where a tokenizer does not know more than 1% of the tokens, since "some unknown word" is easily predicted. On Penn
Treebank, whose 10,000 words are the tokens, both are the figure that papers give (a 5-gram with Kneser-Ney smoothing has 141.2:
Mikolov et al. 2011). Models are small, for an hour of two cores; `accelerator` has larger ones.

Settings were chosen by hand on the validation split. The pass with the best likelihood there is kept.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment, Preset
from jaxembed.tasks.texts import LIKELIHOOD

#: Penn Treebank as papers have it: its own words, one text from its first line to its last.
PTB: dict[str, Any] = {"data": "ptb", "tokenizer": "word", "vocab_size": 20_000, "consecutive": True}
#: The rows of enwik8-text are parts of one text, cut anywhere.
ENWIK8: dict[str, Any] = {"data": "enwik8-text", "consecutive": True}
#: Reviews without classes, each a text of its own; those with classes are kept for what is made of the model.
REVIEWS: dict[str, Any] = {"data": "imdb", "split": "unsupervised", "dev_split": "", "test_split": ""}
OBJECTIVES = ("softmax", "sampled_softmax", "adaptive_softmax")

PRESETS = {
    "smoke": Preset(
        ("gpt/softmax", "bert/softmax"), Path("runs/language-smoke"),
        {"max_tokens": 60_000, "vocab_size": 1000, "hidden_size": 64, "depth": 1, "length": 64}, seeds=(1, 2),
    ),
    "accelerator": Preset(
        ("gpt/softmax", "bert/softmax"), Path("results/language_accelerator"),
        {
            **ENWIK8, "vocab_size": 30_000, "length": 256, "batch_size": 128, "hidden_size": 512, "depth": 8, "heads": 8,
            "encoder.dtype": "bfloat16", "learning_rate": 1e-3, "epochs": 10, "chunk": 2048,
        },
    ),
    "mlm": Preset(
        ("bert/softmax",), Path("results/language_mlm"),
        {
            **ENWIK8, "max_tokens": 15_000_000, "length": 128, "batch_size": 32, "hidden_size": 256, "depth": 4,
            "learning_rate": 1e-3,
        },
        seeds=(1,),
    ),
    "reviews": Preset(
        ("bert/softmax",), Path("results/language_reviews"),
        {**REVIEWS, "length": 128, "batch_size": 32, "hidden_size": 256, "depth": 4, "learning_rate": 1e-3}, seeds=(1,),
    ),
    "ablations": Preset(
        (*(f"gpt/{one}" for one in OBJECTIVES), "bert/softmax"), Path("results/language_ablations"),
        {**ENWIK8, "max_tokens": 2_000_000, "length": 64, "hidden_size": 128, "depth": 2, "epochs": 2},
        vary=("share=0.15,0.3,0.45",),
    ),
    "ptb": Preset(
        ("gpt/softmax",), Path("results/language_ptb"),
        {
            **PTB, "length": 64, "batch_size": 16, "hidden_size": 256, "depth": 3, "dropout": 0.3, "weight_decay": 0.1,
            "learning_rate": 2e-3, "epochs": 14, "stride": 4,
        },
        seeds=(1,),
    ),
}  # fmt: skip


def notes(recipes: Mapping[str, Any]) -> list[str]:
    """What the table should be read with."""
    first = next(iter(recipes.values()))
    found = [
        f"Rows of {first.method.length} tokens; encoders of {first.method.encoder['depth']} layers, "
        f"{first.method.encoder['hidden_size']} wide, trained from scratch on the texts named above and nothing "
        "else: small models, beside those of papers that trained for days.",
    ]
    if any(one.method.causal for one in recipes.values()):
        found.append(
            "gpt: perplexity of each token by those before it in windows that overlap; of a word: exp(loss / words), where the "
            "end of a text counts as a word. Both are those of the whole distribution, whatever the objective trains."
        )
    if not all(one.method.causal for one in recipes.values()):
        found.append(
            "bert: perplexity and accuracy of 15% hidden tokens by both sides of them, whatever share training hides. They "
            "compare with those of models that have the same tokens."
        )
    return found


EXPERIMENT = Experiment(
    "language", "Language models from scratch", __doc__, PRESETS, notes=notes,
    hint=f"Settings are chosen by --tune NAME=VALUE,VALUE --select {LIKELIHOOD}-dev. Vectors: jaxembed embed RUN texts.txt.",
)  # fmt: skip

if __name__ == "__main__":
    EXPERIMENT.main()
