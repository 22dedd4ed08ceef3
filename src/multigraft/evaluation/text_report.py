"""Scores of a text-to-text backbone on a suite, zero-shot or few-shot, with intervals and trivial baselines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from multigraft.backbones.load import load_backbone
from multigraft.evaluation.baselines import majority
from multigraft.evaluation.cache import Cache
from multigraft.evaluation.metrics import score
from multigraft.evaluation.statistics import interval
from multigraft.evaluation.template_statistics import Templated, resample_templates, summarise
from multigraft.evaluation.templated import Asking, Kept, ask, chance, targets_of
from multigraft.library.text_folder import build_text_model, load_text_model, trained_folder
from multigraft.methods.heads_only import HeadsOnly
from multigraft.methods.text_model import TextModel
from multigraft.settings import Record
from multigraft.tasks.suite import Suite
from multigraft.tasks.task import Example, Task

DEV, DEV_ROWS = "validation", 200  # the best template is chosen on so many rows (arXiv 2109.01652, section 3)


class TaskScores(Record):
    """What a model scores on one task, in per cent. The interval is over examples and templates."""

    task: str
    clusters: tuple[str, ...]
    metric: str
    rows: int
    mean: float  # over the templates
    interval: tuple[float, float]  # 95 %, of the mean
    best: float | None  # of the template that is best on dev; None when dev itself is scored
    lower_quartile: float
    median: float
    upper_quartile: float
    by_template: dict[str, float]
    chance: float | None
    majority: float | None


def text_model(name: str) -> TextModel:
    """The trained text model in a folder, or a backbone as it is, with one expert that changes nothing.

    Raises UserError for an encoder, and for a name that leads nowhere.
    """
    trained = trained_folder(name)
    if trained is not None:
        model = load_text_model(trained)[0]
    else:
        model = build_text_model(load_backbone(name), ["untuned"], HeadsOnly(), tuned=False, seed=0)
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def score_suite(
    model: TextModel,
    expert: int,
    suite: Suite,
    template: str,
    split: str,
    limit: int | None,
    asking: Asking,
    *,
    max_input: int,
    cache: Cache | None = None,
    announce: Callable[[str], None] = lambda line: None,
) -> list[TaskScores]:
    """Scores of every task of the suite in the templates called `template` (see `choose_templates`).

    With a `cache`, what was answered before is not asked again. Raises UserError as `ask` does.
    """
    form = model.backbone.text_format(max_input, asking.max_tokens)
    kept = Kept(cache, model.fingerprint(expert)) if cache else None
    found = []
    for task in suite.tasks.values():
        announce(task.name)
        dev = (DEV, DEV_ROWS) if split != DEV and DEV in task.split_names() else None
        run = ask(model, expert, task, template, split, limit, form, asking, dev=dev, kept=kept)
        found.append(_scores(task, run, task.examples(split, limit)))
    return found


def _scores(task: Task, run: Templated, examples: Sequence[Example]) -> TaskScores:
    figures = summarise(run)
    common = None
    if "train" in task.split_names() and task.output.kind != "text":
        train = task.examples("train")
        common = score(task.metric, majority(train, examples, task).astype(np.float64), targets_of(examples))
    return TaskScores(
        task=task.name,
        clusters=task.clusters,
        metric=task.metric,
        rows=len(examples),
        mean=figures.mean,
        interval=interval(resample_templates({task.name: run})),
        best=figures.best,
        lower_quartile=figures.lower_quartile,
        median=figures.median,
        upper_quartile=figures.upper_quartile,
        by_template=figures.by_template,
        chance=chance(task, examples),
        majority=common,
    )
