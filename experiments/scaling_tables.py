"""What `experiments.scaling` measured, as a CSV file, a page and pictures."""

from collections.abc import Sequence
from pathlib import Path

from experiments.settings import Row, about_of
from jaxembed.report.plots import plot_scaling
from jaxembed.report.report import write_csv
from jaxembed.report.significance import Estimate
from jaxembed.report.tables import Cell, Table, markdown, speed
from jaxembed.study.environment import described

FIGURES = (
    "seconds_step", "examples_per_second", "efficiency", "flops_step", "row_bytes_step", "xla_bytes_step", "intensity",
    "flops_per_second", "row_bytes_per_second", "roofline_share", "random_rows_share", "xla_bandwidth_share",
    "state_bytes", "compile_seconds",
)  # fmt: skip
POINT = ("family", "axis", "way", "x", "devices", "batch", "dimension", "rows", "seeds")
LABELS = {
    "devices": "devices",
    "batch": "examples in a step",
    "dimension": "dimension",
    "rows": "rows of a table",
    "seeds": "seeds at once",
}


def write(folder: Path, rows: Sequence[Row]) -> None:
    """Writes scaling.csv and a picture an axis, scaling-AXIS.png, into `folder`."""
    write_csv(folder / "scaling.csv", [{name: row[name] for name in (*POINT, "unit", *FIGURES)} for row in rows])
    for axis, mine in by_axis(rows).items():
        series = {
            label: [(row["x"], row["examples_per_second"]) for row in line] for label, line in lines(mine).items()
        }
        cut = max(row["virtual_devices"] for row in mine)
        title = f"Training steps against {LABELS[axis]}"
        title += f"\nA CPU cut into {cut} devices, which share its cores: overhead alone" if cut else ""
        ideal = axis == "devices" and not cut
        plot_scaling(folder / f"scaling-{axis}.png", series, LABELS[axis], "examples a second", ideal, title)


def by_axis(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each axis, in the order in which axes are shown."""
    return {axis: mine for axis in LABELS if (mine := [row for row in rows if row["axis"] == axis])}


def lines(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of one axis by family and way."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(f"{row['family']}{' by ' * bool(row['way'])}{row['way']}", []).append(row)
    return found


def page(rows: Sequence[Row]) -> str:
    """The tables as Markdown, and all that a reader must know of them."""
    text = "# Throughput of training steps\n"
    for axis, mine in by_axis(rows).items():
        head = [LABELS[axis], "examples/s", "efficiency", "ms a step", "GFLOP a step", "MB of rows", "MB by XLA", "FLOP/byte",
                "of the roofline", "of random rows", "of bandwidth by XLA", "compile s"]  # fmt: skip
        text += f"\n## Against {LABELS[axis]}\n"
        if any(row["virtual_devices"] for row in mine):
            text += (
                "\n**Devices that a CPU was cut into share its cores: these numbers show what the cutting costs, and can show "
                "no speed-up.**\n"
            )
        elif axis == "devices" and max(row["devices"] for row in mine) == 1:
            text += "\nOne device was there: more are not yet measured.\n"
        for label, line in lines(mine).items():
            text += f"\n{label} ({line[0]['unit']})\n\n{markdown(Table(head, [_cells(row) for row in line]))}"
    return text + "\n" + "".join(f"* {note}\n" for note in _notes(rows))


def _cells(row: Row) -> list[Cell]:
    cells = [
        f"{row['x']:,}", speed(Estimate(row["examples_per_second"], 0.0, 1)), f"{row['efficiency']:.2f}",
        f"{1e3 * row['seconds_step']:.3g}", f"{row['flops_step'] / 1e9:.3g}", f"{row['row_bytes_step'] / 1e6:.3g}",
        f"{row['xla_bytes_step'] / 1e6:.3g}", f"{row['intensity']:.2f}", f"{row['roofline_share']:.0%}",
        f"{row['random_rows_share']:.0%}", f"{row['xla_bandwidth_share']:.0%}", f"{row['compile_seconds']:.1f}",
    ]  # fmt: skip
    return [Cell(cell) for cell in cells]


def _notes(rows: Sequence[Row]) -> list[str]:
    base = {
        row["family"]: ", ".join(f"{name} {row[name]:,}" for name in ("batch", "dimension", "rows"))
        for row in rows
        if row["axis"] == "seeds" or row["axis"] == "devices"
    }
    devices = {about_of(row)["device"]["platform"] for row in rows}
    return [
        f"Base: {'; '.join(f'{family}: {sizes}' for family, sizes in base.items()) or 'the first setting of each axis'}; one "
        "seed, one device. Made-up data: ids by Zipf's law, generator seeds 0 and 1; the runs have seeds 0, 1, .... Examples "
        "are what steps hold: tokens that subsampling kept, or entries of the full matrix; of all seeds together.",
        "Median of the repeats after a warm-up, the compiler's time apart (short where a program was kept from an earlier "
        "call); every repeat: measurements.jsonl.",
        "Efficiency: examples/s over the first line's; for dimensions, times the width of a stored row over the first's; for "
        "devices that do not share cores, over as many times the first's.",
        "GFLOP and MB by XLA: the compiler's own estimate for the compiled step. Its bytes are the operands and results of "
        "each fused operation, caches ignored, and for a gather or scatter may hold the whole table, though only some rows "
        "are met: they grow with the table while the time does not, and their share of the bandwidth can pass 100 %.",
        "MB of rows: what a step must move of its tables, each row that is met being gathered, and read and written by the "
        "scatter. FLOP/byte divides by these. Frequent rows come from caches, so that a share of this can pass 100 % too.",
        "Of the roofline: FLOP/s reached over min(peak, FLOP/byte x bandwidth). Of random rows: the time that gathering and "
        "scattering as many rows at uniformly random places takes, as measured here, over the time of the step.",
        *_roofs(rows),
        *_environments(rows),
        *(["Accelerators: not yet measured."] if devices == {"cpu"} else []),
    ]


def _roofs(rows: Sequence[Row]) -> list[str]:
    """Each set of roofs that the rows were measured under."""
    unique = {str(row["roofs"]): row["roofs"] for row in rows}
    half = lambda roofs: f", {roofs['flops_bf16'] / 1e9:,.0f} in bfloat16" if roofs["flops_bf16"] else ""
    return [
        f"Roofs, measured in the same process, all cores: {roofs['flops'] / 1e9:,.0f} GFLOP/s in a float32 product"
        f"{half(roofs)}; {roofs['bandwidth'] / 1e9:,.1f} GB/s in a + s b; rows of 512 bytes at random: "
        f"{roofs['gathered'] / 1e6:,.1f} M/s gathered, {roofs['scattered'] / 1e6:,.1f} M/s added to."
        for roofs in unique.values()
    ]


def _environments(rows: Sequence[Row]) -> list[str]:
    return list({about_of(row)["command"]: described(about_of(row)) for row in rows}.values())
