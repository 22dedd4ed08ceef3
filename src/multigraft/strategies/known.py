"""What predictors of transfer read of tasks, computed on the backbone that the tasks share.

Answers are those of rows that are kept to choose by, on which no prompt was trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.batching.collate import pad
from multigraft.batching.encode import Encoded, tokenize
from multigraft.errors import UserError
from multigraft.library.load import split_head
from multigraft.library.predictors import PREDICTORS, Known
from multigraft.library.retrieval.embedder import TOKENS, Embedder
from multigraft.library.retrieval.text_formats import KeyText
from multigraft.library.similarity import TENSOR
from multigraft.methods.heads import pool
from multigraft.methods.joint import JointModel
from multigraft.methods.text_model import TextModel
from multigraft.strategies.answering import Answering, Model
from multigraft.strategies.experts import Trained
from multigraft.strategies.fisher import fisher
from multigraft.tasks.task import Example, Task, sample
from multigraft.training.precision import computing_in

TEXTS = 64  # training rows whose texts are embedded
ROWS, FISHER_ROWS = 64, 32  # rows to choose by that are answered, at most
POSITIONS = 4096  # with padding and prompts, in a batch
PROBE = "probe"  # the expert at which Fisher information is taken


class TaskReader:
    """Reads tasks on one backbone; what it read of a task it keeps."""

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self.prompts: dict[str, Trained] = {}
        self.device = Accelerator().device
        self._kept: dict[tuple[str, str], Any] = {}

    def known(
        self, prompts: Mapping[str, Trained], targets: Sequence[str], sources: Sequence[str], predictors: Sequence[str]
    ) -> dict[str, Known]:
        """What the named predictors read of every target and source, and no more; `prompts`: those of all, by task.

        prompt: at its early step. size: training rows. texts: of up to `TEXTS` training rows, the mean last hidden
        state of the frozen encoder, or for a decoder the vectors of the embedded sentence encoder. fisher, (F,): see
        `fisher`. For targets, under every source's chosen prompt: losses as in training, on encoders with the target's
        own head, in words minus the mean log-probability of a row's target tokens; features, not where texts are
        written: what a head reads, or the mean last hidden state of the input, in an encoder-decoder that of the
        encoder. Where a head reads every option of a row, each is an example, and labels say whether it is right.

        Raises UserError for an unknown predictor, and for a task that has no rows to choose by.
        """
        reads = frozenset[str]().union(*(PREDICTORS.get(name).reads for name in predictors))
        self.prompts |= prompts
        found = {}
        for task in dict.fromkeys([*targets, *sources]):
            fields = {what: self._read(what, task) for what in sorted(reads & {"prompt", "size", "texts", "fisher"})}
            if task in targets:
                fields |= self.under(task, sources, reads)
            found[task] = Known(task, **fields)
        return found

    def _read(self, what: str, task: str) -> Any:
        if (what, task) not in self._kept:
            self._kept[what, task] = getattr(self, what)(task)
        return self._kept[what, task]

    def prompt(self, task: str) -> np.ndarray:
        """P D, float32."""
        return self.prompts[task].early()[TENSOR].float().numpy()

    def size(self, task: str) -> int:
        """Training rows."""
        return len(self.answering.split(task).train)

    def texts(self, task: str) -> np.ndarray:
        """S D, float32."""
        inputs, rows = self.answering.tasks[task].inputs, sample(self.answering.split(task).train, TEXTS)
        return self._embed([KeyText().render(row, inputs) for row in rows])

    @cached_property
    def _embed(self) -> Callable[[list[str]], np.ndarray]:
        backbone = self.answering.backbone()
        if backbone.family.kind == "decoder":
            return Embedder().encode
        backbone.model.to(self.device).eval()  # type: ignore[arg-type]
        return partial(_mean_states, backbone, self.device)

    def fisher(self, task: str) -> np.ndarray:
        """(F,), float64: see `fisher`; at the same fresh expert for all tasks, on encoders with their trained heads."""
        rows = self._dev(task, FISHER_ROWS)
        model = self._model(task, [PROBE, *(f"{PROBE} {n}" for n in range(1, len(rows)))])
        return fisher(self.answering, model, task, rows, POSITIONS)

    def under(self, target: str, sources: Sequence[str], reads: frozenset[str]) -> dict[str, Any]:
        """Those of labels, features and losses of a target that are asked for."""
        task = self.answering.tasks[target]
        wanted = reads & ({"losses"} if task.output.kind == "text" else {"labels", "features", "losses"})
        if not wanted or not sources:
            return {}
        rows = self._dev(target, ROWS)
        encoded = self.answering.encoded(target, rows)
        model = self._model(target, sources)
        for source in sources:
            model.bank.stack.load_expert(source, self.prompts[source].module())
        features, losses = self._answered(model, target, encoded)
        found: dict[str, Any] = {"losses": dict(zip(sources, losses.mean(axis=1).tolist(), strict=True))}
        if task.output.kind != "text":
            found["labels"] = _labels(task, rows, encoded)
            found["features"] = {source: np.concatenate(features[k]) for k, source in enumerate(sources)}
        return {what: found[what] for what in wanted}

    def _answered(self, model: Model, target: str, encoded: Any) -> tuple[list[list[np.ndarray]], np.ndarray]:
        """Features, S D with S sequences, and loss of each of n rows under each of the model's K experts: K n."""
        count, n, precision = len(model.names), len(encoded), self.answering.recipe.training.precision
        objective = self.answering.objective(dict.fromkeys(model.names, target), {target: encoded})
        features: list[list[np.ndarray]] = [[np.empty(0)] * n for _ in range(count)]
        losses = np.zeros((count, n))
        experts, rows = np.divmod(np.arange(count * n), n)
        for part in objective.parts(experts, rows, POSITIONS, model.prompt):
            k, i = experts[part], rows[part]
            batch = objective.collate(k, i).to(self.device)
            with torch.inference_mode(), computing_in(precision, self.device), _seen(model) as seen:
                losses[k, i] = objective.losses(model(batch), batch).float().cpu()
            (states,) = seen
            if isinstance(model, TextModel):
                tokens = (batch.ids if batch.source is None else batch.source).shape[1]
                mask = _mask(encoded.input_lengths[i], self.device)
                # An encoder's states begin with its prompt's, a decoder's go on with the target's.
                states = pool(states[:, -tokens:][:, : mask.shape[1]], mask, "mean")
            ends = np.cumsum(encoded.sequences[i])[:-1]
            for expert, row, found in zip(k, i, np.split(states.float().cpu().numpy(), ends), strict=True):
                features[expert][row] = found
        return features, losses

    def _dev(self, task: str, limit: int) -> list[Example]:
        rows = sample(self.answering.split(task).dev, limit)
        if not rows:
            raise UserError("no rows to choose by", where=f"task {task}", fix="give it more training rows")
        return rows

    def _model(self, task: str, experts: Sequence[str]) -> Model:
        """Fresh experts for a task, on an encoder with its trained head."""
        model = self.answering.model(dict.fromkeys(experts, task), self.answering.recipe.method, tuned=False)
        if isinstance(model, JointModel):
            _, head = split_head(self.prompts[task].best())
            for expert in experts:
                model.heads.load_expert(expert, head)
            model.heads.requires_grad_(False)
        return model.to(self.device).eval()


