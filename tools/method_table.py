"""Which method has a place in which kind of backbone, as Markdown: `python tools/method_table.py`.

The figures are those of random tiny models; where a method needs other settings than its defaults, they are named.
"""

from __future__ import annotations

from multigraft.backbones.load import Backbone
from multigraft.backbones.tiny import tiny_backbone, tiny_text_backbone
from multigraft.errors import UserError
from multigraft.methods.base import METHODS, parse_method

ROOM = {"max_position_embeddings": 512}  # for prompts of their default lengths
COLUMNS = {
    "encoder (BERT)": tiny_backbone("bert", **ROOM),
    "encoder-decoder (T5)": tiny_text_backbone("t5", **ROOM),
    "encoder-decoder (BART)": tiny_text_backbone("bart", **ROOM),
    "decoder (GPT-2)": tiny_text_backbone("gpt2", **ROOM),
    "decoder (Llama)": tiny_text_backbone("llama", **ROOM),
}
ATTEMPTS: tuple[tuple[str, dict[str, str]], ...] = (("yes", {}), ("with `layers: encoder`", {"layers": "encoder"}))


def table() -> str:
    """One row for each method."""
    lines = [f"| method | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [
        f"| `{name}` | {' | '.join(_place(name, backbone) for backbone in COLUMNS.values())} |"
        for name in METHODS.names()
    ]
    return "\n".join(lines)


def _place(name: str, backbone: Backbone) -> str:
    for word, settings in ATTEMPTS:
        try:
            parse_method({"name": name, **settings}).check(backbone)
        except UserError:
            continue
        return word
    return "–"


if __name__ == "__main__":
    print(table())
