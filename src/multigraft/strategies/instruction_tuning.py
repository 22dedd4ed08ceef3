"""Instruction tuning: one model for many tasks in words, measured on clusters that it never saw (arXiv 2109.01652)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from multigraft.backbones.load import load_backbone
from multigraft.batching.text import TextEncoded, TextFormat
from multigraft.batching.text_collate import collate_text
from multigraft.evaluation.template_statistics import Templated
from multigraft.evaluation.templated import Asking, answer
from multigraft.files import new_folder, write_json
from multigraft.library.card import Card, data_fingerprint, tokenizer_fingerprint
from multigraft.library.text_folder import TextModelFile, build_text_model, load_text_model, save_text_model
from multigraft.methods.base import method_record
from multigraft.methods.heads_only import HeadsOnly
from multigraft.methods.text_model import TextModel
from multigraft.mixing.ledger import Ledger
from multigraft.runinfo import machine
from multigraft.strategies.instruction_data import Worded, training_tasks, training_templates, word_tasks
from multigraft.strategies.instruction_recipe import InstructionRecipe
from multigraft.strategies.sampling import sampler_of
from multigraft.tasks.holdout import Certificate, hold_out, read_certificate
from multigraft.tasks.suite import Suite, load_suite
from multigraft.tasks.task import Task
from multigraft.tasks.template import choose_templates
from multigraft.training.loop import Hooks, train
from multigraft.training.monitor import Monitor
from multigraft.training.objective import TextObjective
from multigraft.training.precision import computing_in

EXPERT = "instructions"  # the one expert of the model, for all tasks


def run_cluster(recipe: InstructionRecipe, cluster: str, folder: Path, *, quiet: bool = False) -> dict[str, Templated]:
    """Answers to the tasks of one held-out cluster by a model tuned on the rest; a finished run is not repeated.

    Kept in `folder`: the certificate, the model, its log, and the answers. Raises UserError for settings that do not
    fit together, before anything is trained.
    """
    suite = _suite(recipe)
    certificate = certificate_of(suite, cluster, folder)
    known = read_answers(folder / "answers")
    if known is not None:
        return known
    tasks = training_tasks(recipe, suite, certificate)
    backbone = load_backbone(recipe.backbone.name, pretrained=recipe.backbone.pretrained, seed=recipe.seed)
    form = backbone.text_format(recipe.text.max_input, recipe.text.max_target)
    method = recipe.method or method_record(HeadsOnly())
    model = build_text_model(backbone, [EXPERT], method, tuned=recipe.backbone.tuned, seed=recipe.seed)
    words = word_tasks(recipe, tasks, certificate, form, backbone.tokenizer)
    _train(recipe, model, method, tasks, words, form, folder, quiet)
    found = score_cluster(recipe, load_text_model(folder / "model")[0], suite, certificate)
    write_answers(folder / "answers", found)
    return found


def score_cluster(
    recipe: InstructionRecipe, model: TextModel, suite: Suite, certificate: Certificate
) -> dict[str, Templated]:
    """Answers of a model's first expert to the held-out tasks, zero-shot or with exemplars.

    A task without the split that is asked for is scored on its test split.
    """
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    form = model.backbone.text_format(recipe.text.max_input, recipe.text.max_target)
    asking = Asking(
        norm=recipe.norm, options=recipe.options, shots=recipe.shots, max_tokens=recipe.text.max_target,
        precision=recipe.training.precision,
    )  # fmt: skip
    found = {}
    for name in certificate.held_out:
        task = suite.tasks[name]
        templates = [one for one in choose_templates(task, recipe.score_templates) if not one.inverted]
        split = recipe.score_on if recipe.score_on in task.split_names() else "test"
        rows = task.examples(split, recipe.scored_examples)
        pool = task.examples("train") if recipe.shots and "train" in task.split_names() else []
        found[name] = answer(model, 0, task, rows, templates, form, asking, pool)
    return found


def certificate_of(suite: Suite, cluster: str, folder: Path) -> Certificate:
    """The certificate in `folder`, or a new one that is written there. Raises UserError for a file that is none."""
    path = folder / "certificate.json"
    if path.exists():
        certificate = read_certificate(path)
        if certificate.seal == certificate.digest() and certificate.clusters == (cluster,):
            return certificate
    certificate = hold_out(suite, [cluster])
    folder.mkdir(parents=True, exist_ok=True)
    certificate.write(path)
    return certificate


def _suite(recipe: InstructionRecipe) -> Suite:
    suite = load_suite(recipe.suite)
    return suite.subset(recipe.tasks) if recipe.tasks is not None else suite


def _train(
    recipe: InstructionRecipe, model: TextModel, method: Mapping[str, object], tasks: list[Task], words: Worded,
    form: TextFormat, folder: Path, quiet: bool,
) -> None:  # fmt: skip
    sizes = {name: len(rows) for name, rows in words.train.items()}
    sampler = sampler_of(words.train, recipe.parsed_schedule(), recipe.training, recipe.seed)
    ledger = Ledger(sizes, sampler.planned())
    objective = TextObjective(
        list(words.train.values()), form, weighting=recipe.text.weighting, packing=recipe.text.packing, together=True
    )
    base = model.backbone.fingerprint

    def evaluate() -> dict[str, float]:
        return {name: watched(model, rows, form, recipe.training.precision) for name, rows in words.dev.items()}

    def keep(scores: Mapping[str, float]) -> None:
        file = TextModelFile(
            backbone=recipe.backbone.name, backbone_fingerprint=base, pretrained=recipe.backbone.pretrained,
            seed=recipe.seed, tuned=recipe.backbone.tuned, method=dict(method), max_input=recipe.text.max_input,
            max_target=recipe.text.max_target, precision=recipe.training.precision, experts=tuple(model.names),
        )  # fmt: skip
        save_text_model(
            folder / "model", model, file, {EXPERT: _card(recipe, model, method, tasks, words, sampler.step)}
        )

    with Monitor(folder, f"without {folder.name}", quiet=quiet) as monitor:
        train(model, objective, sampler, ledger, recipe.training, Hooks(evaluate, keep), monitor, folder, recipe.seed)
    write_json(folder / "ledger.json", ledger.summary())


@torch.inference_mode()
def watched(model: TextModel, rows: TextEncoded, form: TextFormat, precision: str) -> float:
    """Mean log-probability of the target tokens of a few rows, in nats: the higher, the better."""
    device = next(model.parameters()).device
    values = []
    for start in range(0, len(rows), 32):
        few = list(range(start, min(start + 32, len(rows))))
        batch = collate_text([rows], [0] * len(few), few, form).to(device)
        with computing_in(precision, device):
            values.append(model(batch).float().cpu())
    return float(torch.cat(values).mean())


def _card(
    recipe: InstructionRecipe,
    model: TextModel,
    method: Mapping[str, object],
    tasks: list[Task],
    words: Worded,
    step: int,
) -> Card:
    backbone = model.backbone
    fingerprints = "".join(data_fingerprint(rows) for rows in words.train.values())
    versions = {key: value for key, value in machine().items() if key in ("multigraft", "torch", "transformers")}
    return Card(
        task=", ".join(words.train),
        method=dict(method),
        backbone=recipe.backbone.name,
        backbone_fingerprint=backbone.weights_fingerprint() if model.tuned else backbone.fingerprint,
        tokenizer_fingerprint=tokenizer_fingerprint(backbone.tokenizer),
        data_fingerprint=sha256(fingerprints.encode()).hexdigest(),
        template=", ".join(dict.fromkeys(one.name for task in tasks for one in training_templates(recipe, task))),
        seed=recipe.seed,
        steps=step,
        scores={},
        licence="; ".join(dict.fromkeys(task.licence for task in tasks if task.licence)),
        parents=(),
        versions=versions,
    )


def write_answers(folder: Path, answers: Mapping[str, Templated]) -> None:
    """Keep answers, so that nothing is asked twice."""
    with new_folder(folder) as new:
        arrays = {f"{name}/{key}": np.ascontiguousarray(getattr(one, key)) for name, one in answers.items()
                  for key in ("targets", "answers")}  # fmt: skip
        save_file(arrays, new / "answers.safetensors")
        write_json(new / "answers.json", {name: [one.metric, *one.templates] for name, one in answers.items()})


def read_answers(folder: Path) -> dict[str, Templated] | None:
    """What `write_answers` kept, or None where there is nothing."""
    path = folder / "answers.json"
    if not path.exists():
        return None
    arrays = load_file(folder / "answers.safetensors")
    return {
        name: Templated(metric, tuple(templates), arrays[f"{name}/targets"], arrays[f"{name}/answers"])
        for name, (metric, *templates) in json.loads(path.read_text()).items()
    }
