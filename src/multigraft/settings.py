"""Strict records read from YAML or JSON: an unknown key is an error that names the nearest known one."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from multigraft.errors import UserError, nearest


class Record(BaseModel):
    """Base of every settings and data record: immutable, unknown keys forbidden."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


R = TypeVar("R", bound=BaseModel)


def build(cls: type[R], data: object, where: object) -> R:
    """Validate `data` as a `cls`; the first fault becomes one `UserError` that says where."""
    if not isinstance(data, Mapping):
        raise UserError(f"expected named values, got {type(data).__name__}", where=where)
    try:
        return cls.model_validate(dict(data))
    except ValidationError as error:
        raise _first_fault(cls, error, where) from None


def _first_fault(cls: type[BaseModel], error: ValidationError, where: object) -> UserError:
    # An unknown key is usually a misspelt one, and then also the cause of a "missing" fault: report it first.
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    fault = faults[0]
    path, record = _follow(cls, fault["loc"])
    if fault["type"] == "extra_forbidden":
        _, record = _follow(cls, fault["loc"][:-1])
        return UserError(f"unknown key {path!r}", where=where, fix=nearest(str(fault["loc"][-1]), record.model_fields))
    if fault["type"] == "missing":
        return UserError(f"{path!r} is missing", where=where, fix="add it")
    if fault["type"].startswith("union_tag"):
        expected, tag = fault["ctx"].get("expected_tags"), fault["ctx"]["discriminator"].strip("'")
        if expected is None:
            return UserError(f"'{path}.{tag}' is missing", where=where, fix="add it")
        kinds = [kind.strip(" '") for kind in expected.split(",")]
        return UserError(
            f"unknown {path}.{tag} {fault['ctx']['tag']!r}", where=where, fix=nearest(fault["ctx"]["tag"], kinds)
        )
    message = fault["msg"].removeprefix("Value error, ")
    return UserError(f"{path!r}: {message}" if path else message, where=where)


def _follow(cls: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[str, type[BaseModel]]:
    """Where `loc` leads from `cls`: the path as it was written, and the record there, as far as annotations tell.

    Between a field and the records that its `kind` chooses from, pydantic puts the kind into `loc`; it is left out.
    """
    path: list[str] = []
    records = [cls]
    for part in loc:
        chosen = [record for record in records if part in (field.default for field in record.model_fields.values())]
        if len(records) > 1 and isinstance(part, str) and chosen:
            records = chosen
            continue
        path.append(str(part))
        field = records[0].model_fields.get(str(part))
        records = (_types_in(field.annotation) if field else []) or records
    return ".".join(path), records[0]


def _types_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [t for argument in getattr(annotation, "__args__", ()) for t in _types_in(argument)]


class StrictLoader(yaml.SafeLoader):
    """YAML loader that rejects a key given twice, and reads 5e-5 as a number, as YAML 1.2 does."""


def _mapping(loader: StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
        fault = "a key is a plain value" if not isinstance(key, Hashable) else f"key {key!r} is given twice"
        if not isinstance(key, Hashable) or key in seen:
            raise yaml.constructor.ConstructorError(None, None, fault, key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_FLOAT = r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"
StrictLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(_FLOAT), list("-+0123456789."))


def read_yaml(path: Path) -> Any:
    """Contents of a YAML file. Raises UserError with file and line for anything unreadable."""
    return parse_yaml(read_text(path), where=path)


def parse_yaml(text: str, where: object, loader: type[StrictLoader] = StrictLoader) -> Any:
    """Value of a YAML text; `where` names it in errors, `loader` may know tags of its own."""
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506 - a SafeLoader subclass
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"not valid YAML: {error.problem}", where=f"{where}{line}") from None
    except (
        yaml.YAMLError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        # The constructors of tagged values, such as `!!int` with nothing behind it, fail in all these ways.
        raise UserError(f"not valid YAML: {type(error).__name__} {' '.join(str(error).split())}", where=where) from None


def read_text(path: Path) -> str:
    """UTF-8 text of a file. Raises UserError when it is missing, unreadable or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UserError("not UTF-8 text", where=f"{path}:{line}", fix="save the file as UTF-8") from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=path) from None
