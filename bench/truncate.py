"""The embedded encoder with its first layers only, as a folder: `python bench/truncate.py LAYERS FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from transformers import AutoModel, AutoTokenizer

from multigraft.backbones.load import embedded_folder


def truncate(layers: int, folder: Path) -> None:
    """Write MiniLM with its embeddings, its first `layers` layers and its pooler."""
    source = embedded_folder("minilm")
    model = AutoModel.from_pretrained(source)
    model.encoder.layer = model.encoder.layer[:layers]
    model.config.num_hidden_layers = layers
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)


if __name__ == "__main__":
    truncate(int(sys.argv[1]), Path(sys.argv[2]))
