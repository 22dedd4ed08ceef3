"""Print what stands in results/*.json as one Markdown table, and put it into README.md."""

from __future__ import annotations

import json

from common import BENCH, RESULTS

HEADING = "## Results\n"


def table() -> str:
    """One line for every measure, with the machines below."""
    lines = ["| measured | over | ratio | quartiles | target | met |", "|---|---|---|---|---|---|"]
    machines: dict[str, list[str]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        record = json.loads(path.read_text())
        about = ", ".join(f"{key} {value}" for key, value in record["machine"].items())
        machines.setdefault(about, []).append(path.stem)
        lines.append(f"| **{record['title']}** | | | | | |")
        for m in record["measures"]:
            spread = f"{m['low']:.2f}–{m['high']:.2f}" if "low" in m else ""
            target = "" if m["target"] is None else f"≤ {m['target']:.2f}"
            met = "" if m["target"] is None else m["met"]
            lines.append(f"| {m['what']} | {m['over']} | {m['ratio']:.3f} | {spread} | {target} | {met} |")
    lines.append("")
    lines += [f"- {', '.join(names)}: {about}" for about, names in machines.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table and write it into README.md."""
    found = table()
    print(found)
    readme = BENCH / "README.md"
    before, _, _ = readme.read_text(encoding="utf-8").partition(HEADING)
    readme.write_text(f"{before}{HEADING}\n{found}", encoding="utf-8")


if __name__ == "__main__":
    main()
