"""Apache Parquet files; the line of a row is its number, counted from 1."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from multigraft.errors import UserError
from multigraft.tasks.readers import Reader, Report, stop


class Parquet(Reader):
    """Parquet, read batch by batch."""

    name: ClassVar[str] = "parquet"

    def rows(self, path: Path, report: Report = stop) -> Iterator[tuple[int, dict[str, Any]]]:
        import pyarrow
        import pyarrow.parquet

        number = 0
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                names = file.schema_arrow.names
                if len(set(names)) < len(names):
                    raise ValueError("a column name is given twice")
                for batch in file.iter_batches():
                    for row in batch.to_pylist():
                        number += 1
                        yield number, row
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UserError(f"not a readable Parquet file after row {number}: {reason[0]}", where=path) from None
