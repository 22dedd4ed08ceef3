"""`multigraft templates`: verdicts on instruction templates, and examples rendered by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from multigraft.cli.common import BAD_INPUT, DataOption, JsonOption, point_to_data, print_json

if TYPE_CHECKING:
    from multigraft.tasks.lint import Finding
    from multigraft.tasks.outputs import Example
    from multigraft.tasks.task import Task

app = typer.Typer(help="Check the templates of a suite, or of other formats, and show them.", no_args_is_help=True)

Verdict = dict[str, Any]  # place, template, verdict, inverted, findings
COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


@app.command("lint")
def lint_templates(
    place: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="A suite, a file of templates, or a folder of such files (also of promptsource)."
        ),
    ],
    tasks: Annotated[
        list[str] | None, typer.Argument(metavar="[TASK]...", help="Only these tasks of a suite; all when not given.")
    ] = None,
    examples: Annotated[int, typer.Option(min=1, help="Rows of each task that its templates are tried on.")] = 50,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say of each template whether it is ok, doubtful (warning) or useless (error), and why.

    Exits with 0 when every file could be read and no template has an error, else with 2.
    """
    point_to_data(data)
    verdicts = list(_of_suite(place, tasks, examples) if tasks or _is_suite(place) else _of_files(Path(place)))
    summary = _summary(verdicts)
    if as_json:
        print_json({"templates": verdicts, "summary": summary})
    else:
        _print_verdicts(verdicts, summary)
    if summary["verdicts"]["error"]:
        raise typer.Exit(BAD_INPUT)


