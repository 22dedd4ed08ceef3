"""Zero-shot and few-shot scores of a text model: every example of a task in every template."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from multigraft.batching.text import TextFormat
from multigraft.errors import UserError
from multigraft.evaluation.cache import Cache, key
from multigraft.evaluation.generation import generate
from multigraft.evaluation.metrics import score
from multigraft.evaluation.ranking import Norm, score_options
from multigraft.evaluation.shots import BUDGET, draw, with_shots
from multigraft.evaluation.template_statistics import Templated
from multigraft.evaluation.text_metrics import text_scores
from multigraft.methods.text_model import TextModel
from multigraft.tasks.task import Example, Task, sample
from multigraft.tasks.template import Rendered, Template, choose_templates, number_words, render

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


@dataclass(frozen=True)
class Kept:
    """Where answers of one expert are kept. model: what stands for all its weights (`TextModel.fingerprint`)."""

    cache: Cache
    model: str

    def key(
        self, task: Task, examples: Sequence[Example], template: Template, form: TextFormat, asking: Asking,
        pool: Sequence[Example],
    ) -> str:  # fmt: skip
        """Of the answers to the examples in one template."""
        return key(
            model=self.model, task=task.model_dump(mode="json", include={"name", "output", "metric", "inputs"}),
            examples=examples, template=template, form=form, asking=asking, pool=pool,
        )  # fmt: skip


def ask(
    model: TextModel,
    expert: int,
    task: Task,
    wording: str,
    split: str,
    limit: int | None,
    form: TextFormat,
    asking: Asking,
    *,
    dev: tuple[str, int] | None = None,
    kept: Kept | None = None,
) -> Templated:
    """The answers of one expert to a split of a task, in the templates called `wording` (see `choose_templates`).

    Turned-around templates are left out: they are for training. dev: a split and the number of its rows on which the
    best template is to be chosen, where there are several. Exemplars come from the training split; of a task that has
    none, from the split itself, never the row that is asked. Raises UserError for bad rows and templates.
    """
    templates = [one for one in choose_templates(task, wording) if not one.inverted]
    where = f"task {task.name}"
    if not templates:
        raise UserError("every template is inverted", where=where, fix="write one that asks for the answer")
    solved = "train" if "train" in task.split_names() else split
    pool = task.examples(solved) if asking.shots else []

    def asked(rows: Sequence[Example], dev: Templated | None = None) -> Templated:
        return answer(model, expert, task, rows, templates, form, asking, pool, dev, kept)

    choosing = None
    if dev is not None and len(templates) > 1:
        choosing = asked(sample(task.examples(dev[0]), dev[1]))
    return asked(task.examples(split, limit), choosing)


def answer(
    model: TextModel,
    expert: int,
    task: Task,
    examples: Sequence[Example],
    templates: Sequence[Template],
    form: TextFormat,
    asking: Asking,
    pool: Sequence[Example] = (),
    dev: Templated | None = None,
    kept: Kept | None = None,
) -> Templated:
    """The answers of one expert to n examples in each of K templates; exemplars come from the `pool`."""
    found = []
    for template in templates:
        name = kept.key(task, examples, template, form, asking, pool) if kept else ""
        entry = kept.cache.get(name) if kept else None
        answers = (
            entry.arrays["answers"] if entry else _answers(model, expert, task, examples, template, form, asking, pool)
        )
        if kept and entry is None:
            kept.cache.put(name, {"task": task.name, "template": template.name}, {"answers": answers})
        found.append(answers)
    names = tuple(template.name for template in templates)
    return Templated(task.metric, names, targets_of(examples), np.stack(found)[None], dev)


def _answers(
    model: TextModel, expert: int, task: Task, examples: Sequence[Example], template: Template, form: TextFormat,
    asking: Asking, pool: Sequence[Example],
) -> np.ndarray:  # fmt: skip
    """Answers in one template as `Templated` takes them: (n,), or (n, W) of texts."""
    questions = [_worded(template, task, example, asking, model, form, pool) for example in examples]
    inputs, experts = [question.input for question in questions], [expert] * len(questions)
    if task.output.kind == "text":
        written = generate(
            model, inputs, experts, form, max_tokens=asking.max_tokens, beams=asking.beams, precision=asking.precision
        )
        references = [example.references or (str(example.target),) for example in examples]
        return text_scores(task.metric, written, references).statistics
    scores = score_options(model, inputs, [q.options for q in questions], experts, form, asking.precision)
    chosen = scores.choose(asking.norm).astype(np.float64)
    if task.output.kind == "number":
        chosen = np.array([float(word) for word in number_words(*task.output.range)])[chosen.astype(int)]
    return chosen


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
    template: Template, task: Task, example: Example, asking: Asking, model: TextModel, form: TextFormat,
    pool: Sequence[Example],
) -> Rendered:  # fmt: skip
    question = render(template, task, example, options=asking.options)
    if not asking.shots:
        return question
    exemplars = [
        render(template, task, shot, options=asking.options) for shot in draw(example, pool, asking.shots, asking.seed)
    ]
    tokenizer = model.backbone.tokenizer
    budget = min(BUDGET, form.max_input)  # what is longer would be cut, and the question stands last

    def count(text: str) -> int:
        return len(tokenizer(text, verbose=False)["input_ids"])

    return with_shots(question, exemplars, count, budget, asking.shots)