@contextmanager
def _seen(model: Model) -> Iterator[list[Tensor]]:
    """Within the block, what heads read, S D, or the last hidden state of the stack that reads the inputs, B T D."""
    found: list[Tensor] = []
    if isinstance(model, JointModel):
        handle = model.heads.register_forward_pre_hook(lambda _, args: found.append(args[0]))
    else:
        reader = model.backbone.reader(0)
        handle = reader.register_forward_hook(lambda _, args, output: found.append(output.last_hidden_state))
    try:
        yield found
    finally:
        handle.remove()


@torch.inference_mode()
def _mean_states(backbone: Backbone, device: torch.device, texts: list[str]) -> np.ndarray:
    """Mean last hidden state of the encoder over each text's tokens: S D, float32."""
    ids, _, _ = tokenize(backbone.tokenizer, [(text, None) for text in texts], min(TOKENS, backbone.max_length))
    mask = _mask([len(one) for one in ids], device)
    padded = pad([np.array(one) for one in ids], backbone.pad_id).to(device)
    states = backbone.reader(0)(input_ids=padded, attention_mask=mask, return_dict=True).last_hidden_state
    return pool(states, mask, "mean").float().cpu().numpy()


def _mask(lengths: Sequence[int] | np.ndarray, device: torch.device) -> Tensor:
    """1 where a token is: B T, int64."""
    return (torch.arange(max(lengths)) < torch.as_tensor(lengths)[:, None]).long().to(device)


def _labels(task: Task, rows: Sequence[Example], encoded: object) -> np.ndarray:
    if task.output.kind == "number":
        return np.array([float(row.target) for row in rows])
    if isinstance(encoded, Encoded) and encoded.by_row:
        return np.concatenate([np.arange(len(row.choices)) == row.target for row in rows]).astype(np.int64)
    return np.array([int(row.target) for row in rows])
