"""The texts that `pocket` is pretrained on, as word pieces: what goes in, what stays out, what is held out.

In: the string inputs of the train split of every task, and the targets of text tasks, each as a text by itself.
Labels and answers stay out. Out as well, so that they stay unseen:

- the clusters of `UNSEEN_CLUSTERS` and the tasks of `UNSEEN_TASKS`, whole;
- every text that holds, or lies within, a text of theirs or of an evaluation split. Evaluation splits are read for
  this comparison only. Texts are compared as words, without case and punctuation; below `SHORTEST` words a text is
  a common phrase rather than a row, and is neither taken nor compared.

A text that lies within another one is dropped, so that no held-out text is trained on as a part of a longer one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from multigraft.errors import UserError
from multigraft.files import new_folder, recover_folder, write_json

UNSEEN_CLUSTERS = ("nli", "paraphrase", "commonsense")
UNSEEN_TASKS = {
    "sick_r": "has the sentences of sick_e (nli)",
    "stsb": "has sentences of mrpc (paraphrase), and asks nearly the same",
    "comve": "half of its sentences are against common sense, and it asks what the commonsense tasks ask",
}
SHORTEST = 6  # words
HELD_OUT = 20  # one row in so many, by the hash of its first field

Words = tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """Texts as word pieces: text i is `pieces[starts[i] : starts[i + 1]]`; `held_out` marks texts (not trained on)."""

    pieces: np.ndarray
    starts: np.ndarray
    held_out: np.ndarray
    counts: dict[str, dict[str, int]]  # per task: texts, pieces, held_out, and what was dropped

    def texts(self, *, held_out: bool) -> list[np.ndarray]:
        """The texts of one side, in order."""
        chosen = np.flatnonzero(self.held_out == held_out)
        return [self.pieces[self.starts[i] : self.starts[i + 1]] for i in chosen]


@dataclass(frozen=True)
class _Text:
    task: str
    text: str
    words: Words
    held_out: bool


def corpus_of(data: Path, folder: Path, tokenizer: Any) -> Corpus:
    """The corpus of the tasks under `data`: read from `folder`, where the first call leaves it."""
    recover_folder(folder)
    if not folder.exists():
        with new_folder(folder) as new:
            _build(data, new, tokenizer)
    arrays, counts = load_file(folder / "texts.safetensors"), json.loads((folder / "counts.json").read_text())
    return Corpus(arrays["pieces"], arrays["starts"], arrays["held_out"].astype(bool), counts)


def _build(data: Path, folder: Path, tokenizer: Any) -> None:
    path = data / "tasks" / "index.json"
    try:
        index: dict[str, dict[str, Any]] = json.loads(path.read_text())
    except OSError as error:
        raise UserError(
            f"cannot read the tasks: {error.strerror}", where=path, fix="name their folder: --data"
        ) from None
    seen = [name for name in index if not is_unseen(name, index[name]["cluster"])]
    counts = {name: {"texts": 0, "pieces": 0, "held_out": 0, "blocked": 0, "within_another": 0} for name in seen}
    taken = list({text.words: text for name in reversed(seen) for text in _texts(data, name, index[name])}.values())
    kept = _keep(taken, _blocked(data, index), counts)
    ids = tokenizer([text.text for text in kept], add_special_tokens=False, verbose=False)["input_ids"]
    for text, pieces in zip(kept, ids):
        counts[text.task]["texts"] += 1
        counts[text.task]["pieces"] += len(pieces)
        counts[text.task]["held_out"] += text.held_out
    arrays = {
        "pieces": np.concatenate([np.array(pieces, np.uint16) for pieces in ids]),
        "starts": np.cumsum([0, *map(len, ids)]).astype(np.int64),
        "held_out": np.array([text.held_out for text in kept], np.uint8),
    }
    save_file(arrays, folder / "texts.safetensors")
    write_json(folder / "counts.json", counts)


def is_unseen(task: str, cluster: str) -> bool:
    """Do all texts of the task stay out?"""
    return cluster in UNSEEN_CLUSTERS or task in UNSEEN_TASKS


def words_of(text: str) -> Words:
    """What two texts are compared by."""
    return tuple(re.findall(r"\w+", text.lower()))


def containments(texts: Sequence[Words], phrases: Sequence[Words]) -> Iterator[tuple[int, int]]:
    """Every (i, j) where phrase j, of at least `SHORTEST` words, stands in text i."""
    index: dict[Words, list[int]] = defaultdict(list)
    for j, phrase in enumerate(phrases):
        if len(phrase) >= SHORTEST:
            index[phrase[:SHORTEST]].append(j)
    for i, words in enumerate(texts):
        for at in range(len(words) - SHORTEST + 1):
            for j in index.get(words[at : at + SHORTEST], ()):
                if words[at : at + len(phrases[j])] == phrases[j]:
                    yield i, j


def _rows(data: Path, task: str, split: str) -> Iterator[dict[str, Any]]:
    path = data / "tasks" / task / f"{split}.jsonl"
    if path.exists():
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def _texts(data: Path, name: str, task: dict[str, Any]) -> Iterator[_Text]:
    """The train texts of a task. The rows' first fields divide held-out ones from others, so that a row stays whole."""
    fields = [*task["inputs"], *([task["output"]["field"]] if task["output"]["kind"] == "text" else [])]
    for row in _rows(data, name, "train"):
        key = " ".join(words_of(str(row[fields[0]])))
        held_out = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) % HELD_OUT == 0
        for field in fields:
            if isinstance(row[field], str):
                text = re.sub(r"<br */?>|\\+", " ", row[field]).strip()
                words = words_of(text)
                if len(words) >= SHORTEST:
                    yield _Text(name, text, words, held_out)


def _blocked(data: Path, index: dict[str, dict[str, Any]]) -> list[Words]:
    """All texts of evaluation splits and of unseen tasks, options of a row included."""
    found: dict[Words, None] = {}
    for name, task in index.items():
        splits = ("validation", "test", *(["train"] if is_unseen(name, task["cluster"]) else []))
        for row in (row for split in splits for row in _rows(data, name, split)):
            for value in row.values():
                for text in value if isinstance(value, list) else [value]:
                    if isinstance(text, str):
                        found[words_of(text)] = None
    return list(found)


def _keep(texts: list[_Text], blocked: list[Words], counts: dict[str, dict[str, int]]) -> list[_Text]:
    words = [text.words for text in texts]
    met = {i for i, _ in containments(words, blocked)} | {j for _, j in containments(blocked, words)}
    within = {j for i, j in containments(words, words) if i != j and i not in met} - met
    for why, dropped in (("blocked", met), ("within_another", within)):
        for i in dropped:
            counts[texts[i].task][why] += 1
    return [text for i, text in enumerate(texts) if i not in met and i not in within]
