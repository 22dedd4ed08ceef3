from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from multigraft.methods.joint import JointModel
from multigraft.training.optimizers import Optimizers
from multigraft.training.row_optimizers import RowOptimizer
from multigraft.training.settings import TrainingSettings

Make = Callable[..., JointModel]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The gradients that the rows are moved along, one tensor per stack and step."""
    grads: list[Tensor] = []

    def step(self: RowOptimizer, experts: Sequence[int], learning_rate: float) -> None:
        assert self.stack.values.grad is not None
        grads.append(self.stack.values.grad.clone())

    monkeypatch.setattr(RowOptimizer, "step", step)
    return grads


def set_gradients(model: JointModel) -> dict[str, Tensor]:
    """Random gradients for everything; the experts' differ in size."""
    generator = torch.Generator().manual_seed(3)
    sizes = torch.tensor([[100.0], [1e-3], [1.0]])
    made = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            if name.endswith("stack.values"):
                parameter.grad *= sizes
            made[name] = parameter.grad.clone()
    return made


def test_frozen_each_expert_is_clipped_by_itself(make_model: Make, seen: list[Tensor]) -> None:
    model = make_model(tuned=False)
    before = set_gradients(model)
    Optimizers(model, TrainingSettings(steps=1, clip=0.5)).step([0, 1], 1.0)
    wanted = [before["bank.stack.values"], before["heads.stack.values"]]
    norms = torch.stack([grad.norm(dim=1) for grad in wanted]).norm(dim=0)
    assert norms[0] > 0.5
    for found, grad in zip(seen, wanted, strict=True):
        torch.testing.assert_close(found[0], grad[0] * 0.5 / norms[0])
        assert torch.equal(found[1], grad[1])  # small enough, whatever its neighbour's is
    clipped = torch.cat([found[0] for found in seen])
    assert clipped.norm() == pytest.approx(0.5, rel=1e-5)


def test_tuned_everything_is_clipped_together(make_model: Make, seen: list[Tensor]) -> None:
    model = make_model(tuned=True)
    before = set_gradients(model)
    norm = torch.cat([grad.flatten() for grad in before.values()]).norm()
    Optimizers(model, TrainingSettings(steps=1, clip=0.5)).step([0, 1, 2], 1.0)
    for found, name in zip(seen, ("bank.stack.values", "heads.stack.values"), strict=True):
        torch.testing.assert_close(found, before[name] * 0.5 / norm)


def test_without_a_limit_nothing_is_clipped(make_model: Make, seen: list[Tensor]) -> None:
    model = make_model(tuned=False)
    before = set_gradients(model)
    Optimizers(model, TrainingSettings(steps=1, clip=None)).step([0, 1, 2], 1.0)
    assert torch.equal(seen[0], before["bank.stack.values"])


def test_the_shared_part_takes_torch_s_steps(make_model: Make) -> None:
    model = make_model(tuned=True)
    settings = TrainingSettings(steps=9, clip=None, learning_rate=1e-2, weight_decay=0.2)
    optimizers = Optimizers(model, settings)
    alone = {name: torch.nn.Parameter(p.detach().clone()) for name, p in model.shared()}
    reference = torch.optim.AdamW(
        [
            {"params": [p for p in alone.values() if p.dim() > 1], "weight_decay": 0.2},
            {"params": [p for p in alone.values() if p.dim() == 1], "weight_decay": 0.0},
        ]
    )
    for factor in (0.5, 1.0, 0.25):
        set_gradients(model)
        for name, parameter in model.shared():
            alone[name].grad = parameter.grad.clone() if parameter.grad is not None else None
        for group in reference.param_groups:
            group["lr"] = 1e-2 * factor
        reference.step()
        optimizers.step([0, 1, 2], factor)
        assert all(parameter.grad is None for parameter in model.parameters())
    for name, parameter in model.shared():
        torch.testing.assert_close(parameter.detach(), alone[name].detach(), rtol=1e-6, atol=1e-6)


def test_a_frozen_backbone_has_no_state(make_model: Make) -> None:
    model = make_model(tuned=False)
    optimizers = Optimizers(model, TrainingSettings(steps=1))
    set_gradients(model)
    optimizers.step([0], 1.0)
    assert {name.split("/")[0] for name in optimizers.state()} == {"bank", "heads"}


def test_heads_only_have_no_bank_to_move(make_model: Make) -> None:
    model = make_model(method="heads_only", tuned=False)
    assert not model.bank.stack.values.requires_grad
    optimizers = Optimizers(model, TrainingSettings(steps=1))
    assert list(optimizers.rows) == ["heads"]


def test_heads_may_have_a_learning_rate_of_their_own(make_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(tuned=False)
    rates: dict[int, float] = {}

    def step(self: RowOptimizer, experts: Sequence[int], learning_rate: float) -> None:
        rates[id(self.stack)] = learning_rate

    monkeypatch.setattr(RowOptimizer, "step", step)
    for own, expected in ((None, 0.15), (0.01, 0.005)):
        set_gradients(model)
        settings = TrainingSettings(steps=1, module_learning_rate=0.3, head_learning_rate=own)
        Optimizers(model, settings).step([0, 1, 2], 0.5)
        assert rates == {id(model.bank.stack): 0.15, id(model.heads.stack): expected}
