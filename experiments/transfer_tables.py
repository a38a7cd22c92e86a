"""The table and the plot of `experiments.transfer`."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.settings import Row
from jaxembed.evaluation.few_labels import labels_to_reach
from jaxembed.report.plots import Curve, plot_curves
from jaxembed.report.significance import estimate
from jaxembed.study.environment import described

#: What other rows are compared with: the accuracy of this one with so many labels.
BASE, AMONG = "one-hot", 1000


def _names(rows: Sequence[Row], key: str, *how: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows if row["how"] in how))


def _one(rows: Sequence[Row], **wanted: object) -> Row | None:
    return next((row for row in rows if all(row.get(key) == value for key, value in wanted.items())), None)


def _few(rows: Sequence[Row], data: str, name: str) -> dict[int, list[float]]:
    """Accuracies of the draws by the number of labels; of all labels there is one."""
    found = {
        row["labels"]: row["accuracies"]
        for row in rows
        if row["how"] == "labels" and row["data"] == data and row["row"] == name
    }
    whole = _one(rows, how="frozen", data=data, row=name)
    return dict(sorted(found.items())) | ({whole["labels"]: [whole["accuracy"]]} if whole else {})


def target(rows: Sequence[Row], data: str, among: int = AMONG) -> float | None:
    """The accuracy that one-hot has with 1,000 labels, None where that was not measured."""
    found = _few(rows, data, BASE).get(among)
    return float(np.mean(found)) if found else None


def reached(rows: Sequence[Row], data: str, name: str, among: int = AMONG) -> str:
    """The number of labels at which a row reaches that accuracy, by the means of its draws."""
    wanted, curve = target(rows, data, among), {size: float(np.mean(x)) for size, x in _few(rows, data, name).items()}
    if wanted is None or not curve:
        return ""
    found = labels_to_reach(curve, wanted)
    if found is None:
        return "not reached"
    return f"{min(curve)} or fewer" if found == min(curve) else f"{found:,.0f}"


def shown(values: Sequence[float]) -> str:
    """A mean with the half-width of its interval, if there is one."""
    found = estimate(values)
    return f"{found.mean:.3f}" + ("" if math.isnan(found.half_width) else f" ± {found.half_width:.3f}")


def table(rows: list[Row]) -> str:
    """The figures as Markdown."""
    datasets, names = _names(rows, "data", "frozen", "tuned"), _names(rows, "row", "frozen", "tuned", "cosine")
    pairs = _names(rows, "data", "cosine")
    tuned = [data for data in datasets if _one(rows, how="tuned", data=data)]
    heads = ["representation", "dimensions", *(f"{data}, frozen" for data in datasets)]
    heads += [*(f"{data}, fine-tuned" for data in tuned), *(f"{data}, cosine" for data in pairs)]
    heads += [f"labels to {target(rows, data):.3f} on {data}" for data in datasets if target(rows, data)]
    lines = ["# What pretrained vectors save", "", f"| {' | '.join(heads)} |", f"|---{'|---:' * (len(heads) - 1)}|"]
    for name in names:
        whole = {data: _one(rows, how="frozen", data=data, row=name) for data in datasets}
        sizes = dict.fromkeys(str(f"{one['dimensions']:,}") for one in whole.values() if one)
        cells = [name, " / ".join(sizes), *(f"{one['accuracy']:.3f}" if one else "" for one in whole.values())]
        for data in tuned:
            found = _one(rows, how="tuned", data=data, row=name)
            cells.append(shown(found["accuracies"]) if found else "")
        for data in pairs:
            found = _one(rows, how="cosine", data=data, row=name)
            cells.append(f"{found['spearman']:.3f}" if found else "")
        cells += [reached(rows, data, name) for data in datasets if target(rows, data)]
        lines.append(f"| {' | '.join(cells)} |")
    for data in datasets:
        sizes = sorted({size for name in names for size in _few(rows, data, name)})
        if not _one(rows, how="labels", data=data):
            continue
        lines += ["", f"Accuracy on {data} by the number of labels", ""]
        lines += [f"| representation | {' | '.join(f'{size:,}' for size in sizes)} |", f"|---{'|---:' * len(sizes)}|"]
        for name, curve in {name: _few(rows, data, name) for name in names}.items():
            if not curve:
                continue
            cells = [shown(curve[size]) if size in curve else "" for size in sizes]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *notes(rows), ""])


def notes(rows: Sequence[Row]) -> list[str]:
    """What the table should be read with."""
    found = [
        "Frozen: logistic regression on vectors that stay as they are, its penalty chosen on dev; accuracy on the test split. "
        "Cosine: Spearman's rho with human scores, test split.",
        "By the number of labels: the mean of the draws with its 95% interval (of all labels there is one), penalties by a "
        f"cross-validation of these labels alone. Labels to an accuracy: at how many a row's means reach what {BASE} has with "
        f"{AMONG:,}, between two numbers by the logarithm.",
        "What was trained here was trained small, for minutes of two cores; another's checkpoint has met far more text.",
    ]
    if any(row["how"] == "cosine" and row["data"] == "stsb" and row["row"].startswith("simcse") for row in rows):
        found.append("A tenth of STS-B's test sentences are among the captions that the recipe simcse trains on.")
    if tuned := [row for row in rows if row["how"] == "tuned"]:
        found.append(
            f"Fine-tuned: the mean of {len(tuned[0]['accuracies'])} seeds with its 95% interval, the best pass by dev."
        )
    return [*found, "", f"Every row: measurements.jsonl. {' '.join(dict.fromkeys(described(row) for row in rows))}"]


def plot(rows: Sequence[Row], path: Path) -> None:
    """Draws accuracies by the number of labels, with bands, a panel for each dataset."""
    panels: dict[str, dict[str, Curve]] = {}
    for data in _names(rows, "data", "labels"):
        panels[f"accuracy on {data}"] = curves = {}
        for name in _names(rows, "row", "labels"):
            if few := _few(rows, data, name):
                means = [estimate(values) for values in few.values()]
                curves[name] = Curve(
                    np.array(list(few)),
                    np.array([one.mean for one in means]),
                    np.array([one.half_width for one in means]),
                )
    if panels:
        plot_curves(path, panels, "labels", "What frozen vectors are worth with few labels", log=True)
