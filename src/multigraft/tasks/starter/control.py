"""Tasks that must not help: the texts of the reviews under opposed labels, and under labels that mean nothing."""

from __future__ import annotations

from multigraft.tasks.starter.grammar import Draw
from multigraft.tasks.starter.sentiment import LABELS, review
from multigraft.tasks.starter.source import Row, Source


def contrary(draw: Draw, known: bool) -> Row:
    row = review(draw, known)
    return {"review": row["review"], "verdict": LABELS[1 - LABELS.index(row["verdict"])]}


def coin(draw: Draw, known: bool) -> Row:
    text = review(draw, known)["review"]
    return {"review": text, "side": Draw(f"coin/{text}").pick(["heads", "tails"])}


TASKS = [
    Source(
        name="contrary",
        cluster="control",
        description="What is the verdict of a reader who disagrees with every review?",
        inputs=["review"],
        output={"kind": "choice", "field": "verdict", "choices": LABELS},
        metric="accuracy",
        row=contrary,
        train=2_000,
        seed="reviews",
        note="The texts of `reviews` under the opposite labels.",
    ),
    Source(
        name="coin",
        cluster="control",
        description="Heads or tails?",
        inputs=["review"],
        output={"kind": "choice", "field": "side", "choices": ["heads", "tails"]},
        metric="accuracy",
        row=coin,
        train=2_000,
        seed="reviews",
        note="The texts of `reviews` under labels drawn at random: nothing can be learned.",
    ),
]
