"""Training of one instruction-tuned model, and what is kept of it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import torch
from accelerate import Accelerator

from multigraft.backbones.load import load_backbone
from multigraft.batching.text import TextEncoded, TextFormat
from multigraft.batching.text_collate import collate_text
from multigraft.files import write_json
from multigraft.library.card import Card, data_fingerprint
from multigraft.library.text_folder import TextModelFile, build_text_model, save_text_model
from multigraft.methods.base import method_record
from multigraft.methods.heads_only import HeadsOnly
from multigraft.methods.text_model import TextModel
from multigraft.mixing.ledger import Ledger
from multigraft.runinfo import peak_memory_mb, reset_peak_memory
from multigraft.settings import Record, build, read_yaml
from multigraft.strategies.cards import maker
from multigraft.strategies.instruction_data import Worded, training_templates
from multigraft.strategies.instruction_recipe import InstructionRecipe
from multigraft.strategies.sampling import sampler_of
from multigraft.tasks.task import Task
from multigraft.training.loop import Hooks, train
from multigraft.training.monitor import Monitor
from multigraft.training.objective import TextObjective
from multigraft.training.precision import computing_in

EXPERT = "instructions"  # the one expert of the model, for all tasks
FILE = "training.json"


class Training(Record):
    """What training a model cost and saw: `training.json`, written last."""

    seconds: float
    peak_memory_mb: float
    steps: int
    chosen_step: int
    ledger: dict[str, dict[str, float]]
    draws: dict[str, tuple[float, ...]]
    curve: dict[str, tuple[float, ...]]


def trained(folder: Path) -> Training | None:
    """What is known of the model that was trained in `folder`, or None where none was."""
    path = folder / FILE
    return build(Training, read_yaml(path), path) if path.exists() else None


def fresh_model(recipe: InstructionRecipe, *, pretrained: bool) -> TextModel:
    """The model before training. Raises UserError when backbone, method, lengths and packing do not fit."""
    backbone = load_backbone(recipe.backbone.name, pretrained=pretrained, seed=recipe.seed)
    model = build_text_model(
        backbone, [EXPERT], recipe.method or HeadsOnly(), tuned=recipe.backbone.tuned, seed=recipe.seed
    )
    model.check_lengths(backbone.text_format(recipe.text.max_input, recipe.text.max_target))
    if recipe.text.packing is not None:
        model.check_packing(recipe.text.packing)
    return model


def train_model(
    recipe: InstructionRecipe,
    model: TextModel,
    tasks: list[Task],
    words: Worded,
    folder: Path,
    *,
    label: str,
    quiet: bool,
) -> Training:
    """Train a fresh model on tasks in words; `folder/model` is it, `folder/training.json` the record."""
    reset_peak_memory()
    form = model.backbone.text_format(recipe.text.max_input, recipe.text.max_target)
    sampler = sampler_of(words.train, recipe.parsed_schedule(), recipe.training, recipe.seed)
    ledger = Ledger({name: len(rows) for name, rows in words.train.items()}, sampler.planned())
    objective = TextObjective(
        list(words.train.values()), form, weighting=recipe.text.weighting, packing=recipe.text.packing, together=True
    )
    base = model.backbone.fingerprint  # before training changes the weights

    def evaluate() -> dict[str, float]:
        return {name: watched(model, rows, form, recipe.training.precision) for name, rows in words.dev.items()}

    def keep(scores: Mapping[str, float]) -> None:
        card = _card(recipe, model, tasks, words, sampler.step)
        save_text_model(folder / "model", model, _file(recipe, model, base), {EXPERT: card})

    with Monitor(folder, label, quiet=quiet) as monitor:
        progress = train(
            model, objective, sampler, ledger, recipe.training, Hooks(evaluate, keep), monitor, folder, recipe.seed
        )
    done = Training(
        seconds=progress.seconds,
        peak_memory_mb=peak_memory_mb(),
        steps=progress.step,
        chosen_step=progress.best_step if recipe.training.choose == "best" else progress.step,
        ledger=ledger.summary(),
        draws={name: tuple(shares) for name, shares in ledger.drawn_shares().items()},
        curve={key: tuple(values) for key, values in monitor.curve().items()},
    )
    accelerator = Accelerator()
    if accelerator.is_main_process:
        write_json(folder / FILE, done.model_dump(mode="json"))
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)  # of no more use
    accelerator.wait_for_everyone()
    return done


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


def _file(recipe: InstructionRecipe, model: TextModel, fingerprint: str) -> TextModelFile:
    return TextModelFile(
        backbone=recipe.backbone.name,
        backbone_fingerprint=fingerprint,
        pretrained=recipe.backbone.pretrained,
        seed=recipe.seed,
        tuned=recipe.backbone.tuned,
        method=method_record(model.bank.method),
        max_input=recipe.text.max_input,
        max_target=recipe.text.max_target,
        precision=recipe.training.precision,
        experts=tuple(model.names),
    )


def _card(recipe: InstructionRecipe, model: TextModel, tasks: list[Task], words: Worded, step: int) -> Card:
    fingerprints = "".join(data_fingerprint(rows) for rows in words.train.values())
    return maker(model, recipe.backbone.name, method_record(model.bank.method), recipe.seed, step)(
        task=", ".join(words.train),
        data_fingerprint=sha256(fingerprints.encode()).hexdigest(),
        template=", ".join(dict.fromkeys(one.name for task in tasks for one in training_templates(recipe, task))),
        scores={},
        licence="; ".join(dict.fromkeys(task.licence for task in tasks if task.licence)),
    )
