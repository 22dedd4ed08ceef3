"""One task of the suite: what its `task.yaml` says, and how its rows are drawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from multigraft.tasks.starter.grammar import Draw

Row = dict[str, Any]
LICENCE = "Apache-2.0"
SPLITS = ("test", "validation", "train")
PATIENCE = 100_000  # repeated inputs drawn before a grammar counts as too small


@dataclass(frozen=True)
class Source:
    """A task, and the function that draws one row of it.

    `row(draw, known)` returns the fields of a row. With `known` it must use the training part of every word
    list, otherwise (validation and test) the whole list. Two sources with the same `seed` and row grammar
    have the same inputs.
    """

    name: str
    cluster: str
    description: str
    inputs: list[str]
    output: dict[str, Any]
    metric: str
    row: Callable[[Draw, bool], Row]
    train: int
    validation: int = 200
    test: int = 400
    noise: float = 0.0  # share of the training rows whose label is drawn anew, at random
    note: str = ""
    seed: str = ""

    def splits(self) -> dict[str, list[Row]]:
        """The rows of each split; no input occurs twice, in one split or in two."""
        seen: set[tuple[Any, ...]] = set()
        return {split: list(self._rows(split, getattr(self, split), seen)) for split in SPLITS}

    def _rows(self, split: str, count: int, seen: set[tuple[Any, ...]]) -> Iterator[Row]:
        draw, noise = Draw(f"{self.seed or self.name}/{split}"), Draw(f"{self.name}/{split}/noise")
        repeats = 0
        while count:
            row = self.row(draw, split == "train")
            key = tuple(row[field] for field in self.inputs)
            if key in seen:
                repeats += 1
                if repeats > PATIENCE:
                    raise RuntimeError(f"{self.name}: the grammar is too small for the {split} split")
                continue
            seen.add(key)
            count -= 1
            if split == "train" and self.noise and noise.chance(self.noise):
                row[self.output["field"]] = noise.pick(self.output["choices"])
            yield row

    def write(self, folder: Path) -> None:
        """Write `task.yaml` and the rows of each split into `folder`."""
        folder.mkdir(parents=True)
        for split, rows in self.splits().items():
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
        card = {
            "name": self.name,
            "description": self.description,
            "cluster": self.cluster,
            "inputs": self.inputs,
            "output": self.output,
            "metric": self.metric,
            "licence": LICENCE,
            "note": self.note or "Generated.",
            "splits": {split: f"{split}.jsonl" for split in reversed(SPLITS)},
        }
        (folder / "task.yaml").write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8", newline="\n")
