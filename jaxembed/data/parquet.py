"""Reads parquet files with pyarrow alone, for machines without the `datasets` library."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


class Rows:
    """Rows of a file, with the members of `datasets.Dataset` that the readers here use; they mean the same.

    Values are Python's, and Arrow's after `with_format("arrow")`.
    """

    info = SimpleNamespace(dataset_name="parquet")

    def __init__(self, data: Any, arrow: bool = False):
        self.data, self.arrow = data, arrow

    @classmethod
    def read(cls, *paths: Path) -> "Rows":
        """Reads a file, or several files one after the other. Raises pyarrow's ArrowException if one is damaged."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        # `read_table` would take folders called name=value for columns.
        return cls(pa.concat_tables([pq.ParquetFile(path, memory_map=True).read() for path in paths]))

    @property
    def column_names(self) -> list[str]:
        """The columns in order."""
        return self.data.column_names

    @property
    def features(self) -> "Features":
        """The types of the columns."""
        return Features(self.data.schema)

    def __len__(self) -> int:
        return self.data.num_rows

    def select(self, rows: range) -> "Rows":
        """Returns consecutive rows."""
        return Rows(self.data.slice(rows.start, len(rows)), self.arrow)

    def select_columns(self, columns: list[str]) -> "Rows":
        """Returns some of the columns."""
        return Rows(self.data.select(columns), self.arrow)

    def with_format(self, kind: str) -> "Rows":
        """Returns the same rows with Arrow's values ("arrow")."""
        return Rows(self.data, kind == "arrow")

    def __getitem__(self, which: Any) -> Any:
        """Returns a column by its name, or rows by a slice: `{column: values}`."""
        part = self.data[which]
        return part if self.arrow else part.to_pylist() if isinstance(which, str) else part.to_pydict()

    def iter(self, batch_size: int) -> Iterator[Any]:
        """Yields the rows, `batch_size` at a time."""
        return (self[start : start + batch_size] for start in range(0, len(self), batch_size))


class Features:
    """The types of the columns, and the names of classes that `datasets` stores in a file."""

    def __init__(self, schema: Any):
        self.arrow_schema = schema
        metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        self._features = metadata.get("info", {}).get("features", {})

    def __getitem__(self, column: str) -> Any:
        kind, feature = self.arrow_schema.field(column).type, self._features.get(column, {})
        if "names" in feature:
            return SimpleNamespace(dtype="int64", names=feature["names"])
        try:
            return SimpleNamespace(dtype=np.dtype(kind.to_pandas_dtype()).name)
        except (NotImplementedError, TypeError):  # how pyarrow and NumPy say that a type has no counterpart there
            return kind
