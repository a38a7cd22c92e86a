"""A parquet file by pyarrow alone, for machines without the `datasets` library."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


class Rows:
    """Rows of a file, with those members of a `datasets.Dataset` that the readers here use, which mean the same there.

    Plain values come out as Python's, after `with_format("arrow")` as Arrow's.
    """

    info = SimpleNamespace(dataset_name="parquet")

    def __init__(self, data: Any, arrow: bool = False):
        self.data, self.arrow = data, arrow

    @classmethod
    def read(cls, *paths: Path) -> "Rows":
        """The whole file, or files one after the other. Raises pyarrow's ArrowException where one is damaged."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        # Not `read_table`, which takes folders called name=value for columns.
        return cls(pa.concat_tables([pq.ParquetFile(path, memory_map=True).read() for path in paths]))

    @property
    def column_names(self) -> list[str]:
        """The columns in their order."""
        return self.data.column_names

    @property
    def features(self) -> "Features":
        """What is known of the columns."""
        return Features(self.data.schema)

    def __len__(self) -> int:
        return self.data.num_rows

    def select(self, rows: range) -> "Rows":
        """Consecutive rows."""
        return Rows(self.data.slice(rows.start, len(rows)), self.arrow)

    def select_columns(self, columns: list[str]) -> "Rows":
        """Some of the columns."""
        return Rows(self.data.select(columns), self.arrow)

    def with_format(self, kind: str) -> "Rows":
        """The same as Arrow's values ("arrow")."""
        return Rows(self.data, kind == "arrow")

    def __getitem__(self, which: Any) -> Any:
        """A column by its name, or rows by a slice: `{column: values}`."""
        part = self.data[which]
        return part if self.arrow else part.to_pylist() if isinstance(which, str) else part.to_pydict()

    def iter(self, batch_size: int) -> Iterator[Any]:
        """The rows, `batch_size` at a time."""
        return (self[start : start + batch_size] for start in range(0, len(self), batch_size))


class Features:
    """The columns' types, and the names of classes that `datasets` leaves in a file."""

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
