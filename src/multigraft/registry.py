"""Discovery of parts that live one to a file: methods, schedules, readers."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Generic, TypeVar

from multigraft.errors import unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """The subclasses of `base` in the modules of `package`, found by their `name` attribute.

    A part is registered by being there: one module, one or more concrete subclasses, each with a
    class attribute `name`. Nothing is imported before a part is asked for.
    """

    def __init__(self, kind: str, package: str, base: str) -> None:
        self.kind, self.package, self.base = kind, package, base
        self._parts: dict[str, type[T]] | None = None

    def _load(self) -> dict[str, type[T]]:
        if self._parts is None:
            package = importlib.import_module(self.package)
            modules = [
                importlib.import_module(f"{self.package}.{m.name}") for m in pkgutil.iter_modules(package.__path__)
            ]
            module, _, attribute = self.base.partition(":")
            base = getattr(importlib.import_module(module), attribute)
            found = [
                part
                for m in modules
                for part in vars(m).values()
                if isinstance(part, type)
                and issubclass(part, base)
                and part is not base
                and part.__module__ == m.__name__
            ]
            self._parts = {vars(part)["name"]: part for part in found if "name" in vars(part)}
        return self._parts

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._load())

    def get(self, name: str, where: object = None) -> type[T]:
        """The part called `name`. Raises UserError with the nearest name when there is none."""
        parts = self._load()
        if name not in parts:
            raise unknown(self.kind, name, parts, where)
        return parts[name]

    def all(self) -> dict[str, type[T]]:
        """All parts by name."""
        return dict(sorted(self._load().items()))
