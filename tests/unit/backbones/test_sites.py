"""The site table: every site of every family is the tensor that it says it is."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from multigraft.backbones.families import families, family_of
from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Port, Site
from multigraft.backbones.tiny import TINY_FAMILIES, TINY_TEXT_FAMILIES, tiny_backbone
from multigraft.errors import UserError
from multigraft.methods.bank import Bank
from multigraft.methods.base import parse_method

PARTS = ("q", "k", "v", "o", "up", "down")
POST_NORM = [family for family in TINY_FAMILIES if family != "modernbert"]
IDS = torch.randint(5, 60, (2, 6), generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])


@cache
def backbone_of(family: str) -> Backbone:
    return tiny_backbone(family)


def seen_at(backbone: Backbone, sites: list[Site]) -> dict[Site, Tensor]:
    """The first tensor that passes each site in one forward."""
    seen: dict[Site, Tensor] = {}
    handles = []
    for site in sites:

        def keep(value: Tensor, site: Site = site) -> None:
            seen.setdefault(site, value)

        handles.append(backbone.port(site).hook(keep))
    with torch.no_grad():
        seen[Site("final", 99)] = backbone.model(input_ids=IDS, attention_mask=MASK).last_hidden_state
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_shapes(family: str) -> None:
    backbone = backbone_of(family)
    kinds = ("layer_input", "attention_output", "ffn_input", "ffn_output", "layer_sum", "layer")
    sites = [Site("embeddings"), Site("final"), *(Site(kind, i) for kind in kinds for i in range(3))]
    for site, value in seen_at(backbone, sites).items():
        assert value.shape == (2, 6, 24), str(site)
    for part in PARTS:
        inputs, outputs = backbone.linear(1, part)
        seen = seen_at(backbone, [Site("linear", 1, part), Site("linear_input", 1, part)])
        assert seen[Site("linear", 1, part)].shape == (2, 6, outputs)
        assert seen[Site("linear_input", 1, part)].shape == (2, 6, inputs)
    assert (backbone.width, backbone.depth, backbone.heads) == (24, 3, 4)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_what_leaves_a_layer_enters_the_next(family: str) -> None:
    seen = seen_at(backbone_of(family), [Site("layer", 0), Site("layer", 1), Site("final"), Site("embeddings")])
    assert torch.equal(seen[Site("final")], seen[Site("final", 99)])
    again = seen_at(backbone_of(family), [Site("layer_input", i) for i in range(3)])
    if family != "modernbert":  # pre-norm: the attention reads a normed copy
        assert torch.equal(again[Site("layer_input", 1)], seen[Site("layer", 0)])
        assert torch.equal(again[Site("layer_input", 2)], seen[Site("layer", 1)])
        assert torch.equal(again[Site("layer_input", 0)], seen[Site("embeddings")])


@pytest.mark.parametrize("family", POST_NORM)
def test_residual_sums_of_post_norm_families(family: str) -> None:
    sites = [Site(kind, 1) for kind in ("layer_input", "attention_output", "ffn_input", "ffn_output", "layer_sum")]  # type: ignore[arg-type]
    h, attention, a, ffn, total = (seen_at(backbone_of(family), sites)[site] for site in sites)
    torch.testing.assert_close(total, a + ffn)
    # a is the norm of h + attention: the same up to gain and bias, which are the same for all tokens.
    summed = torch.nn.functional.layer_norm(h + attention, (24,))
    slopes = (a[0, 0] - a[1, 1]) / (summed[0, 0] - summed[1, 1])
    torch.testing.assert_close((a - a[0, 0]), (summed - summed[0, 0]) * slopes, rtol=1e-3, atol=1e-3)


def test_residual_sums_of_a_pre_norm_family() -> None:
    kinds = ("attention_output", "ffn_output", "layer_sum", "layer", "layer_input", "ffn_input")
    seen = seen_at(backbone_of("modernbert"), [Site("layer", 0), *(Site(kind, 1) for kind in kinds)])
    attention, ffn, total, out, read, ffn_read = (seen[Site(kind, 1)] for kind in kinds)
    h, layer = seen[Site("layer", 0)], backbone_of("modernbert").layer(1)
    torch.testing.assert_close(out, h + attention + ffn)
    assert torch.equal(out, total)
    torch.testing.assert_close(read, layer.attn_norm(h))
    torch.testing.assert_close(ffn_read, layer.mlp_norm(h + attention))


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_linear_maps(family: str) -> None:
    backbone = backbone_of(family)
    for part in PARTS:
        site, read = Site("linear", 2, part), Site("linear_input", 2, part)
        seen, port = seen_at(backbone, [site, read]), backbone.port(site)
        width = backbone.linear(2, part)[1]
        expected = port.module(seen[read])[..., port.index * width : (port.index + 1) * width]
        torch.testing.assert_close(seen[site], expected)


def test_a_slice_is_replaced_in_place_of_itself() -> None:
    layer = nn.Linear(4, 6)
    x = torch.randn(2, 3, 4)
    plain = layer(x)
    handle = Port(layer, "output", 1, 3).hook(lambda value: value * 0 + 7)
    changed = layer(x)
    handle.remove()
    assert bool((changed[..., 2:4] == 7).all())
    assert torch.equal(changed[..., [0, 1, 4, 5]], plain[..., [0, 1, 4, 5]])
    handle = Port(layer, "output", 1, 3).hook(lambda value: None)
    assert torch.equal(layer(x), plain)
    handle.remove()


def test_names_of_sites() -> None:
    assert [str(s) for s in (Site("final"), Site("layer", 3), Site("linear", 3, "q"))] == [
        "final",
        "layer[3]",
        "linear[3].q",
    ]


def test_every_family_of_the_table_has_a_tiny_model() -> None:
    tiny = {"encoder": TINY_FAMILIES, "text": TINY_TEXT_FAMILIES}
    for kind, names in tiny.items():
        found = [f for f in families() if (f.kind == "encoder") == (kind == "encoder")]
        assert sorted(name for family in found for name in family.model_types) == sorted(names)


def test_an_unknown_family_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"models/x: models of type 'robert' are not supported; did you mean 'roberta'"):
        family_of("robert", "models/x")


def test_deberta_sends_positions_through_the_same_maps() -> None:
    # They belong to no row: only what is computed from the hidden states is the expert's.
    backbone = tiny_backbone("deberta-v2")
    bank = Bank(parse_method({"name": "lora", "maps": ["q", "k"], "rank": 2}), backbone, ["a", "b"])
    with torch.no_grad():
        bank.stack.values += 0.3 * torch.randn(bank.stack.values.shape, generator=torch.Generator().manual_seed(0))
        with bank.rows([0, 1], torch.tensor([1, 0]), MASK):
            found = backbone.model(input_ids=IDS, attention_mask=MASK).last_hidden_state
        weights = [bank.stack.expert(name) for name in ("b", "a")]  # of the rows
        bank.detach()
        calls: dict[str, int] = {}
        handles = []
        for i in range(3):
            for part in ("q", "k"):

                def adapt(_: nn.Module, args: tuple[Tensor, ...], output: Tensor, name: str = f"{i}.{part}") -> Tensor:
                    calls[name] = calls.get(name, 0) + 1
                    if calls[name] > 1:
                        return output
                    deltas = [8.0 * x @ w[f"{name}.a"].T @ w[f"{name}.b"].T for x, w in zip(args[0], weights)]
                    return output + torch.stack(deltas)

                handles.append(backbone.port(Site("linear", i, part)).module.register_forward_hook(adapt))
        expected = backbone.model(input_ids=IDS, attention_mask=MASK).last_hidden_state
    assert set(calls.values()) == {2}
    torch.testing.assert_close(found[MASK.bool()], expected[MASK.bool()])
