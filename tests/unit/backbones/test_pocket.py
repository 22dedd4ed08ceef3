"""The embedded text-to-text backbone: built from MiniLM, generating, shipped in 16 bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from multigraft.backbones.load import embedded_folder, load_backbone, load_tokenizer
from multigraft.backbones.pocket import POCKET_FILE, build_pocket, load_pocket, save_pocket, shipped_parameters
from multigraft.errors import UserError
from multigraft.evaluation.ranking import score_options
from multigraft.methods.bank import Bank
from multigraft.methods.heads_only import HeadsOnly
from multigraft.methods.text_model import TextModel

TEXTS = ["a short one", "this text is somewhat longer than the other"]


@pytest.fixture(scope="module")
def pocket() -> Any:
    return build_pocket(0)


@pytest.fixture(scope="module")
def batch() -> dict[str, torch.Tensor]:
    rows = load_tokenizer("minilm")(TEXTS, padding=True, return_tensors="pt")
    return {"input_ids": rows["input_ids"], "attention_mask": rows["attention_mask"]}


def test_the_encoder_is_minilm(pocket: Any) -> None:
    state = load_file(embedded_folder("minilm") / "model.safetensors")
    own = pocket.encoder.state_dict()
    assert set(state) - set(own) == {"pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"} & set(state)
    assert all(torch.equal(value, state[name]) for name, value in own.items())


def test_decoder_layers_start_as_layers_of_minilm(pocket: Any) -> None:
    layers, starts = pocket.decoder.bert.encoder.layer, pocket.encoder.encoder.layer
    for layer, start in zip(layers, (0, 2, 3, 5), strict=True):
        own = layer.state_dict()
        assert all(torch.equal(own[name], value) for name, value in starts[start].state_dict().items())
    first, same, other = pocket, build_pocket(0), build_pocket(1)
    name = "decoder.bert.encoder.layer.0.crossattention.self.query.weight"
    assert torch.equal(first.get_parameter(name), same.get_parameter(name))
    assert not torch.equal(first.get_parameter(name), other.get_parameter(name))


def test_only_what_is_shipped_is_trained(pocket: Any) -> None:
    shipped = shipped_parameters(pocket)
    width, ffn, words = 384, 1536, 30522
    attention = 4 * (width * width + width) + 2 * width
    layer = 2 * attention + 2 * width * ffn + ffn + width + 2 * width
    assert sum(p.numel() for p in shipped.values()) == 4 * layer + width * width + 3 * width + words
    assert {name for name, p in pocket.named_parameters() if p.requires_grad} == set(shipped)
    frozen = {id(p) for p in pocket.encoder.parameters()}
    assert not any(id(p) in frozen for p in shipped.values())
    tied = [*pocket.decoder.bert.embeddings.parameters(), pocket.decoder.cls.predictions.decoder.weight]
    assert all(id(p) in frozen for p in tied)


def test_shapes_and_padding(pocket: Any, batch: dict[str, torch.Tensor]) -> None:
    target = torch.tensor([[101, 2023, 2003], [101, 1037, 3231]])
    logits = pocket(**batch, decoder_input_ids=target).logits
    assert logits.shape == (2, 3, 30522)
    length = int(batch["attention_mask"][0].sum())
    alone = pocket(input_ids=batch["input_ids"][:1, :length], decoder_input_ids=target[:1]).logits
    torch.testing.assert_close(logits[:1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_is_the_same_without_a_cache(pocket: Any, batch: dict[str, torch.Tensor], beams: int) -> None:
    settings = {"max_new_tokens": 7, "num_beams": beams, "do_sample": False}
    cached = pocket.generate(**batch, **settings)
    assert (cached[:, 0] == 101).all()
    assert torch.equal(cached, pocket.generate(**batch, **settings, use_cache=False))
    outputs = pocket.encoder(**batch)
    again = pocket.generate(encoder_outputs=outputs, attention_mask=batch["attention_mask"], **settings)
    assert torch.equal(cached, again)


def test_generation_stops_at_sep(pocket: Any, batch: dict[str, torch.Tensor]) -> None:
    bias = pocket.decoder.cls.predictions.bias
    before = bias.detach().clone()
    with torch.no_grad():
        bias[102] = 1e4
    assert pocket.generate(**batch, max_new_tokens=5).tolist() == [[101, 102], [101, 102]]
    with torch.no_grad():
        bias.copy_(before)


def test_packed_rows_equal_rows_alone(pocket: Any) -> None:
    """Two examples in one row: block-diagonal masks and positions that start again, in both halves."""
    inputs = [torch.tensor([101, 7592, 2088, 102]), torch.tensor([101, 2054, 2003, 2009, 102])]
    targets = [torch.tensor([101, 2023]), torch.tensor([101, 1037, 3231])]
    alone = [pocket(input_ids=i[None], decoder_input_ids=t[None]).logits[0] for i, t in zip(inputs, targets)]
    source, target = (
        torch.arange(2).repeat_interleave(torch.tensor([len(r) for r in rows])) for rows in (inputs, targets)
    )
    outputs = pocket.encoder(
        input_ids=torch.cat(inputs)[None],
        attention_mask=(source[:, None] == source)[None, None],
        position_ids=torch.cat([torch.arange(len(row)) for row in inputs])[None],
    )
    packed = pocket(
        encoder_outputs=outputs,
        attention_mask=(target[:, None] == source)[None, None],
        decoder_input_ids=torch.cat(targets)[None],
        decoder_attention_mask=(target[:, None] == target).tril()[None, None],
        decoder_position_ids=torch.cat([torch.arange(len(row)) for row in targets])[None],
    ).logits[0]
    torch.testing.assert_close(packed, torch.cat(alone), rtol=1e-4, atol=1e-4)


def test_saved_is_loaded(pocket: Any, tmp_path: Path) -> None:
    path = tmp_path / "pocket.safetensors"
    sha256 = save_pocket(build_pocket(5), path)
    assert path.stat().st_size < 25_000_000
    model = load_pocket(path, sha256)
    own, written = shipped_parameters(model), load_file(path)
    assert set(own) == set(written)
    assert all(p.dtype == torch.float32 for p in own.values())
    assert all(torch.equal(p.detach().half(), written[name]) for name, p in own.items())
    assert save_pocket(model, tmp_path / "again.safetensors") == sha256
    assert not model.training


def test_the_shipped_weights_write() -> None:
    """By the name that users give, with MiniLM's tokenizer; a control has other weights everywhere."""
    backbone, control = load_backbone("pocket"), load_backbone("pocket", pretrained=False, seed=1)
    tokenizer = backbone.tokenizer
    assert (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id) == (101, 102, 0)
    assert POCKET_FILE.stat().st_size <= 25_000_000
    model = TextModel(backbone, Bank(HeadsOnly(), backbone, ["one"]), tuned=False)
    form = backbone.text_format(64, 16)
    text = "a man is playing a [MASK] on the stage. OPTIONS: - guitar - river - law"
    scores = score_options(model, [text], [["guitar", "river", "law"]], [0], form, "fp32")
    assert scores.choose("sum").tolist() == [0]
    weights = dict(backbone.model.named_parameters())
    for name, parameter in control.model.named_parameters():
        assert not torch.equal(parameter, weights[name]) or parameter.unique().numel() == 1


def test_missing_or_damaged_weights(pocket: Any, tmp_path: Path) -> None:
    path = tmp_path / "pocket.safetensors"
    with pytest.raises(UserError, match=r"pocket.safetensors: no weights of pocket"):
        load_pocket(path, "0")
    sha256 = save_pocket(pocket, path)
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(UserError, match=rf"damaged weights: SHA-256 \w+, expected {sha256}"):
        load_pocket(path, sha256)
