"""JSON files: a list of rows, or a task of BIG-bench or Super-NaturalInstructions with its rows inside.

The line of a row is its number in the file, counted from 1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from multigraft.errors import UserError, nearest
from multigraft.settings import read_text
from multigraft.tasks.readers import Reader, Report, stop
from multigraft.tasks.readers.jsonl import DECODER


class Json(Reader):
    """JSON, read whole. A file that is not readable as a whole is one fault."""

    name: ClassVar[str] = "json"

    def rows(self, path: Path, report: Report = stop) -> Iterator[tuple[int, dict[str, Any]]]:
        value = read_json(path)
        key = next((key for key in FORMS if key in value), None) if isinstance(value, dict) else None
        rows = value[key] if key else value
        if not isinstance(rows, list):
            raise UserError(f"holds no list of rows; expected one, alone or under {' or '.join(FORMS)}", where=path)
        for number, row in enumerate(rows, start=1):
            try:
                if not isinstance(row, dict):
                    raise ValueError(f"expected an object in row {number}, got {type(row).__name__}")
                made = FORMS[key](value, row) if key else row
            except ValueError as error:
                report(UserError(str(error), where=f"{path}:{number}"))
            else:
                yield number, made


def read_json(path: Path) -> Any:
    """Value of a JSON file, read as strictly as JSON lines are. Raises UserError with the line."""
    try:
        return DECODER.decode(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"not valid JSON: {error.msg}", where=f"{path}:{error.lineno}") from None
    except RecursionError:
        raise UserError("not valid JSON here: nested too deeply", where=path) from None
    except ValueError as error:
        raise UserError(str(error), where=path) from None


def _bigbench(task: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """An example of BIG-bench, with the texts that its task puts around every input.

    Scored options become a list, and the best of them the `answer`: a list where several are equally good. Files often
    have the right option first, so the options of each row are put into an order that tells nothing.
    """
    _only(row, "input", "target", "target_scores", "comment")
    made = dict(row)
    if isinstance(made.get("input"), str):
        around = [task.get(key, "") for key in ("example_input_prefix", "example_output_prefix")]
        made["input"] = "".join([str(around[0]), made["input"], str(around[1])]).strip()
    if "target_scores" in row:
        scores = row["target_scores"]
        if not isinstance(scores, dict) or not all(isinstance(score, int | float) for score in scores.values()):
            raise ValueError("'target_scores' must give a number for each option")
        if len(set(scores.values())) < 2:
            raise ValueError("'target_scores' tells no option from another; give the right one a higher score")
        best = [option for option, score in scores.items() if score == max(scores.values())]
        order = sorted(scores, key=lambda option: hashlib.sha256(f"{row.get('input')}\n{option}".encode()).digest())
        made |= {"target_scores": order, "answer": best}
    elif "target" not in row:
        raise ValueError(f"needs 'target' or 'target_scores'; {nearest('target', row)}")
    return made


def _natural_instructions(task: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    _only(row, "id", "input", "output")
    return row


def _only(row: dict[str, Any], *known: str) -> None:
    for key in row:
        if key not in known:
            raise ValueError(f"unknown key {key!r}; {nearest(key, known)}")


Form = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
FORMS: dict[str, Form] = {"examples": _bigbench, "Instances": _natural_instructions}  # by the key of the rows
