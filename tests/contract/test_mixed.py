"""Promise 1: a batch whose rows use different experts gives each row what it gets alone."""

from __future__ import annotations

import re

import torch
from tests.contract.conftest import NAMES, Case, hidden_of
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.methods.bank import Bank

WIDE = torch.float64  # so that rounding is far below any fault
WEIGHTS = torch.randn(7, 24, dtype=WIDE, generator=torch.Generator().manual_seed(3))  # of the loss: T D


def run_with_gradient(backbone: Backbone, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The last hidden state, and the gradient of a loss with regard to the tokens that enter the first layer."""
    shifts: list[Tensor] = []

    def shift(value: Tensor) -> Tensor:
        shifts.append(torch.zeros_like(value, requires_grad=True))
        return value + shifts[0]

    handle = backbone.port(Site("embeddings")).hook(shift)
    try:
        hidden = hidden_of(backbone, ids, mask)
    finally:
        handle.remove()
    (hidden * WEIGHTS[: ids.shape[1]] * mask.unsqueeze(-1)).sum().backward()
    assert shifts[0].grad is not None
    return hidden.detach(), shifts[0].grad[:, -ids.shape[1] :]  # behind a prompt


def gradient_of(bank: Bank) -> Tensor:
    """The gradient of all experts, N F, which is cleared."""
    values = bank.stack.values
    gradient = torch.zeros_like(values) if values.grad is None else values.grad
    values.grad = None
    return gradient


def test_mixed_is_alone(case: Case) -> None:
    backbone = case.backbone(WIDE)
    bank = case.bank(backbone)
    with case.mixed(bank):
        hidden, gradient = run_with_gradient(backbone, case.ids, case.mask)
    of_experts = gradient_of(bank)
    alone = torch.zeros_like(of_experts)
    for row, (expert, length) in enumerate(zip(case.experts, case.lengths)):
        ids, mask = case.ids[row : row + 1, :length], case.mask[row : row + 1, :length]
        with bank.rows([expert], None, mask):
            own_hidden, own_gradient = run_with_gradient(backbone, ids, mask)
        alone += gradient_of(bank)
        torch.testing.assert_close(hidden[row, :length], own_hidden[0])
        torch.testing.assert_close(gradient[row, :length], own_gradient[0])
    torch.testing.assert_close(of_experts, alone)
    assert not of_experts[NAMES.index("c")].any()


def test_all_experts_in_order(plain_case: Case) -> None:
    # The batch that takes the experts' parameters as they are, without picking.
    backbone = plain_case.backbone(WIDE)
    bank = plain_case.bank(backbone)
    with torch.no_grad():
        with bank.rows(range(4), torch.tensor([3, 0, 1, 2]), plain_case.mask):
            hidden = plain_case.run(backbone)
        for row, expert in enumerate((3, 0, 1, 2)):
            with bank.rows([expert], None, plain_case.mask):
                torch.testing.assert_close(hidden[row], plain_case.run(backbone)[row])


def test_masked_positions_do_not_matter(case: Case) -> None:
    backbone = case.backbone(WIDE)
    bank, seen = case.bank(backbone), case.mask.bool()
    other = torch.where(seen, case.ids, case.ids.flip(0) + 1)
    assert not torch.equal(other, case.ids)
    with torch.no_grad():
        with case.mixed(bank):
            hidden = case.run(backbone)[seen]
        with case.mixed(bank):
            torch.testing.assert_close(hidden_of(backbone, other, case.mask)[seen], hidden)


def test_several_forwards_in_one_block(plain_case: Case) -> None:
    backbone = plain_case.backbone()
    bank = plain_case.bank(backbone)
    with torch.no_grad(), plain_case.mixed(bank):
        assert torch.equal(plain_case.run(backbone), plain_case.run(backbone))


def test_gradient_reaches_every_parameter(case: Case) -> None:
    backbone = case.backbone(WIDE)
    bank = case.bank(backbone)
    with case.mixed(bank):
        run_with_gradient(backbone, case.ids, case.mask)
    gradient = gradient_of(bank)
    for expert in set(case.experts):
        for name, part in bank.stack._split(gradient[expert]):
            # A softmax does not see what is added to all keys; relative positions do.
            unseen = re.search(r"(key|attention\.k_lin|attn\.k)(\.bias)?$", name)
            assert (part.abs().max() > 1e-9) == (unseen is None), name


def test_dropout_is_off_in_evaluation(dropout_case: Case) -> None:
    dropout_case.method = dropout_case.method.model_copy(update={"dropout": 0.5})
    backbone = dropout_case.backbone()
    bank = dropout_case.bank(backbone)

    def run() -> Tensor:
        with torch.no_grad(), dropout_case.mixed(bank):
            return dropout_case.run(backbone)

    assert torch.equal(run(), run())
    bank.train()
    assert not torch.equal(run(), run())
