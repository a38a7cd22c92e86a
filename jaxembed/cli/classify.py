"""`jaxembed classify`: a trained classifier predicts the classes of texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional


@dataclass(frozen=True)
class Classify:
    """Tells the classes of texts with the classifier of a run, and how likely they are.

    jaxembed classify runs/classifier/seed-1 "A film to see twice." "Two hours of my life."
    jaxembed classify runs/classifier/seed-1 --input reviews.txt --output classes.csv
    """

    run: Positional[Path]  # A run's folder.
    texts: Positional[tuple[str, ...]] = ()  # Texts, each in quotation marks.
    input: Path | None = None  # A text file with one text per line in place of these; blank lines are skipped.
    output: Path | None = None  # Also write text, class and the probability of each class to this CSV file.
    batch_size: int = 32  # Number of texts that are read at a time.


def classify(arguments: Classify) -> None:
    """Prints the classes, and writes them if a file is named."""
    from jaxembed.cli.embed import lines_of
    from jaxembed.files import write_csv
    from jaxembed.terminal import show_table
    from jaxembed.trained import ClassifierModel, load

    if bool(arguments.texts) == bool(arguments.input):
        raise ValueError("give texts, each in quotation marks, or a file of texts with --input")
    model: Any = load(arguments.run)
    if not isinstance(model, ClassifierModel):
        raise ValueError(
            f"{arguments.run} was not trained on texts with classes: `jaxembed train classifier` trains one"
        )
    texts = lines_of(arguments.input) if arguments.input else list(arguments.texts)
    chances = model.predict_proba(texts, arguments.batch_size)
    best = chances.argmax(1)
    if arguments.output:
        rows = [
            (text, model.classes[i], *(f"{x:.6f}" for x in row))
            for text, i, row in zip(texts, best, chances, strict=True)
        ]
        write_csv(arguments.output, ("text", "class", *model.classes), rows)
        print(f"{arguments.output}: the classes of {len(texts):,} texts")
    else:
        lines = [[text, model.classes[i], f"{row[i]:.3f}"] for text, i, row in zip(texts, best, chances, strict=True)]
        show_table(None, ["text", "class", "probability"], lines)
