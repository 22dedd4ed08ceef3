"""Weights per row give what each row's weights give; attention is softmax attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from multigraft.methods.functional import attention, layer_norm, linear

GENERATOR = torch.Generator().manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR)


@pytest.mark.parametrize("biased", [True, False])
def test_linear(biased: bool) -> None:
    x, weight, bias = random(3, 4, 5), random(3, 2, 5), random(3, 2) if biased else None
    expected = torch.stack([x[b] @ weight[b].T + (bias[b] if bias is not None else 0) for b in range(3)])
    torch.testing.assert_close(linear(x, weight, bias), expected)
    torch.testing.assert_close(linear(x[:1], weight[0], None if bias is None else bias[0]), expected[:1])


def test_layer_norm() -> None:
    x, gain, bias = random(3, 4, 5), random(3, 5), random(3, 5)
    expected = torch.stack([F.layer_norm(x[b], (5,), gain[b], bias[b], 1e-5) for b in range(3)])
    torch.testing.assert_close(layer_norm(x, gain, bias, 1e-5), expected)
    torch.testing.assert_close(layer_norm(x[1:2], gain[1], bias[1], 1e-5), expected[1:2])


@pytest.mark.parametrize("training", [False, True])
def test_attention(training: bool) -> None:
    q, k, v = (random(2, 5, 6).requires_grad_(training) for _ in range(3))
    seen = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()[:, None, None]
    mixed = attention(q, k, v, 3, seen, 0.0)
    for b, length in enumerate((5, 3)):
        for head in range(3):
            part = slice(2 * head, 2 * head + 2)
            scores = q[b, :, part] @ k[b, :length, part].T / 2**0.5
            torch.testing.assert_close(mixed[b, :, part], scores.softmax(-1) @ v[b, :length, part])


@pytest.mark.parametrize("training", [False, True])
def test_attention_is_dropped_when_asked(training: bool) -> None:
    q, k, v = (random(1, 5, 6).requires_grad_(training) for _ in range(3))
    assert torch.equal(attention(q, k, v, 2, None, 0.0), attention(q, k, v, 2, None, 0.0))
    assert not torch.equal(attention(q, k, v, 2, None, 0.5), attention(q, k, v, 2, None, 0.0))


@pytest.mark.parametrize("training", [False, True])
def test_dropout_keeps_the_mean_and_drops_its_share(training: bool) -> None:
    torch.manual_seed(0)
    # Equal scores and values that tell the tokens apart: what comes out is 0 or 1 / (1 - dropout) for each.
    q, k = (torch.zeros(50, 40, 40, requires_grad=training) for _ in range(2))
    weights = 40 * attention(q, k, torch.eye(40).expand(50, 40, 40), 1, None, 0.3)
    kept = weights > 0
    torch.testing.assert_close(weights[kept], torch.full_like(weights[kept], 1 / 0.7))
    assert abs(kept.float().mean().item() - 0.7) < 0.01  # 6 standard errors
    neighbours = (kept[..., 1:] == kept[..., :-1]).float().mean().item()
    assert abs(neighbours - (0.7**2 + 0.3**2)) < 0.012
