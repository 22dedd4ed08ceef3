"""A suite of three small tasks that a tiny backbone can learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

WORDS = ("cat", "dog", "red", "blue")
NAMES = ["first", "second", "third"]


def _task(folder: Path, name: str, rows: int, choices: int) -> None:
    """Which word comes first, of so many; texts of several lengths."""
    place = folder / name
    place.mkdir()
    for number, (split, count) in enumerate({"train": rows, "validation": 10}.items()):
        draw = np.random.default_rng([number, len(name)])
        found = []
        for _ in range(count):
            word = str(draw.choice(WORDS[:choices]))
            found.append({"text": f"{word} {' '.join(draw.choice(list('efghijkl'), draw.integers(1, 9)))}",
                          "label": word})  # fmt: skip
        (place / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    task = {
        "name": name, "cluster": name, "inputs": ["text"], "metric": "accuracy", "licence": "CC0",
        "output": {"kind": "choice", "field": "label", "choices": list(WORDS[:choices])},
        "splits": {split: f"{split}.jsonl" for split in ("train", "validation")}, "sources": [name],
    }  # fmt: skip
    (place / "task.yaml").write_text(yaml.safe_dump(task))
    templates = [{"name": "which", "input": "{{ text }} who ? {{ options_list }}"}]
    (place / "templates.yaml").write_text(yaml.safe_dump({"templates": templates}))


@pytest.fixture(scope="module")
def word_suite(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("experts")
    for name, rows, choices in zip(NAMES, (40, 30, 25), (2, 4, 3)):
        _task(folder, name, rows, choices)
    (folder / "suite.yaml").write_text(yaml.safe_dump({"name": "words", "tasks": NAMES}))
    return str(folder)
