"""Two abilities in one instruction: what experts of one ability each, and merges of them, make of it.

    python bench/composition.py run FOLDER                 train, and write bench/results/experts/composition.json
    python bench/composition.py run FOLDER STEPS ROWS      try it out with so many, and print the tables
    python bench/composition.py                            print the tables of what was kept

Every composed task is asked in one instruction that names both of its parts (`composition_tasks.py`). Who answers it:
the backbone without an expert; the expert of the first or of the second part; their uniform merge (Jang et al. 2023,
arXiv 2302.03202); the sum of their updates (Ilharco et al. 2022, arXiv 2212.04089, with lambda 1); both in a chain,
where the second is asked its own part's instruction on what the first has answered to its own; one expert trained on
the rows of both parts, as many in all as the two; and one trained on the composed task itself. Merges have twice the
rank of an expert, and so lose nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from composition_tasks import COMPOSED, FIRST, SECOND, write_suite

from multigraft.evaluation.generation import generate
from multigraft.evaluation.statistics import Resampled, interval, paired
from multigraft.evaluation.template_statistics import Templated, resample_templates
from multigraft.evaluation.templated import targets_of
from multigraft.evaluation.text_metrics import text_scores
from multigraft.files import write_json
from multigraft.library.merging.experts import merge_experts
from multigraft.library.merging.task_arithmetic import TaskArithmetic
from multigraft.library.merging.uniform import Uniform
from multigraft.library.parcel import Parcel
from multigraft.methods.text_model import TextModel
from multigraft.runinfo import machine
from multigraft.settings import build
from multigraft.strategies.answering import WordAnswering
from multigraft.strategies.crossing import BARE
from multigraft.strategies.expert_retrieval import ExpertRetrieval
from multigraft.strategies.retrieval_recipe import RetrievalRecipe
from multigraft.tasks.task import Example
from multigraft.tasks.template import render

RESULTS = Path(__file__).parent / "results" / "experts" / "composition.json"
PARTS = tuple({**FIRST, **SECOND})
METRICS = ("exact_match", "token_f1")
WAYS = ("no expert", "first", "second", "uniform", "sum", "chain", "both", "composed")
MERGES = {"uniform": Uniform(), "sum": TaskArithmetic(scale=1.0)}
SCORED, RANK = 100, 8
RECIPE: dict[str, Any] = {
    "backbone": {"name": "pocket"}, "scored_examples": SCORED, "dev_examples": 10,
    "method": {"name": "lora", "rank": RANK, "maps": ["q", "v", "o", "up", "down", "cross_q", "cross_v"]},
    "text": {"max_input": 96, "max_target": 24},
    "training": {"steps": 120, "epochs": 2, "score_every": 2, "batch_size": 16, "module_learning_rate": 2e-3,
                 "part_positions": 4096, "choose": "last"},
}  # fmt: skip
Written = list[list[str]]  # in each of K wordings, what is written for each of n rows


class Writers:
    """Models whose experts write; an expert is known by its name."""

    def __init__(self, asked: WordAnswering, models: Sequence[TextModel]) -> None:
        self.asked = asked
        self.models = {name: model for model in models for name in model.names}

    def write(self, expert: str, task: str, inputs: Sequence[Sequence[str]]) -> Written:
        """What an expert writes where wording k of a task asks for each of inputs[k]."""
        asked, model = self.asked, self.models[expert]
        questions = [
            render(template, asked.tasks[task], Example((text,), (), "")).input
            for template, texts in zip(asked.asked(task), inputs, strict=True)
            for text in texts
        ]
        who, asking = [model.names.index(expert)] * len(questions), asked.asking
        found = generate(model, questions, who, asked.form, max_tokens=asking.max_tokens, precision=asking.precision)
        rows = len(inputs[0])
        return [found[start : start + rows] for start in range(0, len(found), rows)]

    def rows(self, expert: str, task: str) -> Written:
        """What it writes for the scored rows of a task."""
        texts = [row.inputs[0] for row in self.asked.scored(task)]
        return self.write(expert, task, [texts] * len(self.asked.asked(task)))


def run(folder: Path, steps: int | None = None, scored: int | None = None) -> None:
    """Train, ask and score, and keep the figures; with fewer steps and scored rows print them."""
    write_suite(folder / "suite")
    recipe = build(RetrievalRecipe, RECIPE | {"suite": str(folder / "suite")}, "recipe")
    if steps and scored:
        training = recipe.training.model_copy(update={"steps": steps})
        recipe = recipe.model_copy(update={"training": training, "scored_examples": scored})
    pool = ExpertRetrieval(folder / "experts").pool(recipe)
    experts = {expert.name: expert for names in (PARTS, tuple(COMPOSED)) for expert in pool.parcels(names)}
    both = [pool.beside(pool.multitask(pair), f"both.{name}") for name, pair in COMPOSED.items()]
    merged = [
        merge_experts(merge, [experts[part] for part in pair], f"{way}.{name}", rank=2 * RANK)
        for name, pair in COMPOSED.items()
        for way, merge in MERGES.items()
    ]
    banks = [[Parcel(BARE, {}, None)], [*experts.values(), *both], [one.parcel for one in merged]]  # type: ignore[arg-type]
    assert isinstance(pool.asked, WordAnswering)
    writers = Writers(pool.asked, [pool.crossing.model(bank) for bank in banks])  # type: ignore[misc]
    found = {
        "machine": machine(),
        "recipe": recipe.model_dump(mode="json", exclude={"suite"}),
        "merge_error": max(one.error or 0.0 for one in merged),
        **_scores(writers),
    }
    if steps:
        print(table(found))
    else:
        write_json(RESULTS, found)


def _scores(writers: Writers) -> dict[str, Any]:
    """Parts by their own experts and without one, composed tasks in every way."""
    answers = {name: _answers(writers, name) for name in COMPOSED}
    return {
        "parts": {
            part: {
                label: _figures(writers, {part: writers.rows(who, part)})
                for label, who in (("no expert", BARE), ("own", part))
            }
            for part in PARTS
        },
        "composed": {
            name: {way: _figures(writers, {name: written}) for way, written in by_way.items()}
            for name, by_way in answers.items()
        },
        "mean": {way: _figures(writers, {name: answers[name][way] for name in COMPOSED}) for way in WAYS},
        "differences": _differences(writers, answers),
        "examples": {name: _example(writers, name, by_way) for name, by_way in answers.items()},
    }


def _answers(writers: Writers, name: str) -> dict[str, Written]:
    """What each way writes for the rows of a composed task."""
    first, second = COMPOSED[name]
    who = {"no expert": BARE, "first": first, "second": second, "both": f"both.{name}", "composed": name}
    who |= {way: f"{way}.{name}" for way in MERGES}
    texts = [row.inputs[0] for row in writers.asked.scored(name)]
    between = writers.write(first, first, [texts] * len(writers.asked.asked(first)))
    found = {way: writers.rows(expert, name) for way, expert in who.items()}
    found["chain"] = writers.write(second, second, between)
    return {way: found[way] for way in WAYS}


def _resampled(writers: Writers, written: Mapping[str, Written], metric: str) -> Resampled:
    """Scores by task, the wordings of a row averaged, with the rows drawn anew."""
    tasks = {}
    for name, by_wording in written.items():
        rows = writers.asked.scored(name)
        references = [(str(row.target),) for row in rows]
        values = np.mean([text_scores(metric, texts, references).statistics for texts in by_wording], axis=0)
        tasks[name] = Templated(metric, ("all wordings",), targets_of(rows), values[None, None])
    return resample_templates(tasks)


def _figures(writers: Writers, written: Mapping[str, Written]) -> dict[str, list[float]]:
    """By metric the score, and its 95 % interval over rows; of several tasks the mean."""
    found = {metric: _resampled(writers, written, metric) for metric in METRICS}
    return {metric: [one.mean(), *interval(one)] for metric, one in found.items()}


def _differences(writers: Writers, answers: Mapping[str, Mapping[str, Written]]) -> dict[str, dict[str, Any]]:
    """Mean over the composed tasks of each merge less that of each other way, paired by row."""
    found: dict[str, dict[str, Any]] = {}
    for metric in METRICS:
        of = {way: _resampled(writers, {name: by_way[way] for name, by_way in answers.items()}, metric) for way in WAYS}
        for merge in MERGES:
            for way in WAYS:
                if way not in MERGES:
                    one = paired(of[merge], of[way])
                    found.setdefault(f"{merge} - {way}", {})[metric] = [one.difference, *one.interval]
    return found


def _example(writers: Writers, name: str, by_way: Mapping[str, Written]) -> dict[str, str]:
    """The first row in the first wording."""
    row = writers.asked.scored(name)[0]
    wanted = writers.asked.rendered(name, [row])[0]
    return {"asked": wanted.input, "wanted": wanted.target, **{way: texts[0][0] for way, texts in by_way.items()}}


def table(found: Mapping[str, Any]) -> str:
    """The scores of parts, of composed tasks and their differences, and what was written, as Markdown."""
    lines = ["| part | no expert | own expert | F1: no expert | own expert |", "|---|---:|---:|---:|---:|"]
    for part, by in found["parts"].items():
        lines.append(_line(part, [_cell(by[who][metric]) for metric in METRICS for who in ("no expert", "own")]))
    for metric, words in zip(METRICS, ("exact match", "token F1"), strict=True):
        lines += ["", _line(f"composed task, {words}", WAYS), f"|---|{'---:|' * len(WAYS)}"]
        for name, by_way in (*found["composed"].items(), ("mean", found["mean"])):
            lines.append(_line(name, [_cell(by_way[way][metric]) for way in WAYS]))
    lines += ["", "| difference of the means | exact match | token F1 |", "|---|---:|---:|"]
    for name, by in found["differences"].items():
        lines.append(_line(name, [_cell(by[metric], "+.1f") for metric in METRICS]))
    lines += ["", _line("written for the first row", ["wanted", *WAYS]), f"|---|{'---|' * (len(WAYS) + 1)}"]
    for name, by in found["examples"].items():
        lines.append(_line(name, [by[what].replace("|", " ") for what in ("wanted", *WAYS)]))
    return "\n".join(lines)


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([name, *cells])} |"


def _cell(figures: Sequence[float], form: str = ".1f") -> str:
    mean, low, high = (format(value, form) for value in figures)
    return f"{mean} ({low} to {high})"


def main() -> None:
    """Print what was kept."""
    print(table(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    run(Path(sys.argv[2]), *map(int, sys.argv[3:5])) if sys.argv[1:2] == ["run"] else main()
