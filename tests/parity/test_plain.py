"""Methods against a BERT written here in plain PyTorch, into which each method's update is written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from multigraft.backbones.tiny import tiny_backbone
from multigraft.methods.bank import Bank
from multigraft.methods.base import parse_method

HEADS, LAYERS, EPS = 4, 3, 1e-12
LENGTHS = torch.tensor([7, 4, 6])
Update = Callable[[int, Tensor], Tensor]


def unchanged(layer: int, x: Tensor) -> Tensor:
    return x


@dataclass
class Plain:
    """BERT of the weights `w`, with a function at each place where a module may act."""

    w: dict[str, Tensor]
    after_attention: Update = unchanged
    after_ffn: Update = unchanged
    beside_layer: Update = lambda layer, h: torch.zeros_like(h)
    beside_ffn: Update = lambda layer, h: torch.zeros_like(h)
    after_layer: Update = unchanged
    on_top: Callable[[Tensor], Tensor] = lambda h: h

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name: str, x: Tensor) -> Tensor:
        return normed(x) * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        tables = {name: self.w[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")}
        h = tables["word"][ids] + tables["position"][: ids.shape[1]] + tables["token_type"][0]
        h = self.norm("embeddings.LayerNorm", h)
        for i in range(LAYERS):
            h = self.layer(i, h, mask)
        return self.on_top(h)

    def layer(self, i: int, h: Tensor, mask: Tensor) -> Tensor:
        at = f"encoder.layer.{i}"
        q, k, v = (
            self.linear(f"{at}.attention.self.{part}", h).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(mask[:, None, None] == 0, -torch.inf)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(-2)
        update = self.after_attention(i, self.linear(f"{at}.attention.output.dense", mixed))
        a = self.norm(f"{at}.attention.output.LayerNorm", h + update)
        inner = F.gelu(self.linear(f"{at}.intermediate.dense", a))
        update = self.after_ffn(i, self.linear(f"{at}.output.dense", inner))
        total = a + update + self.beside_layer(i, h) + self.beside_ffn(i, a)
        return self.after_layer(i, self.norm(f"{at}.output.LayerNorm", total))


def normed(x: Tensor) -> Tensor:
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0) + EPS).sqrt()


def dense(e: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ e[f"{name}.weight"].T + e[f"{name}.bias"]


MAPS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}


def lora(w: dict[str, Tensor], e: dict[str, Tensor], settings: dict[str, Any]) -> Plain:
    rank, alpha = settings["rank"], settings["alpha"]
    for i in range(LAYERS):
        for part in settings["maps"]:
            merged = w[f"encoder.layer.{i}.{MAPS[part]}.weight"]
            merged += alpha / rank * e[f"{i}.{part}.b"] @ e[f"{i}.{part}.a"]
    return Plain(w)


def bitfit(w: dict[str, Tensor], e: dict[str, Tensor], settings: dict[str, Any]) -> Plain:
    biases = {f"encoder.layer.{name}.bias": delta for name, delta in e.items()}
    assert sorted(biases) == sorted(name for name in w if "encoder" in name and name.endswith("bias"))
    for name, delta in biases.items():
        w[name] += delta
    return Plain(w)


def full(w: dict[str, Tensor], e: dict[str, Tensor], settings: dict[str, Any]) -> Plain:
    there = [name for name in w if "encoder" in name and "Norm.weight" not in name]
    for i in range(LAYERS):
        for part, path in MAPS.items():
            w[f"encoder.layer.{i}.{path}.weight"] += e.pop(f"{i}.{part}")
            there.remove(f"encoder.layer.{i}.{path}.weight")
    for name, delta in e.items():
        layer, path = name.split(".bias.")
        w[f"encoder.layer.{layer}.{path}.bias"] += delta
        there.remove(f"encoder.layer.{layer}.{path}.bias")
    assert there == []
    return Plain(w)


def adapter(w: dict[str, Tensor], e: dict[str, Tensor], settings: dict[str, Any]) -> Plain:
    def bottleneck(i: int, place: str, x: Tensor) -> Tensor:
        return dense(e, f"{i}.{place}.up", F.gelu(dense(e, f"{i}.{place}.down", x)))

    plain, chosen = Plain(w), settings.get("sublayers", "both")
    if chosen != "ffn":
        plain.after_attention = lambda i, x: x + bottleneck(i, "attention", x)
    if chosen == "attention":
        return plain
    if settings.get("form") == "released":
        plain.beside_ffn = lambda i, a: bottleneck(i, "ffn", a)
    else:
        plain.after_ffn = lambda i, x: x + bottleneck(i, "ffn", x)
    return plain


def residual_adapter(w: dict[str, Tensor], e: dict[str, Tensor], settings: dict[str, Any]) -> Plain:
    def update(i: int, x: Tensor) -> Tensor:
        matrix = e[f"{i}.up"] @ e[f"{i}.down"] if "rank" in settings else e[f"{i}.weight"]
        return x @ matrix.T + e[f"{i}.bias"]

    if settings["form"] == "series":
        return Plain(w, after_layer=lambda i, x: x + update(i, x))
    return Plain(w, beside_layer=update)


def lhuc(w: dict[str, Tensor], e: dict[str, Tensor], settings: dict[str, Any]) -> Plain:
    return Plain(w, after_layer=lambda i, x: x * 2 / (1 + torch.exp(-e[f"{i}.scale"])))


def ffn(w: dict[str, Tensor], e: dict[str, Tensor], settings: dict[str, Any]) -> Plain:
    def branch(i: int, h: Tensor) -> Tensor:
        z = F.gelu(dense(e, f"{i}.inner", dense(e, "encode", h)))
        return dense(e, "decode", dense(e, f"{i}.outer", z) if settings["depth"] == 2 else z)

    return Plain(w, beside_layer=branch)


def low_rank(w: dict[str, Tensor], e: dict[str, Tensor], settings: dict[str, Any]) -> Plain:
    def branch(i: int, h: Tensor) -> Tensor:
        return 2 * torch.sigmoid(e[f"{i}.lhuc"]) * dense(e, f"{i}.decode", dense(e, f"{i}.encode", h))

    return Plain(w, beside_ffn=branch)


def top_ffn(w: dict[str, Tensor], e: dict[str, Tensor], settings: dict[str, Any]) -> Plain:
    def top(h: Tensor) -> Tensor:
        z = dense(e, "encode", h)
        for i in range(settings["depth"]):
            total = z + dense(e, f"{i}.down", F.gelu(dense(e, f"{i}.up", z)))
            z = normed(total) * e[f"{i}.norm.gain"] + e[f"{i}.norm.bias"]
        return dense(e, "decode", z)

    return Plain(w, on_top=top)


def top_linear(w: dict[str, Tensor], e: dict[str, Tensor], settings: dict[str, Any]) -> Plain:
    return Plain(w, on_top=lambda h: h + F.gelu(dense(e, "map", h)))


def heads_only(w: dict[str, Tensor], e: dict[str, Tensor], settings: dict[str, Any]) -> Plain:
    return Plain(w)


CASES: list[tuple[Callable[..., Plain], dict[str, Any]]] = [
    (heads_only, {}),
    (lora, {"rank": 3, "alpha": 5.0, "maps": ["q", "v"]}),
    (lora, {"rank": 2, "alpha": 1.0, "maps": ["q", "k", "v", "o", "up", "down"]}),
    (bitfit, {}),
    (full, {}),
    (adapter, {"width": 5}),
    (adapter, {"width": 5, "form": "released"}),
    (adapter, {"width": 5, "sublayers": "attention"}),
    (adapter, {"width": 5, "sublayers": "ffn"}),
    (adapter, {"width": 5, "sublayers": "ffn", "form": "released"}),
    (residual_adapter, {"form": "series"}),
    (residual_adapter, {"form": "parallel"}),
    (residual_adapter, {"form": "series", "rank": 3}),
    (residual_adapter, {"form": "parallel", "rank": 3}),
    (lhuc, {}),
    (ffn, {"depth": 1, "width": 5}),
    (ffn, {"depth": 2, "width": 5}),
    (low_rank, {"activation": "identity", "width": 5, "lhuc": True, "reads": "ffn_input"}),
    (top_ffn, {"depth": 1, "width": 5, "expansion": 3}),
    (top_ffn, {"depth": 2, "width": 5}),
    (top_linear, {}),
]


@pytest.mark.parametrize(("write", "settings"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_method_is_its_formula(write: Callable[..., Plain], settings: dict[str, Any]) -> None:
    backbone = tiny_backbone("bert")
    bank = Bank(parse_method({"name": write.__name__, **settings}), backbone, ["a", "b"]).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        bank.stack.values += 0.3 * torch.randn(bank.stack.values.shape, generator=generator)
    ids = torch.randint(5, 60, (3, 7), generator=generator)
    mask = (torch.arange(7) < LENGTHS[:, None]).long()
    weights = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    bare = Plain(weights)(ids, mask)
    expected = write(weights, bank.stack.expert("b"), settings)(ids, mask)
    with torch.no_grad(), bank.rows([1], None, mask):
        found = backbone.model(input_ids=ids, attention_mask=mask).last_hidden_state
    seen = mask.bool()
    torch.testing.assert_close(found[seen], expected[seen], rtol=1e-5, atol=1e-5)
    if write is not heads_only:
        assert (expected - bare)[seen].abs().max() > 0.1
