"""From a library into a bank: experts of one method, on the backbone that they were trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.errors import UserError
from multigraft.library.card import HeadCard, tokenizer_fingerprint
from multigraft.library.parcel import Parcel
from multigraft.library.store import EARLY, HEAD, Expert, Library
from multigraft.methods.bank import Bank
from multigraft.methods.base import Method, method_record, parse_method
from multigraft.methods.heads import Heads, Pooling
from multigraft.methods.joint import JointModel


def load_experts(library: Library, names: Sequence[str], backbone: Backbone) -> Bank:
    """A bank of these experts, in this order, on the backbone; heads are left out.

    Raises UserError, with nothing loaded, for an expert that is not there, of another method or with other settings
    than the first, trained on another backbone or tokenizer, or damaged.
    """
    return bank_of(_read(library, names), backbone)


def load_joint(library: Library, names: Sequence[str], backbone: Backbone) -> JointModel:
    """The experts with their heads, as a model that answers. Raises UserError as `load_experts`, and without heads."""
    experts = _read(library, names)
    cards = {expert.name: _head_card(expert) for expert in experts}
    if len({card.pooling for card in cards.values()}) > 1:
        raise _apart(names[0])
    return joint_of(experts, backbone, cards[names[0]].pooling)


def bank_of(experts: Sequence[Parcel], backbone: Backbone) -> Bank:
    """A bank of experts as they come out of training or a library. Raises UserError as `load_experts`."""
    check_backbone(experts, backbone)
    bank = Bank(common_method(experts), backbone, [expert.name for expert in experts])
    try:
        for expert in experts:
            bank.stack.load_expert(expert.name, split_head(expert.tensors)[0])
    except UserError:
        bank.detach()
        raise
    return bank


def joint_of(experts: Sequence[Parcel], backbone: Backbone, pooling: Pooling) -> JointModel:
    """Experts as a model; one without a head gets an untrained one. Raises UserError as `load_experts`."""
    tensors = {expert.name: split_head(expert.tensors)[1] for expert in experts}
    poolers = {"pooler.weight" in head for head in tensors.values() if head}
    if len(poolers) > 1:
        raise _apart(experts[0].name)
    bank = bank_of(experts, backbone)
    outputs = {name: len(head["bias"]) if head else 1 for name, head in tensors.items()}
    heads = Heads(backbone, outputs, pooler="per_task" if True in poolers else "none")
    for name, head in tensors.items():
        if head:
            heads.load_expert(name, head)
    return JointModel(backbone, bank, heads, pooling=pooling, tuned=False).eval()


def _apart(name: str) -> UserError:
    return UserError("their heads read in different ways", where=f"expert {name} and others", fix="load them apart")


def _read(library: Library, names: Sequence[str]) -> list[Parcel]:
    if not names or len(set(names)) < len(names):
        raise UserError("expected names of experts, each once", where=library.folder)
    experts = [library.get(name) for name in names]
    return [Parcel(expert.name, expert.tensors(), expert.card) for expert in experts]


def early_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An expert's module as it was early in its training; empty where it was not kept."""
    return {key.removeprefix(EARLY): value for key, value in tensors.items() if key.startswith(EARLY)}


def split_head(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An expert's tensors as those of its module and those of its head; those of its embedding are left out."""
    module = {key: tensor for key, tensor in tensors.items() if not key.startswith((HEAD, EARLY))}
    head = {key.removeprefix(HEAD): tensor for key, tensor in tensors.items() if key.startswith(HEAD)}
    return module, head


def check_backbone(experts: Sequence[Expert | Parcel], backbone: Backbone) -> None:
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


def common_method(experts: Sequence[Expert | Parcel]) -> Method:
    """The method of all of them, with room for the longest. Raises UserError when it is not one."""
    methods = [parse_method(expert.card.method, f"expert {expert.name}: method") for expert in experts]
    fix = "a bank holds experts of one method and one set of settings"
    check_methods([expert.name for expert in experts], methods, fix=fix)
    return max(methods, key=lambda method: method.positions)


def check_methods(
    names: Sequence[str], methods: Sequence[Method], *, free: frozenset[str] = frozenset(), fix: str
) -> None:
    """Raises UserError unless experts of these names agree in method and settings, but for those that are free."""
    agreed: dict[str, object] = {}
    for name, method in zip(names, methods, strict=True):
        record = method_record(method).items()
        settings = {key: value for key, value in record if key not in method.free | free}
        agreed = agreed or settings
        differing = sorted(key for key in agreed.keys() | settings.keys() if agreed.get(key) != settings.get(key))
        if differing:
            key = "name" if "name" in differing else differing[0]
            raise UserError(
                f"its method has {key} {settings.get(key)!r}, that of {names[0]!r} {agreed.get(key)!r}",
                where=f"expert {name}",
                fix=fix,
            )


def _head_card(expert: Parcel) -> HeadCard:
    if expert.card.head is None:
        raise UserError("has no head", where=f"expert {expert.name}", fix="load it without heads")
    return expert.card.head
