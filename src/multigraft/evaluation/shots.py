"""Few-shot exemplars: solved examples of the task before the question, at training and at inference alike."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace

from multigraft.tasks.outputs import Example
from multigraft.tasks.template import Rendered

SHOTS = 16  # arXiv 2109.01652, section 4.4: at most so many exemplars,
BUDGET = 960  # and so many tokens of them and the question together
ANSWER = "\n"  # between the input and the answer of an exemplar
SEPARATOR = "\n\n"  # between exemplars, and before the question, which stands last


def with_shots(
    rendered: Rendered,
    exemplars: Sequence[Rendered],
    count_tokens: Callable[[str], int],
    budget: int = BUDGET,
    k: int = SHOTS,
) -> Rendered:
    """The question with the first exemplars before it: at most k, and while the whole input fits into the budget.

    rendered, exemplars: in the same template. count_tokens: of a text as the model reads it, which may not get fewer
    when the text grows. The exemplars stand in their order, whole or not at all; a question that fills the budget
    alone stays as it is.
    """
    shown = [f"{one.input}{ANSWER}{one.target}" for one in exemplars[:k]]

    def text(shots: int) -> str:
        return SEPARATOR.join([*shown[:shots], rendered.input])

    fitting = bisect_right(range(1, len(shown) + 1), budget, key=lambda shots: count_tokens(text(shots)))
    return replace(rendered, input=text(fitting))


def draw(example: Example, pool: Sequence[Example], k: int = SHOTS, seed: int = 0) -> list[Example]:
    """Up to k different rows of the pool, the training split, drawn at random for this example.

    Every example gets its own, so that a score does not hang on one lucky set. They depend on the example's inputs,
    the pool and the seed alone; a smaller k gives the first of them. Rows with the example's own inputs are left out.
    """
    order = random.Random(repr((seed, example.inputs)))
    found: list[Example] = []
    seen: set[int] = set()
    while len(found) < k and len(seen) < len(pool):
        row = order.randrange(len(pool))
        if row not in seen:
            seen.add(row)
            if pool[row].inputs != example.inputs:
                found.append(pool[row])
    return found
