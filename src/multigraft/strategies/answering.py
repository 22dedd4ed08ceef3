"""How tasks are put to one backbone: to an encoder with a head for each, or in words to a text-to-text model.

What trains, chooses and scores experts knows of the two kinds no more than `Answering`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from multigraft.backbones.load import Backbone, load_backbone, writes
from multigraft.batching.encode import Encoded, encode
from multigraft.batching.text import TextEncoded, encode_text
from multigraft.errors import UserError
from multigraft.evaluation.metrics import score
from multigraft.evaluation.scoring import answer_ms, predict, targets, templated
from multigraft.evaluation.template_statistics import Templated
from multigraft.evaluation.templated import Asking, answer
from multigraft.library.text_folder import load_text_model, trained_folder
from multigraft.methods.bank import Bank
from multigraft.methods.base import parse_method
from multigraft.methods.heads import Heads
from multigraft.methods.joint import JointModel
from multigraft.methods.text_model import TextModel
from multigraft.runinfo import median_ms
from multigraft.strategies.data import median_text
from multigraft.strategies.expert_recipe import ExpertRecipe
from multigraft.strategies.instruction_data import Words
from multigraft.tasks.task import Example, Task, sample
from multigraft.tasks.template import Rendered, Template, choose_templates, render
from multigraft.training.objective import HeadObjective, Objective, Rows, TextObjective

DEV_SHARE = 5  # at most one of so many training rows is kept to choose by
TEXT = "text"  # what stands for the inputs of several tasks, without labels
TIMED = 5  # times that a text is answered, for the time of an answer
Model = JointModel | TextModel


class Split(NamedTuple):
    """Rows of a task by what they are for."""

    train: list[Example]
    dev: list[Example]  # of the training split too, but never trained on


def divide(task: Task, examples: int | None, dev: int) -> Split:
    """At most `examples` training rows and `dev` others to choose by, which are at most a fifth of all."""
    rows = task.examples("train")
    kept = sample(rows, min(dev, len(rows) // DEV_SHARE))
    chosen = {id(row) for row in kept}
    rest = [row for row in rows if id(row) not in chosen]
    return Split(rest if examples is None else sample(rest, examples), kept)


class Question(NamedTuple):
    """What an expert learns: a task, in all wordings of the recipe or in one of them."""

    task: Task
    template: str | None = None

    @property
    def name(self) -> str:
        """The task's, with the template's where there is one."""
        if self.template is None:
            return self.task.name
        return f"{self.task.name}.{re.sub(r'[^A-Za-z0-9_-]+', '-', self.template).strip('-')}"


class Answering(ABC):
    """Questions on one backbone; where a task is asked for by name, it is a question's.

    train: the encoded training rows of each.
    """

    train: Mapping[str, Rows]

    def __init__(self, recipe: ExpertRecipe, questions: Sequence[Question]) -> None:
        self.recipe = recipe
        self.questions = {question.name: question for question in questions}
        self.tasks = {name: question.task for name, question in self.questions.items()}
        self._splits: dict[str, Split] = {}

    @abstractmethod
    def model(self, experts: Mapping[str, str], method: object, *, tuned: bool, shared: bool = False) -> Model:
        """A fresh model with these experts, by name with the task of each. shared: one module for all of them."""

    @abstractmethod
    def encoded(self, task: str, rows: Sequence[Example]) -> Rows:
        """Rows of a task as they are asked when an expert is chosen."""

    @abstractmethod
    def objective(
        self, experts: Mapping[str, str], rows: Mapping[str, Rows] | None = None, *, shared: bool = False
    ) -> Objective:
        """What the experts learn from: rows by task, by default those to train on."""

    @abstractmethod
    def dev_score(self, model: Model, expert: int, task: str) -> float:
        """Score of an expert on the rows that are kept to choose by, in per cent."""

    @abstractmethod
    def answers(self, model: Model, expert: int, task: str) -> Templated:
        """What an expert answers to the scored rows."""

    @abstractmethod
    def longest(self) -> int:
        """Tokens that the backbone reads at most, without a prompt."""

    @abstractmethod
    def answer_ms(self, model: Model, tasks: Sequence[str]) -> float:
        """Milliseconds to answer one text for all of the model's tasks."""

    def backbone(self) -> Backbone:
        """A fresh copy of the backbone; a trained text model is one too."""
        name, folder = self.recipe.backbone_name, trained_folder(self.recipe.backbone_name)
        if folder is None:
            return load_backbone(name, pretrained=self.recipe.backbone.pretrained, seed=self.recipe.seed)
        model, _ = load_text_model(folder)
        if model.bank.stack.width:
            raise UserError("has experts on its backbone", where=folder, fix="give a model without task modules")
        model.bank.detach()
        return Backbone(model.language_model, model.backbone.tokenizer, name)

    def split(self, task: str) -> Split:
        """The rows of a task to train on and to choose by."""
        if task not in self._splits:
            self._splits[task] = divide(self.tasks[task], self.recipe.examples, self.recipe.dev_examples)
        return self._splits[task]

    def labels(self, task: str) -> tuple[str, ...]:
        """The words of a task's answers; none where they are not fixed."""
        return tuple(getattr(self.tasks[task].output, "choices", None) or ())

    def scored(self, task: str) -> list[Example]:
        """The rows of a task that scores are taken on."""
        return self.tasks[task].examples(self.recipe.score_on, self.recipe.scored_examples)


