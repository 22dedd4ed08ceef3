"""Methods as recipes name them: settings, their bounds, and what is said when they do not fit."""

from __future__ import annotations

from typing import Any

import pytest

from multigraft.backbones.tiny import tiny_backbone
from multigraft.errors import UserError
from multigraft.methods.base import METHODS, LayerMethod, method_record, parse_method

BACKBONE = tiny_backbone("bert")


def test_all_methods_are_found() -> None:
    assert set(METHODS.names()) >= {
        "adapter", "bitfit", "ffn", "full", "heads_only", "lhuc", "lora", "low_rank", "pal", "residual_adapter",
        "top_attention", "top_ffn", "top_layer", "top_linear",
    }  # fmt: skip


@pytest.mark.parametrize("name", METHODS.names())
def test_a_method_says_what_it_is(name: str) -> None:
    method = METHODS.get(name)
    assert method.paper
    assert (method.__doc__ or "").strip()
    assert all(field.description for field in method.model_fields.values())
    built = parse_method(name)
    assert built.describe() == ""
    assert parse_method(method_record(built)) == built
    assert parse_method(built) is built


def test_a_changed_setting_is_described_and_recorded() -> None:
    method = parse_method({"name": "pal", "width": 12, "layers": [2, 0]})
    assert method.describe() == "layers (2, 0), width 12"
    assert method_record(method)["layers"] == [2, 0]
    assert parse_method(method_record(method)) == method


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("palm", "method: unknown method 'palm'; did you mean 'pal'?"),
        ({"name": "pal", "widht": 3}, "method pal: unknown key 'widht'; did you mean 'width'?"),
        ({"name": "pal", "width": 0}, "'width': Input should be greater than 0"),
        ({"name": "pal", "dropout": 1.0}, "'dropout': Input should be less than 1"),
        ({"name": "lora", "maps": []}, "'maps'"),
        ({"name": "top_ffn", "depth": 3}, "'depth': Input should be 1 or 2"),
        ({"name": "adapter", "sublayers": "none"}, "'sublayers'"),
        ({"name": "lhuc", "layers": [1, 1]}, "a layer is listed twice"),
        ({"width": 3}, "expected a method's name"),
        (3, "expected a method's name"),
    ],
)
def test_bad_settings(value: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_method(value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"name": "lhuc", "layers": [0, 3]}, "lhuc.layers: layer 3 does not exist; tiny-bert has layers 0 to 2"),
        ({"name": "lhuc", "layers": [-1]}, "layer -1 does not exist"),
        ({"name": "lhuc", "layers": []}, "an empty list of layers"),
        ({"name": "pal", "width": 8}, "width 8 is not a multiple of 6 heads"),
        ({"name": "top_attention", "width": 8}, "width 8 is not a multiple of 12 heads"),
    ],
)
def test_settings_that_do_not_fit_the_backbone(value: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_method(value).specs(BACKBONE)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("layers", "indexes"),
    [("every", [0, 1, 2]), ("first_half", [0]), ("final_half", [1, 2]), ([2, 0], [0, 2])],
)
def test_layers(layers: Any, indexes: list[int]) -> None:
    method = parse_method({"name": "lhuc", "layers": layers})
    assert isinstance(method, LayerMethod)
    assert method.indexes(BACKBONE) == indexes


@pytest.mark.parametrize(
    ("name", "tensor", "width"),
    [
        ("pal", "encode.bias", 102),  # of 204 at twice the width
        ("low_rank", "0.encode.bias", 50),
        ("adapter", "0.ffn.down.bias", 25),
        ("ffn", "encode.bias", 102),
        ("top_attention", "encode.bias", 96),  # 102, to the nearest multiple of 12 heads (8.5 to even)
        ("top_ffn", "encode.bias", 204),
    ],
)
def test_widths_are_in_proportion_to_the_backbone(name: str, tensor: str, width: int) -> None:
    backbone = tiny_backbone("bert", hidden_size=384, num_hidden_layers=1)
    assert parse_method(name).specs(backbone)[tensor].shape == (width,)
