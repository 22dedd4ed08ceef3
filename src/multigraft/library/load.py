"""From a library into a bank: experts of one method, on the backbone that they were trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.errors import UserError
from multigraft.library.card import HeadCard, tokenizer_fingerprint
from multigraft.library.store import EARLY, HEAD, Expert, Library
from multigraft.methods.bank import Bank
from multigraft.methods.base import Method, method_record, parse_method
from multigraft.methods.heads import Heads
from multigraft.methods.joint import JointModel


def load_experts(library: Library, names: Sequence[str], backbone: Backbone) -> Bank:
    """A bank of these experts, in this order, on the backbone; heads are left out.

    Raises UserError, with nothing loaded, for an expert that is not there, of another method or with other settings
    than the first, trained on another backbone or tokenizer, or damaged.
    """
    return _bank(_read(library, names, backbone), backbone)


def load_joint(library: Library, names: Sequence[str], backbone: Backbone) -> JointModel:
    """The experts with their heads, as a model that answers. Raises UserError as `load_experts`, and without heads."""
    read = _read(library, names, backbone)
    cards = {name: _head_card(read.experts[name]) for name in names}
    poolings = {card.pooling for card in cards.values()}
    kinds = {"pooler.weight" in head for head in read.heads.values()}
    if len(poolings) > 1 or len(kinds) > 1:
        raise UserError("their heads read in different ways", where=library.folder, fix="load them apart")
    outputs = {name: len(read.heads[name]["bias"]) for name in names}
    heads = Heads(backbone, outputs, pooler="per_task" if kinds.pop() else "none")
    for name in names:
        heads.load_expert(name, read.heads[name])
    return JointModel(backbone, _bank(read, backbone), heads, pooling=poolings.pop(), tuned=False).eval()


@dataclass(frozen=True)
class _Read:
    method: Method
    experts: dict[str, Expert]
    modules: dict[str, dict[str, Tensor]]
    heads: dict[str, dict[str, Tensor]]


def _read(library: Library, names: Sequence[str], backbone: Backbone) -> _Read:
    if not names or len(set(names)) < len(names):
        raise UserError("expected names of experts, each once", where=library.folder)
    experts = {name: library.get(name) for name in names}
    check_backbone(list(experts.values()), backbone)
    method = common_method(list(experts.values()))
    modules, heads = {}, {}
    for name, expert in experts.items():
        modules[name], heads[name] = split_head(expert.tensors())
    return _Read(method, experts, modules, heads)


def _bank(read: _Read, backbone: Backbone) -> Bank:
    bank = Bank(read.method, backbone, list(read.experts))
    try:
        for name, tensors in read.modules.items():
            bank.stack.load_expert(name, tensors)
    except UserError:
        bank.detach()
        raise
    return bank


def split_head(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An expert's tensors as those of its module and those of its head; those of its embedding are left out."""
    module = {key: tensor for key, tensor in tensors.items() if not key.startswith((HEAD, EARLY))}
    head = {key.removeprefix(HEAD): tensor for key, tensor in tensors.items() if key.startswith(HEAD)}
    return module, head


def check_backbone(experts: Sequence[Expert], backbone: Backbone) -> None:
    """Raises UserError, with both fingerprints, unless all were trained on this backbone and its tokenizer."""
    weights, tokenizer = backbone.weights_fingerprint(), tokenizer_fingerprint(backbone.tokenizer)
    for expert in experts:
        card = expert.card
        for what, wanted, found in (
            (f"the backbone {card.backbone!r}", card.backbone_fingerprint, weights),
            ("a tokenizer", card.tokenizer_fingerprint, tokenizer),
        ):
            if wanted != found:
                raise UserError(
                    f"was trained on {what} with fingerprint {wanted}, {backbone.name!r} has {found}",
                    where=f"expert {expert.name}",
                    fix="use the backbone it was trained on",
                )


def common_method(experts: Sequence[Expert]) -> Method:
    """The method of all of them, with room for the longest. Raises UserError when it is not one."""
    methods = [parse_method(expert.card.method, f"expert {expert.name}: method") for expert in experts]
    first = _binding(methods[0])
    for expert, method in zip(experts, methods, strict=True):
        settings = _binding(method)
        differing = sorted(key for key in first.keys() | settings.keys() if first.get(key) != settings.get(key))
        if differing:
            key = "name" if "name" in differing else differing[0]
            raise UserError(
                f"its method has {key} {settings.get(key)!r}, that of {experts[0].name!r} {first.get(key)!r}",
                where=f"expert {expert.name}",
                fix="a bank holds experts of one method and one set of settings",
            )
    return max(methods, key=lambda method: method.positions)


def _binding(method: Method) -> dict[str, object]:
    """Name and settings that all experts of a bank share."""
    return {key: value for key, value in method_record(method).items() if key not in method.free}


def _head_card(expert: Expert) -> HeadCard:
    if expert.card.head is None:
        raise UserError("has no head", where=f"expert {expert.name}", fix="load it without heads")
    return expert.card.head