class HeadAnswering(Answering):
    """An encoder with a head for each task."""

    def __init__(self, recipe: ExpertRecipe, questions: Sequence[Question]) -> None:
        super().__init__(recipe, questions)
        plain = load_backbone(recipe.backbone_name, pretrained=False)
        self._tokenizer, self._pad_id = plain.tokenizer, plain.pad_id
        self._length = min(recipe.training.max_length, plain.max_length)
        self.train = {task: self.encoded(task, self.split(task).train) for task in self.tasks}
        self._dev = {task: self.encoded(task, self.split(task).dev) for task in self.tasks}
        self._scored: dict[str, Encoded] = {}

    def longest(self) -> int:
        return self._length

    def encoded(self, task: str, rows: Sequence[Example]) -> Encoded:
        return encode(self.tasks[task], rows, self._tokenizer, self._length)

    def model(self, experts: Mapping[str, str], method: object, *, tuned: bool, shared: bool = False) -> JointModel:
        backbone, seed = self.backbone(), self.recipe.seed
        bank = Bank(parse_method(method), backbone, ["shared"] if shared else list(experts), seed=seed)
        outputs = {name: self.tasks[task].head_outputs for name, task in experts.items()}
        heads = Heads(backbone, outputs, pooler="shared" if tuned else "per_task", seed=seed)
        # Experts of one task start with the same head, whatever they are called.
        starts = Heads(backbone, {task: outputs[name] for name, task in experts.items()}, pooler=heads.pooler_kind,
                       seed=seed)  # fmt: skip
        for name, task in experts.items():
            heads.load_expert(name, starts.expert(task))
        return JointModel(backbone, bank, heads, pooling=self.recipe.backbone.pooling, tuned=tuned)

    def objective(
        self, experts: Mapping[str, str], rows: Mapping[str, Rows] | None = None, *, shared: bool = False
    ) -> HeadObjective:
        data = [(rows or self.train)[task] for task in experts.values()]
        return HeadObjective(data, self._pad_id)  # type: ignore[arg-type]

    def dev_score(self, model: Model, expert: int, task: str) -> float:
        rows = self._dev[task]
        found = predict(model, rows, expert, self.recipe.training.precision)  # type: ignore[arg-type]
        return score(self.tasks[task].metric, found, targets(rows))

    def answers(self, model: Model, expert: int, task: str) -> Templated:
        if task not in self._scored:
            self._scored[task] = self.encoded(task, self.scored(task))
        rows = self._scored[task]
        found = predict(model, rows, expert, self.recipe.training.precision)  # type: ignore[arg-type]
        return templated(self.tasks[task], rows, found)

    def answer_ms(self, model: Model, tasks: Sequence[str]) -> float:
        data = [self._dev[task] for task in tasks]
        return answer_ms(model, median_text(data, self._pad_id), self.recipe.training.precision)  # type: ignore[arg-type]


