"""Scores of the embedded suite for docs/starter.md: majority, bag of words, MiniLM; and evidence for the relations.

    python tools/starter_scores.py [--steps 250] [TASK ...]

MiniLM is fine-tuned plainly, one model per task: word embeddings kept, mean of the last layer, one linear head.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from scipy.stats import pearsonr
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from torch import nn
from transformers import AutoModel, AutoTokenizer, logging

from multigraft.tasks import starter
from multigraft.tasks.outputs import Example
from multigraft.tasks.task import Choice, Task, Text

CAP, BATCH, LENGTH, RATE = 2000, 16, 96, 1e-4
RELATED = {"app_feedback": ("reviews", "contrary", "coin"), "house_rules": ("entailment", "coin"), "headlines": ("articles", "coin")}
SAME_LABELS = [("reviews", "app_feedback"), ("reviews", "contrary"), ("entailment", "house_rules"), ("articles", "headlines")]
METRICS = {
    "accuracy": accuracy_score,
    "f1": f1_score,
    "macro_f1": lambda gold, guess: f1_score(gold, guess, average="macro"),
    "matthews": matthews_corrcoef,
    "pearson": lambda gold, guess: pearsonr(gold, guess)[0] if np.ptp(guess) else 0.0,
}


def score(task: Task, gold: Sequence[object], guess: Sequence[object]) -> float:
    """The task's metric, times 100. Texts are compared as wholes."""
    if isinstance(task.output, Text):
        return 100 * float(np.mean([a == b for a, b in zip(gold, guess, strict=True)]))
    return 100 * float(METRICS[task.metric](gold, guess))


def targets(rows: Sequence[Example]) -> list[object]:
    return [row.target for row in rows]


def pairs(task: Task, rows: Sequence[Example]) -> bool:
    """Are the options those of the row, so that (inputs, option) pairs are scored?"""
    return isinstance(task.output, Choice) and task.output.choices is None


def majority(task: Task) -> float:
    """The most frequent answer of the training rows; their mean for a number; the first option for options per row."""
    train, test = task.examples("train"), task.examples("test")
    if isinstance(task.output, Choice) and task.output.choices is None:
        guess: object = Counter(row.target for row in train).most_common(1)[0][0]
    elif isinstance(task.output, Choice | Text):
        guess = Counter(targets(train)).most_common(1)[0][0]
    else:
        return 0.0
    return score(task, targets(test), [guess] * len(test))


def marked(texts: Sequence[str]) -> str:
    """Fields in one text, every word with the number of its field."""
    return " ".join(f"{word}_{field}" for field, text in enumerate(texts) for word in text.lower().replace(".", " ").split())
