"""Zero-shot and few-shot scores of a text model: every example of a task in every template."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from multigraft.batching.text import TextFormat
from multigraft.evaluation.generation import generate
from multigraft.evaluation.metrics import score
from multigraft.evaluation.ranking import Norm, score_options
from multigraft.evaluation.shots import BUDGET, draw, with_shots
from multigraft.evaluation.template_statistics import Templated
from multigraft.evaluation.text_metrics import text_scores
from multigraft.methods.text_model import TextModel
from multigraft.tasks.task import Example, Task
from multigraft.tasks.template import Rendered, Template, number_words, render

CHANCE_DRAWS = 200  # random answers to every row, for the score of chance


@dataclass(frozen=True)
class Asking:
    """How examples are put to a model.

    norm: what options are ranked by. options: are they listed in the input. shots: exemplars before each question.
    max_tokens, beams: of texts that are written.
    """

    norm: Norm = "sum"
    options: bool = True
    shots: int = 0
    seed: int = 0  # of the exemplars
    max_tokens: int = 64
    beams: int = 1
    precision: str = "auto"


def answer(
    model: TextModel,
    expert: int,
    task: Task,
    examples: Sequence[Example],
    templates: Sequence[Template],
    form: TextFormat,
    asking: Asking,
    pool: Sequence[Example] = (),
) -> Templated:
    """The answers of one expert to n examples in each of K templates; exemplars come from the `pool`."""
    questions = [
        _worded(template, task, example, asking, model, pool) for template in templates for example in examples
    ]
    shape, experts = (1, len(templates), len(examples)), [expert] * len(questions)
    names = tuple(template.name for template in templates)
    inputs = [question.input for question in questions]
    if task.output.kind == "text":
        written = generate(
            model, inputs, experts, form, max_tokens=asking.max_tokens, beams=asking.beams, precision=asking.precision
        )
        references = [example.references or (str(example.target),) for example in examples] * len(templates)
        statistics = text_scores(task.metric, written, references).statistics
        return Templated(task.metric, names, targets_of(examples), statistics.reshape(*shape, -1))
    scores = score_options(model, inputs, [q.options for q in questions], experts, form, asking.precision)
    chosen = scores.choose(asking.norm).astype(np.float64)
    if task.output.kind == "number":
        chosen = np.array([float(word) for word in number_words(*task.output.range)])[chosen.astype(int)]
    return Templated(task.metric, names, targets_of(examples), chosen.reshape(shape))


def targets_of(examples: Sequence[Example]) -> np.ndarray:
    """The right choices or numbers, and of texts a number that stands for each: (n,)."""
    values = [zlib.crc32(one.target.encode()) if isinstance(one.target, str) else one.target for one in examples]
    return np.array(values, dtype=np.float64)


def chance(task: Task, examples: Sequence[Example]) -> float | None:
    """The score of answers at random, in per cent: the mean over `CHANCE_DRAWS` draws; None where texts are written."""
    if task.output.kind == "text":
        return None
    generator = np.random.default_rng(0)
    if task.output.kind == "number":
        drawn = generator.choice(
            np.array(list(map(float, number_words(*task.output.range)))), (CHANCE_DRAWS, len(examples))
        )
    else:
        counts = np.array([len(example.choices) for example in examples])
        drawn = generator.integers(0, counts, (CHANCE_DRAWS, len(examples))).astype(np.float64)
    wanted = targets_of(examples)
    return float(np.mean([score(task.metric, row, wanted) for row in drawn]))


def _worded(
    template: Template, task: Task, example: Example, asking: Asking, model: TextModel, pool: Sequence[Example]
) -> Rendered:
    question = render(template, task, example, options=asking.options)
    if not asking.shots:
        return question
    exemplars = [
        render(template, task, shot, options=asking.options) for shot in draw(example, pool, asking.shots, asking.seed)
    ]
    tokenizer = model.backbone.tokenizer
    return with_shots(question, exemplars, lambda text: len(tokenizer(text)["input_ids"]), BUDGET, asking.shots)