class WordAnswering(Answering):
    """A text-to-text model, which is asked in words."""

    def __init__(self, recipe: ExpertRecipe, questions: Sequence[Question]) -> None:
        super().__init__(recipe, questions)
        plain = self.backbone()
        self.form = plain.text_format(recipe.text.max_input, recipe.text.max_target)
        self._tokenizer = plain.tokenizer
        self.asking = Asking(
            norm=recipe.norm,
            options=recipe.options,
            max_tokens=recipe.text.max_target,
            precision=recipe.training.precision,
        )
        self._templates = {
            name: choose_templates(task, template or recipe.templates)
            for name, (task, template) in self.questions.items()
        }
        for name, templates in self._templates.items():
            if all(template.inverted for template in templates):
                fix = "write one that asks for the answer"
                raise UserError("every template is inverted", where=f"task {name}", fix=fix)
        self.train = {task: self._worded(task) for task in self.tasks}

    def longest(self) -> int:
        lengths = (self.form.max_input, self.form.max_target)
        return sum(lengths) if self.form.kind == "decoder" else max(lengths)

    def add_text(self, tasks: Sequence[str]) -> None:
        """Let `TEXT` be the inputs of the tasks: a text is read to a random word, and the rest is to be written.

        Prefix language modelling (Raffel et al. 2020, arXiv 1910.10683, section 3.2.3).
        """
        if TEXT in self.train:
            return
        rng = np.random.default_rng(self.recipe.seed)
        texts = [" ".join(row.inputs).split() for task in tasks for row in self.split(task).train]
        cuts = [int(rng.integers(1, len(words))) for words in texts if len(words) > 1]
        pairs = [
            (" ".join(words[:cut]), " ".join(words[cut:]))
            for words, cut in zip((words for words in texts if len(words) > 1), cuts)
        ]
        encoded = encode_text([pairs[i] for i in rng.permutation(len(pairs))], self._tokenizer, self.form)
        self.train = {**self.train, TEXT: encoded}

    def _worded(self, task: str) -> TextEncoded:
        words = Words(self.recipe, self.tasks[task], self._templates[task], (), self.form, self._tokenizer)
        return words.encode(self.split(task).train, training=True)

    def model(self, experts: Mapping[str, str], method: object, *, tuned: bool, shared: bool = False) -> TextModel:
        backbone = self.backbone()
        names = ["shared"] if shared else list(experts)
        return TextModel(backbone, Bank(parse_method(method), backbone, names, seed=self.recipe.seed), tuned=tuned)

    def rendered(self, task: str, rows: Sequence[Example]) -> list[Rendered]:
        """Rows of a task in the first template that asks for the answer."""
        template = self.asked(task)[0]
        return [render(template, self.tasks[task], row, options=self.recipe.options) for row in rows]

    def encoded(self, task: str, rows: Sequence[Example]) -> TextEncoded:
        pairs = [(one.input, one.target) for one in self.rendered(task, rows)]
        return encode_text(pairs, self._tokenizer, self.form)

    def objective(
        self, experts: Mapping[str, str], rows: Mapping[str, Rows] | None = None, *, shared: bool = False
    ) -> TextObjective:
        data = [(rows or self.train)[task] for task in experts.values()]
        text = self.recipe.text
        return TextObjective(data, self.form, weighting=text.weighting, packing=text.packing, together=shared)  # type: ignore[arg-type]

    def dev_score(self, model: Model, expert: int, task: str) -> float:
        if task == TEXT:
            return 0.0  # no score; the last step is taken
        found = self._answers(model, expert, task, self.split(task).dev, self.asked(task)[:1])
        return float(found.scores().mean())

    def answers(self, model: Model, expert: int, task: str) -> Templated:
        return self._answers(model, expert, task, self.scored(task), self.asked(task))

    def answer_ms(self, model: Model, tasks: Sequence[str]) -> float:
        def ask_all() -> None:
            for number, task in enumerate(tasks):
                expert = min(number, len(model.names) - 1)  # one for all, or one for each
                self._answers(model, expert, task, self.split(task).dev[:1], self.asked(task)[:1])

        return median_ms(ask_all, TIMED)

    def labels(self, task: str) -> tuple[str, ...]:
        if not super().labels(task):
            return ()
        return self.rendered(task, self.split(task).dev[:1])[0].options

    def asked(self, task: str) -> list[Template]:
        """Templates that ask for the answer."""
        return [template for template in self._templates[task] if not template.inverted]

    def _answers(
        self, model: Model, expert: int, task: str, rows: Sequence[Example], templates: Sequence[Template]
    ) -> Templated:
        return answer(model, expert, self.tasks[task], rows, templates, self.form, self.asking)  # type: ignore[arg-type]


def in_words(recipe: ExpertRecipe) -> bool:
    """Does the backbone of a recipe write? Raises UserError when it is not there."""
    name = recipe.backbone_name
    return trained_folder(name) is not None or writes(name)


def answering(recipe: ExpertRecipe, tasks: Sequence[Task], *, by_template: bool = False) -> Answering:
    """How the backbone of a recipe answers tasks, or in words each of their templates that asks for the answer.

    Raises UserError when the backbone is not there, and for rows or templates.
    """
    if not in_words(recipe):
        if by_template:
            fix = "take experts per task, or a text-to-text backbone"
            raise UserError(f"{recipe.backbone_name} reads no templates", where="per", fix=fix)
        return HeadAnswering(recipe, [Question(task) for task in tasks])
    if not by_template:
        return WordAnswering(recipe, [Question(task) for task in tasks])
    asked = [(task, one) for task in tasks for one in choose_templates(task, recipe.templates) if not one.inverted]
    return WordAnswering(recipe, [Question(task, template.name) for task, template in asked])