@app.command()
def show(
    suite: Annotated[str, typer.Argument(help="Folder of a suite or task, or an embedded suite: starter.")],
    task: Annotated[str, typer.Argument(help="Name of the task.")],
    template: Annotated[
        str,
        typer.Option(help="Name of a template; all of the task's own, 'no template', 'task name' or 'description'."),
    ] = "all",
    examples: Annotated[int, typer.Option(min=1, help="Examples for each template: the same sample every time.")] = 1,
    split: Annotated[str | None, typer.Option(help="Split to show; the first one when not given.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show examples of a task as its templates word them."""
    from multigraft.tasks.suite import load_suite
    from multigraft.tasks.template import choose_templates, render

    point_to_data(data)
    chosen = load_suite(suite).subset([task]).tasks[task]
    templates = choose_templates(chosen, template)
    rows = chosen.examples(split or chosen.split_names()[0], limit=examples)
    shown = [(template, [render(template, chosen, row) for row in rows]) for template in templates]
    if as_json:
        keys = ("input", "target", "options")
        print_json(
            [
                {
                    "template": template.name,
                    "inverted": template.inverted,
                    "examples": [{key: getattr(one, key) for key in keys} for one in rendered],
                }
                for template, rendered in shown
            ]
        )
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    for template_, rendered in shown:
        console.rule(Text(template_.name + (" (inverted)" if template_.inverted else "")), align="left")
        for one in rendered:
            console.print(Text(one.input))
            console.print(Text(f"=> {one.target}", style="bold"))
            if one.options:
                console.print(Text(f"options: {' | '.join(one.options)}", style="dim"))
            console.print()


def _is_suite(place: str) -> bool:
    """Is `place` anything that `load_suite` takes? A folder or file of templates is not."""
    from multigraft.tasks.suite import LAYOUTS, load_suite

    path = Path(place)
    if path.is_file():
        return path.name in LAYOUTS
    if any((path / name).exists() for name in LAYOUTS):
        return True
    if not path.is_dir():
        load_suite(place)  # an embedded suite or a recipe; says what is wrong where there is none
        return True
    return False


def _of_suite(place: str, names: list[str] | None, examples: int) -> Iterator[Verdict]:
    """Verdicts on the templates beside each task, tried on some of its rows."""
    from multigraft.errors import UserError
    from multigraft.tasks.suite import load_suite
    from multigraft.tasks.template import FILE
    from multigraft.tasks.template_readers import DEFAULT, TEMPLATE_READERS

    suite = load_suite(place)
    tasks = [task for task in suite.subset(names or suite.tasks).tasks.values() if (task.folder / FILE).exists()]
    if not tasks:
        fix = f"write {FILE} beside a task.yaml"
        raise UserError("has no templates", where=f"suite {suite.name}", fix=fix)
    reader = TEMPLATE_READERS.get(DEFAULT)()
    for task in tasks:
        splits, rows = task.split_names(), list[Any]()
        try:
            # The validation split is shorter than the training split, and so sooner read.
            rows = task.examples("validation" if "validation" in splits else splits[0], limit=examples)
        except UserError as error:
            yield _unreadable(task.folder / FILE, error)
        yield from _of_file(reader, task.folder / FILE, task, rows)


def _of_files(path: Path) -> Iterator[Verdict]:
    """Verdicts on the templates of a file, or of all YAML files under a folder."""
    from multigraft.errors import UserError
    from multigraft.tasks.template_readers import template_reader_for

    files = [path] if path.is_file() else sorted(path.rglob("*.yaml"))
    if not files:
        raise UserError("holds no templates", where=path, fix="give a suite, or a folder with files of templates")
    for file in files:
        try:
            reader = template_reader_for(file)
        except UserError as error:
            yield _unreadable(file, error)
        else:
            yield from _of_file(reader, file, None, [])


def _of_file(reader: Any, file: Path, task: Task | None, examples: list[Example]) -> Iterator[Verdict]:
    from multigraft.errors import UserError
    from multigraft.tasks.lint import lint_all

    faults: list[UserError] = []
    try:
        entries = list(reader.entries(file, faults.append))
    except UserError as error:
        faults.append(error)
        entries = []
    yield from (_unreadable(file, fault) for fault in faults)
    for entry, findings in zip(entries, lint_all(entries, task, examples), strict=True):
        yield _verdict(entry.where, entry.template.name, entry.template.inverted, findings)


def _unreadable(file: Path, error: Exception) -> Verdict:
    from multigraft.tasks.lint import Finding

    return _verdict(str(file), "", False, [Finding(severity="error", rule="unreadable", message=str(error))])


def _verdict(place: str, template: str, inverted: bool, findings: list[Finding]) -> Verdict:
    severities = {finding.severity for finding in findings}
    return {
        "place": place,
        "template": template,
        "inverted": inverted,
        "verdict": next((severity for severity in ("error", "warning") if severity in severities), "ok"),
        "findings": [finding.model_dump() for finding in findings],
    }


def _summary(verdicts: list[Verdict]) -> dict[str, Any]:
    """Files, templates, verdicts and, for each rule, the templates that it speaks of."""
    counts = Counter(verdict["verdict"] for verdict in verdicts)
    rules = Counter(rule for verdict in verdicts for rule in {finding["rule"] for finding in verdict["findings"]})
    return {
        "files": len({verdict["place"].rpartition(":")[0] or verdict["place"] for verdict in verdicts}),
        "templates": sum(bool(verdict["template"]) for verdict in verdicts),
        "verdicts": {verdict: counts[verdict] for verdict in COLOURS},
        "rules": dict(rules.most_common()),
    }


def _print_verdicts(verdicts: list[Verdict], summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    for verdict in verdicts:
        name = verdict["verdict"]
        title = f"{verdict['place']}: {verdict['template']}" if verdict["template"] else verdict["place"]
        console.print(Text.assemble((f"{name:8}", COLOURS[name]), title))
        for finding in verdict["findings"]:
            console.print(Text(f"        {finding['rule']}: {finding['message']}", style=COLOURS[finding["severity"]]))
    counts = ", ".join(f"{name}: {count:,}" for name, count in summary["verdicts"].items())
    console.print(f"files: {summary['files']}, templates: {summary['templates']:,}, {counts}")
    if summary["rules"]:
        console.print("rules: " + ", ".join(f"{rule} {count:,}" for rule, count in summary["rules"].items()))
