"""The embedded suite: small tasks in plain English, generated when they are first asked for.

One module per cluster, each with its `TASKS`; `words` has the lists they share, `grammar` draws from them and
`source` turns a drawing function into splits and files. `templates/` words each task as instructions.
docs/starter.md has the scores and the known relations.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import shutil
import uuid
from pathlib import Path

import yaml

from multigraft.errors import UserError
from multigraft.files import home, new_folder
from multigraft.tasks.starter.source import Source
from multigraft.tasks.suite import Suite, load_suite

# Clusters that must not be trained on when the other is held out: they share texts, or one answers the other.
EXCLUSIONS = [["sentiment", "control"], ["entailment", "similarity"]]

TEMPLATES = Path(__file__).parent / "templates"


def sources() -> list[Source]:
    """The tasks, by cluster."""
    modules = (importlib.import_module(f"{__name__}.{part.name}") for part in pkgutil.iter_modules(__path__))
    return [source for module in modules for source in getattr(module, "TASKS", [])]


def generate(folder: Path) -> None:
    """Write the suite into `folder`, which exists or not but holds none of its tasks. The same rows everywhere."""
    clusters: dict[str, list[str]] = {}
    for source in sources():
        source.write(folder / source.name)
        shutil.copyfile(TEMPLATES / f"{source.name}.yaml", folder / source.name / "templates.yaml")
        clusters.setdefault(source.cluster, []).append(source.name)
    suite = {
        "name": "starter",
        "description": "Generated tasks in plain English with known relations.",
        "tasks": [name for names in clusters.values() for name in names],
        "clusters": clusters,
        "exclusions": EXCLUSIONS,
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite, sort_keys=False), encoding="utf-8", newline="\n")


def load() -> Suite:
    """The suite, from the cache folder if it was generated before. Raises UserError when that is not writable."""
    folder = home() / f"starter-{_version()}"
    if not folder.exists():
        try:
            _generate_once(folder)
        except OSError as error:
            fix = "set MULTIGRAFT_HOME to a folder that can be written"
            raise UserError(f"cannot be written: {error.strerror or error}", where=folder, fix=fix) from None
    return load_suite(folder)


def _generate_once(folder: Path) -> None:
    """Make `folder`, unless another process, which may be at it too, is faster."""
    own = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}")
    with new_folder(own) as temporary:
        generate(temporary)
    try:
        own.rename(folder)
    except OSError:
        shutil.rmtree(own)
        if not folder.exists():
            raise


def _version() -> str:
    """A name for what the modules and templates here generate: it changes when they do."""
    digest = hashlib.sha256()
    for file in (*sorted(Path(__file__).parent.glob("*.py")), *sorted(TEMPLATES.glob("*.yaml"))):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
