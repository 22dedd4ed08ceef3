"""The embedded encoder with its first layers only, as a folder: `python bench/truncate.py LAYERS FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from multigraft.backbones.load import load_backbone


def truncate(layers: int, folder: Path) -> None:
    """Write MiniLM with its embeddings and its first `layers` layers."""
    backbone = load_backbone("minilm")
    model = backbone.model
    model.encoder.layer = model.encoder.layer[:layers]
    model.config.num_hidden_layers = layers
    model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    truncate(int(sys.argv[1]), Path(sys.argv[2]))
