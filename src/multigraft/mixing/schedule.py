"""Schedules: which task the next examples come from."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from multigraft.errors import UserError
from multigraft.registry import Registry
from multigraft.settings import Record, build


class Schedule(Record):
    """A rule that gives every task its share of the rows; the fields of a subclass are its settings.

    A subclass lives in its own file of `mixing/schedules/` and sets `name`.
    """

    name: ClassVar[str]
    in_turn: ClassVar[bool] = False  # tasks come in a fixed order; otherwise they are drawn at random from the shares

    @abstractmethod
    def shares(self, sizes: Sequence[int], epoch: int, epochs: int, total_rows: int) -> list[float]:
        """Share of the rows for each of `N` tasks, summing to 1.

        `sizes`: `N` numbers of training examples, each at least 1. `epoch` of `epochs`: counted from 1.
        `total_rows`: rows that the whole run will draw.
        """


SCHEDULES: Registry[Schedule] = Registry(
    "schedule", "multigraft.mixing.schedules", "multigraft.mixing.schedule:Schedule"
)


def parse(value: object, where: object = None) -> Schedule:
    """A schedule from its name (`annealed`) or from its name with settings (`{name: temperature, cap: 10000}`).

    Raises UserError for an unknown name or setting; `where` says in which file.
    """
    settings = {"name": value} if isinstance(value, str) else value
    if not isinstance(settings, Mapping) or not isinstance(settings.get("name"), str):
        fix = f"give one of {', '.join(SCHEDULES.names())}, or a mapping with 'name' and its settings"
        raise UserError(f"not a schedule: {value!r}", where=where, fix=fix)
    kind = SCHEDULES.get(settings["name"], where)
    return build(kind, {key: setting for key, setting in settings.items() if key != "name"}, where)


def schedule_record(value: object) -> dict[str, Any]:
    """What `parse` takes as a mapping of JSON values, with every setting. Raises UserError as `parse`."""
    schedule = parse(value, "schedule")
    return {"name": schedule.name, **json.loads(schedule.model_dump_json())}
