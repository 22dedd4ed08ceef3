"""LoRA: which maps of which layers it adapts."""

from __future__ import annotations

import pytest

from multigraft.backbones.tiny import tiny_backbone, tiny_text_backbone
from multigraft.errors import UserError
from multigraft.methods.lora import LoRA


def test_maps_of_the_cross_attention_are_the_decoders() -> None:
    t5 = tiny_text_backbone("t5")
    adapted = LoRA(maps=("q", "cross_q")).adapted(t5)
    assert [i for i, part in adapted if part == "q"] == list(range(t5.depth))
    assert [i for i, part in adapted if part == "cross_q"] == [i for i in range(t5.depth) if t5.causal(i)]
    assert 0 < len(adapted) < 2 * t5.depth


@pytest.mark.parametrize("layers", ["encoder", "first_half", (0,)])
def test_where_no_chosen_layer_has_one_it_is_an_error(layers: object) -> None:
    for backbone in (tiny_text_backbone("t5"), tiny_backbone("bert"), tiny_text_backbone("llama")):
        if layers == "encoder" and backbone.family.kind == "decoder":
            continue
        with pytest.raises(UserError, match="layer 0 has no map 'cross_q'"):
            LoRA.model_validate({"maps": ("q", "cross_q"), "layers": layers}).specs(backbone)
