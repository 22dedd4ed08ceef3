"""What a method of sharing declares: its settings, its parameters, and what it does at which sites."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator
from torch import Tensor

from multigraft.backbones.load import Backbone
from multigraft.backbones.sites import Site
from multigraft.errors import UserError
from multigraft.methods.stack import Spec, Weights
from multigraft.registry import Registry
from multigraft.settings import Record, build

if TYPE_CHECKING:
    from multigraft.methods.front import Front

Layers = Literal["every", "first_half", "final_half", "encoder", "decoder"] | tuple[int, ...]


@dataclass(frozen=True)
class Context:
    """What a module may know of the batch besides its tensors.

    `mask`: B 1 1 T, or B 1 T T where rows hold several texts, true where a token may be seen, or None when every
    token sees all. `training` switches dropout on. `front`: the prompts of the rows, where the method has any.
    """

    mask: Tensor | None
    training: bool
    front: Front | None = None

    def dropout(self, probability: float) -> float:
        """The probability in training, 0 otherwise."""
        return probability if self.training else 0.0


Change = Callable[[Weights, Tensor, Tensor, Context], Tensor]


@dataclass(frozen=True)
class Place:
    """One thing a method does: replace the tensor at `write` by `change(weights, value, source, context)`.

    `value` is the tensor at `write`; `source` the one at `read`, which the backbone passes before it
    (without `read`, the value itself). Where the heads read the first token only, the value may be that token
    alone, B 1 D, while the source is whole; the new value is then of the first token too.
    """

    write: Site
    change: Change
    read: Site | None = None


class Method(Record, ABC):
    """A kind of task module. Its fields are its settings; one subclass in one file of this package.

    Class attributes: `name` as in recipes, `paper` the source, `identity` whether a fresh expert leaves the
    backbone's output as it is, bit for bit, `attends` whether a token's change depends on other tokens, `headed`
    whether what it makes of the last hidden state is for a head of its own, `free` the settings in which experts of
    one bank may differ.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    identity: ClassVar[bool] = True
    attends: ClassVar[bool] = False
    headed: ClassVar[bool] = False
    free: ClassVar[frozenset[str]] = frozenset({"dropout"})

    @abstractmethod
    def specs(self, backbone: Backbone) -> dict[str, Spec]:
        """Named tensors of one expert. Raises UserError when the settings do not fit the backbone."""

    @abstractmethod
    def places(self, backbone: Backbone) -> list[Place]:
        """What the method does at which sites."""

    @property
    def positions(self) -> int:
        """P, how many positions a row has besides its text."""
        return 0

    def check(self, backbone: Backbone, tokens: int = 1) -> None:
        """Raises UserError when the method, with these settings, has no place in the backbone.

        tokens: of the longest row, which has to fit in with the method's own positions.
        """
        room = backbone.max_length - self.positions
        if self.positions and tokens > room:
            raise UserError(
                f"{self.positions} positions in front of {tokens} tokens are more than the {backbone.max_length} "
                f"of {backbone.name}",
                where=f"{self.name}.length",
                fix=f"leave the text at most {room} tokens, or lower length" if room > 0 else "lower length",
            )
        if self.headed and backbone.writes:
            raise UserError(
                f"{self.name} changes the last hidden state for a head of its own, which {backbone.name} has not",
                where="method",
                fix="choose a method that acts inside the layers, such as lora",
            )
        self.specs(backbone)
        layers = {place.write.layer for place in self.places(backbone)} - {None}
        if self.attends and any(backbone.causal(layer) for layer in layers if layer is not None):
            free = any(not backbone.causal(i) for i in range(backbone.depth))
            raise UserError(
                f"{self.name} lets every token see all others, which a decoder's must not",
                where="method",
                fix="say layers: encoder" if free else "choose a method without attention, such as lora",
            )

    def first_layer(self, backbone: Backbone) -> int:
        """The lowest layer whose input must already know the expert; L when all layers are free of modules."""
        layers = [
            backbone.depth if site.layer is None else site.layer
            for place in self.places(backbone)
            for site in (place.write, place.read)
            if site is not None
        ]
        return min(layers, default=backbone.depth)

    def size(self, backbone: Backbone) -> int:
        """F, the number of parameters of one expert without its head."""
        return sum(spec.size for spec in self.specs(backbone).values())

    def describe(self) -> str:
        """The settings that differ from their defaults, for tables."""
        changed = self.model_dump(exclude_defaults=True)
        return ", ".join(f"{key} {value}" for key, value in changed.items())


class LayerMethod(Method):
    """A method that acts inside the layers."""

    layers: Layers = Field(
        "every", description="layers with a module: every, first_half, final_half, encoder, decoder, or a list"
    )

    @field_validator("layers")
    @classmethod
    def _distinct(cls, layers: Layers) -> Layers:
        if isinstance(layers, tuple) and len(set(layers)) != len(layers):
            raise ValueError("a layer is listed twice")
        return layers

    def indexes(self, backbone: Backbone) -> list[int]:
        """The chosen layers, from 0. Raises UserError when the backbone has no such layer."""
        depth = backbone.depth
        if isinstance(self.layers, tuple):
            chosen = sorted(self.layers)
            bad = [i for i in chosen if not 0 <= i < depth]
            problem = f"layer {bad[0]} does not exist" if bad else "an empty list of layers"
        elif self.layers in ("encoder", "decoder"):
            bad, chosen = [], [i for i in range(depth) if backbone.causal(i) == (self.layers == "decoder")]
            problem = f"there is no {self.layers}"
        else:
            half = depth // 2
            return {"every": list(range(depth)), "first_half": list(range(half)),
                    "final_half": list(range(half, depth))}[self.layers]  # fmt: skip
        if bad or not chosen:
            fix = f"{backbone.name} has layers 0 to {depth - 1}"
            raise UserError(problem, where=f"{self.name}.layers", fix=fix)
        return chosen


def proportional_width(backbone: Backbone, width: int | None, at_768: int, multiple: int = 1) -> int:
    """R: the width asked for, or the paper's width at D = 768 in proportion to the backbone's D.

    Raises UserError when a given width is not a multiple of `multiple` (the number of heads).
    """
    if width is None:
        return max(1, round(backbone.width * at_768 / 768 / multiple)) * multiple
    if width % multiple:
        raise UserError(
            f"width {width} is not a multiple of {multiple} heads", where="method", fix="change width or heads"
        )
    return width


METHODS: Registry[Method] = Registry("method", "multigraft.methods", "multigraft.methods.base:Method")


def parse_method(value: object, where: object = "method") -> Method:
    """A method from a recipe: its name, or `{name: ..., setting: value}`. Raises UserError."""
    if isinstance(value, Method):
        return value
    if isinstance(value, str):
        return build(METHODS.get(value, where), {}, f"{where} {value}")
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise UserError("expected a method's name, or a mapping with its name and settings", where=where)
    settings = {key: setting for key, setting in value.items() if key != "name"}
    return build(METHODS.get(value["name"], where), settings, f"{where} {value['name']}")


def method_record(method: Method) -> dict[str, Any]:
    """A method as recipes and cards hold it; `parse_method` reads it back."""
    return {"name": method.name, **json.loads(method.model_dump_json())}
