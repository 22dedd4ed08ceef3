"""What of an instance is embedded, for keys and queries alike (arXiv 2302.03202, on the text formats of retrieval).

instance    the texts of its input fields
labels      the options that it may be answered with, in words
template    how an answer is written: all options where they are fixed, otherwise the name of the field that has it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from multigraft.errors import UserError, unknown
from multigraft.settings import Record
from multigraft.tasks.outputs import Choice, Example, Number, Output

Parts = Literal["instance", "labels", "template", "instance+labels", "instance+template", "labels+template"]
FORMATS: tuple[str, ...] = get_args(Parts)


class KeyText(Record):
    """A text format: its parts, a line each, and whether the name of a field stands before what it holds."""

    parts: Parts = "instance"
    field_names: bool = False

    def render(self, example: Example, inputs: Sequence[str], output: Output | None = None) -> str:
        """An instance in this format. inputs: names of its fields; output: of its task, None for a text by itself.

        Fields without text are left out. Raises UserError when a part is wanted that only a task has.
        """
        lines: list[tuple[str, str]] = []
        for part in self.parts.split("+"):
            if part == "instance":
                lines += zip(inputs, example.inputs, strict=True)
            elif output is None:
                what = f"the text format {self.parts!r} needs the options of a task, a text by itself has none"
                raise UserError(what, fix="give a task folder, or index the library with --format instance")
            else:
                text = _labels(output, example) if part == "labels" else _template(output)
                lines.append((part, text))
        written = ((name, " ".join(text.split())) for name, text in lines)
        return "\n".join(f"{name}: {text}" if self.field_names else text for name, text in written if text)


def key_text(parts: str, field_names: bool = False) -> KeyText:
    """The format of these parts. Raises UserError with the nearest one when there is none."""
    if parts not in FORMATS:
        raise unknown("text format", parts, FORMATS)
    return KeyText(parts=parts, field_names=field_names)  # type: ignore[arg-type]


def _labels(output: Output, example: Example) -> str:
    if isinstance(output, Number):
        return f"a number from {output.range[0]:g} to {output.range[1]:g}"
    return ", ".join(example.choices) if isinstance(output, Choice) else "a text"


def _template(output: Output) -> str:
    if isinstance(output, Choice):
        return " ||| ".join(output.choices) if output.choices else f"{{{{ {output.choices_field} }}}}"
    return f"{{{{ {output.field} }}}}"
