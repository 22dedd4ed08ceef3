"""Fisher information of an expert's values: how much the answers to a task depend on each of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from multigraft.batching.text import TextEncoded, encode_text
from multigraft.evaluation.generation import generate
from multigraft.evaluation.ranking import score_options
from multigraft.methods.joint import JointModel
from multigraft.methods.text_model import TextModel
from multigraft.strategies.answering import Answering, Model, WordAnswering
from multigraft.tasks.task import Example, Task
from multigraft.training.precision import computing_in


def fisher(answering: Answering, model: Model, task: str, rows: Sequence[Example], positions: int) -> np.ndarray:
    """The mean over n rows of the squared gradient of an answer's log-likelihood, for each of F values: (F,), float64.

    Taken at the values of the model's first expert. Answers are drawn from the model: among the options of a row, in
    words by their probabilities; a text is what it writes greedily. A number from a head is the mean of a normal
    distribution of variance 1, whose information needs no draw. positions: with padding, in a batch.

    The model has an expert for every row, which get the same values: one backward then gives each row's own gradient
    (arXiv 1902.03545, section 2, takes the diagonal at one point for all tasks too).
    """
    values, precision = model.bank.stack.values, answering.recipe.training.precision
    with torch.no_grad():
        values.copy_(values[0].clone().expand_as(values))
    encoded = _drawn(answering, model, task, rows) if isinstance(model, TextModel) else answering.encoded(task, rows)
    objective = answering.objective(dict.fromkeys(model.names, task), {task: encoded})
    generator = torch.Generator().manual_seed(answering.recipe.seed)
    everyone = np.arange(len(rows))
    for part in objective.parts(everyone, everyone, positions, model.prompt):
        batch = objective.collate(part, part).to(values.device)
        with computing_in(precision, values.device):
            outputs = model(batch)
        if isinstance(model, JointModel):
            outputs = _log_likelihoods(outputs, answering.tasks[task], generator)
        outputs.sum().backward()
    assert values.grad is not None
    return values.grad.double().square().mean(dim=0).cpu().numpy()


def _log_likelihoods(scores: Tensor, task: Task, generator: torch.Generator) -> Tensor:
    """Of answers drawn from a head's scores, B C: B. Of numbers, their means, which have the gradients that count."""
    if task.output.kind == "number":
        return scores[:, 0]
    drawn = torch.multinomial(scores.detach().softmax(dim=1).cpu(), 1, generator=generator)[:, 0]
    return -F.cross_entropy(scores, drawn.to(scores.device), reduction="none")


def _drawn(answering: Answering, model: TextModel, task: str, rows: Sequence[Example]) -> TextEncoded:
    """The rows with answers of the model's first expert in place of the right ones."""
    assert isinstance(answering, WordAnswering)
    recipe, questions = answering.recipe, answering.rendered(task, rows)
    form = model.backbone.text_format(recipe.text.max_input, recipe.text.max_target)
    inputs, experts, precision = [one.input for one in questions], [0] * len(rows), recipe.training.precision
    if answering.tasks[task].output.kind == "text":
        answers = generate(model, inputs, experts, form, max_tokens=recipe.text.max_target, precision=precision)
    else:
        scores = score_options(model, inputs, [one.options for one in questions], experts, form, precision)
        rng = np.random.default_rng(recipe.seed)
        parts = np.split(scores.total, scores.first[1:-1])
        # The largest of log-probabilities with Gumbel noise is a draw by the probabilities.
        chosen = [int((part + rng.gumbel(size=len(part))).argmax()) for part in parts]
        answers = [one.options[k] for one, k in zip(questions, chosen, strict=True)]
    return encode_text(list(zip(inputs, answers, strict=True)), model.backbone.tokenizer, form)
