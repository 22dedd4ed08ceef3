"""Sixteen LoRA experts trained in one bank, over PEFT training one after the other on the same rows."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Side, compare, finish, interleave, options, run_in, timed, versions
from sides import CLASSES, DEVICE, joint_model, labelled, plain_update
from torch import Tensor

from multigraft.batching.collate import Batch, collate
from multigraft.batching.encode import Encoded
from multigraft.methods.joint import JointModel
from multigraft.mixing.ledger import Ledger
from multigraft.mixing.sampler import Sampler
from multigraft.mixing.schedule import parse
from multigraft.training.loop import Hooks, train
from multigraft.training.monitor import Monitor
from multigraft.training.objective import HeadObjective
from multigraft.training.precision import computing_in
from multigraft.training.settings import TrainingSettings

EXPERTS, ROWS, TOKENS, BATCH, EPOCHS, RANK = 16, 16, 64, 8, 5, 8
MAPS = ("q", "v")
CASES: dict[str, tuple[str, tuple[int, ...] | None, float]] = {  # our layers, PEFT's, and the target on a CPU
    "every layer": ("every", None, 0.9),
    "final half": ("final_half", (3, 4, 5), 0.7),
}
ON_GPU = 0.25  # the target there
TOLERANCE = 1e-5  # of scores in float32 after `EPOCHS` epochs with AdamW


def task_rows(task: int) -> Encoded:
    """Random texts of a task with random answers, of up to an eighth less than `TOKENS` tokens."""
    rng = np.random.default_rng(task)
    starts = np.concatenate([[0], rng.integers(TOKENS - TOKENS // 8, TOKENS + 1, ROWS).cumsum()])
    ids = rng.integers(1000, 30000, starts[-1]).astype(np.int32)
    return Encoded(
        ids=ids,
        types=np.zeros(len(ids), dtype=np.int8),
        starts=starts,
        first=np.arange(ROWS + 1),
        choices=np.full(ROWS, CLASSES),
        target_class=rng.integers(0, CLASSES, ROWS),
        target_number=np.zeros(ROWS, dtype=np.float32),
        truncated=np.zeros(ROWS, dtype=bool),
        by_row=False,
    )


class Work:
    """The rows of so many experts, and their training on both sides."""

    def __init__(self, experts: int, precision: str) -> None:
        self.names = [f"task{i}" for i in range(experts)]
        self.rows = [task_rows(i) for i in range(experts)]
        self.settings = TrainingSettings(
            steps=EPOCHS * ROWS // BATCH, epochs=EPOCHS, score_every=EPOCHS, batch_size=BATCH, batches="parallel",
            precision=precision, module_learning_rate=5e-4, warmup=0, decay="constant", checkpoint_seconds=3600,
        )  # fmt: skip
        self.batches = [list(self._batches(task)) for task in range(experts)]

    def sampler(self) -> Sampler:
        """What every expert draws, in whole passes over its rows."""
        lengths = {name: rows.lengths.tolist() for name, rows in zip(self.names, self.rows, strict=True)}
        assert self.settings.steps is not None
        return Sampler(
            dict.fromkeys(self.names, ROWS), lengths, parse("round_robin"), BATCH, self.settings.steps, EPOCHS,
            "parallel", seed=0,
        )  # fmt: skip

    def _batches(self, task: int):  # type: ignore[no-untyped-def]
        for draw in self.sampler():
            mine = draw.tasks == task
            yield collate([self.rows[task]], np.zeros(mine.sum(), dtype=int), draw.rows[mine], 0).to(DEVICE)

    def together(self, model: JointModel) -> None:
        """Train all experts of a joint model, as `multigraft experts train` does."""
        sampler = self.sampler()
        ledger = Ledger(dict.fromkeys(self.names, ROWS), sampler.planned())
        hooks = Hooks(lambda: dict.fromkeys(self.names, 0.0), lambda scores: None)
        with tempfile.TemporaryDirectory() as folder, Monitor(Path(folder), "", quiet=True) as monitor:
            train(model, HeadObjective(self.rows, 0), sampler, ledger, self.settings, hooks, monitor, Path(folder), 0)

    def apart(self, model: Any) -> None:
        """Train the adapters of a PEFT model one after the other, on batches that are there already."""
        for name, batches in zip(self.names, self.batches, strict=True):
            model.set_adapter(name)
            trained = [p for p in model.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(
                [
                    {"params": [p for p in trained if p.dim() > 1], "weight_decay": self.settings.weight_decay},
                    {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
                ],
                lr=self.settings.module_learning_rate,
                fused=True,
            )
            for batch in batches:
                with computing_in(self.settings.precision, DEVICE):
                    loss = model(**labelled(batch)).loss
                loss.backward()
                plain_update(model, optimizer)


def models(work: Work, case: str) -> tuple[JointModel, Any]:
    """Experts on both sides with the same weights. A frozen backbone runs without dropout on both sides."""
    from peers_peft import load_expert, peft_model

    layers, theirs, _ = CASES[case]
    ours = joint_model({"name": "lora", "rank": RANK, "maps": MAPS, "layers": layers}, len(work.names))
    peer = peft_model(RANK, MAPS, work.names, theirs).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        ours.bank.stack.values.add_(0.02 * torch.randn_like(ours.bank.stack.values))
    for name in work.names:
        load_expert(peer, name, ours.bank.stack.expert(name), ours.heads.expert(name))
    return ours, peer


def scores(work: Work, ours: JointModel, peer: Any) -> tuple[Tensor, Tensor]:
    """What the experts of both sides say to their first batch: N B C."""
    found, expected = [], []
    ours.eval()
    with torch.inference_mode():
        for n, (name, batches) in enumerate(zip(work.names, work.batches, strict=True)):
            batch: Batch = batches[0]
            peer.set_adapter(name)
            expected.append(peer(**labelled(batch)).logits)
            found.append(ours.values(batch.input_ids, batch.attention_mask, batch.token_type_ids, [n], None))
    return torch.stack(found), torch.stack(expected)


def difference(case: str) -> float:
    """The largest difference of scores after training two experts in float32 on both sides."""
    work = Work(2, "fp32")
    pair = models(work, case)
    before, _ = scores(work, *pair)
    work.together(pair[0])
    work.apart(pair[1])
    found, expected = scores(work, *pair)
    assert (found - before).abs().max() > 0.1  # they learned something
    return float((found - expected).abs().max())


def main() -> None:
    """Compare, measure and keep the results; ends with an error when experts differ."""
    run_in("peft")
    chosen = options(__doc__ or "")
    differences = {case: difference(case) for case in CASES}
    for case, largest in differences.items():
        print(f"{case}: scores of trained experts differ from PEFT's by at most {largest:.1e}")
    if max(differences.values()) > TOLERANCE:
        raise SystemExit(f"more than {TOLERANCE:.0e}")
    work, measures = Work(EXPERTS, "bf16"), []
    for case, (_, _, target) in CASES.items():
        ours, peer = models(work, case)
        what, over = f"{EXPERTS} experts in one bank, {case}", f"PEFT, one after the other, {case}"
        sides: Mapping[str, Side] = {
            what: timed(lambda ours=ours: work.together(ours)),  # type: ignore[misc]
            over: timed(lambda peer=peer: work.apart(peer)),  # type: ignore[misc]
        }
        times = interleave(sides, chosen.seconds, warm_up=1, least=5)
        measures.append(compare(times, what, over, ON_GPU if torch.cuda.is_available() else target))
    settings = {"experts": EXPERTS, "rows of each": ROWS, "tokens": TOKENS, "rows in a step": BATCH, "epochs": EPOCHS,
                "rank": RANK, "maps": "q, v", "backbone": "minilm, frozen", "precision": "bf16 autocast",
                "largest difference": differences}  # fmt: skip
    finish("experts_peft", "Training experts", measures, chosen, settings=settings, peers=versions("peft"))


if __name__ == "__main__":
    main()
