from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from multigraft.errors import UserError
from multigraft.registry import Registry

PARTS = {
    "__init__": "",
    "base": "class Part: ...",
    "one": "from parts_of_test.base import Part\nclass One(Part):\n    name = 'one'",
    "two": (
        "from parts_of_test.base import Part\nfrom parts_of_test.one import One\n"
        "class Shared(Part): ...\n"
        "class Two(Shared):\n    name = 'two'\n"
        "class Three(Shared):\n    name = 'three'\n"
    ),
}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[object]]:
    folder = tmp_path / "parts_of_test"
    folder.mkdir()
    for name, code in PARTS.items():
        (folder / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Registry("part", "parts_of_test", "parts_of_test.base:Part")
    for name in [name for name in sys.modules if name.startswith("parts_of_test")]:
        del sys.modules[name]


def test_nothing_is_imported_before_a_part_is_asked_for(registry: Registry[object]) -> None:
    assert "parts_of_test" not in sys.modules
    registry.names()
    assert "parts_of_test.two" in sys.modules


def test_finds_every_named_subclass_once(registry: Registry[object]) -> None:
    assert registry.names() == ["one", "three", "two"]
    assert list(registry.all()) == registry.names()
    assert registry.get("three").__name__ == "Three"


def test_unknown_name_suggests_the_nearest(registry: Registry[object]) -> None:
    with pytest.raises(UserError) as caught:
        registry.get("thre", where="r.yaml")
    assert str(caught.value) == "r.yaml: unknown part 'thre'; did you mean 'three'?"
