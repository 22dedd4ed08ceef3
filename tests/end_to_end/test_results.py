"""Figures in the documents are those that a script prints from the kept results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("script", "document"),
    [
        ("import glue8; glue8.main('bench/results/glue8/short/results.json')", "docs/results_multitask.md"),
        ("import glue8; glue8.main('bench/results/glue8/long/results.json')", "docs/results_multitask.md"),
        ("import flan; flan.main('bench/results/flan/results.json')", "docs/results_instructions.md"),
        ("import pocket; pocket.main()", "docs/results_instructions.md"),
        ("import spot; spot.main()", "docs/results_transfer.md"),
        ("import experts; experts.main()", "docs/results_experts.md"),
        ("import summary; print(summary.table())", "bench/README.md"),
        ("sys.path.insert(0, 'tools'); import method_table; print(method_table.table())", "docs/methods.md"),
    ],
)
def test_a_document_holds_what_its_script_prints(script: str, document: str) -> None:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, 'bench'); {script}"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    text = (ROOT / document).read_text()
    assert lines
    assert [line for line in lines if line not in text] == []
