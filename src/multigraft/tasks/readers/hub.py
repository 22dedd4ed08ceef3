"""Data sets of the Hugging Face hub; the line of a row is its number, counted from 1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from multigraft.errors import UserError
from multigraft.settings import Record
from multigraft.tasks.readers import Report, stop


class HubSource(Record):
    """Where a task lies on the hub, and how its columns become the task's fields."""

    hub: Annotated[str, Field(min_length=1)]  # data set id, as owner/name
    config: str | None = None
    revision: str | None = None  # commit, tag or branch
    splits: Annotated[dict[str, str], Field(min_length=1)]  # the task's split: the hub's split
    columns: dict[str, str] = Field(default_factory=dict)  # the task's field: the hub's column, where they differ
    labels: tuple[str, ...] | None = None  # the option that each integer label stands for
    scale: float = 1.0  # the hub's number times this is the task's

    def where(self, split: str) -> str:
        """Name of a split in messages, like owner/name/config/train."""
        return "/".join(["hub:" + self.hub, *([self.config] if self.config else []), self.splits[split]])


_unreachable: dict[str, str] = {}  # data set id: why; so that a suite waits for a dead network once, not per split


def load(source: HubSource, split: str) -> Iterable[Mapping[str, Any]]:
    """The rows of a split as the hub has them, downloaded or from the cache. Raises UserError."""
    import datasets
    import huggingface_hub

    reason = _unreachable.get(source.hub)
    level = huggingface_hub.logging.get_verbosity()
    huggingface_hub.logging.set_verbosity_error()  # its warnings of each retry say what the one error says
    try:
        if reason is None:
            return datasets.load_dataset(  # type: ignore[no-any-return]
                source.hub, source.config, split=source.splits[split], revision=source.revision
            )
    except Exception as error:  # network, cache, builder and server faults have no common base class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, ConnectionError):
            _unreachable[source.hub] = reason
    finally:
        huggingface_hub.logging.set_verbosity(level)
    raise UserError(f"cannot be loaded from the hub: {reason}", where=source.where(split))


def rows(
    source: HubSource, split: str, field: str, data: Iterable[Mapping[str, Any]], report: Report = stop
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of `data` under the task's names, the answer in `field` turned into the task's values."""
    for number, raw in enumerate(data, start=1):
        try:
            yield number, _renamed(source, raw, field)
        except (LookupError, ValueError) as error:
            report(UserError(str(error.args[0]), where=f"{source.where(split)}:{number}"))


def _renamed(source: HubSource, raw: Mapping[str, Any], field: str) -> dict[str, Any]:
    row = dict(raw)
    for name, column in source.columns.items():
        if column not in raw:
            raise LookupError(f"column {column!r} is missing; the columns are {', '.join(raw)}")
        row[name] = raw[column]
    value = row.get(field)
    if source.labels is not None and isinstance(value, int):
        if not 0 <= value < len(source.labels):
            raise ValueError(f"label {value} is outside the {len(source.labels)} labels of the source")
        row[field] = source.labels[value]
    elif source.scale != 1.0 and isinstance(value, int | float):
        row[field] = value * source.scale
    return row
