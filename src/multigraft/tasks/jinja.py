"""Patterns: the small part of Jinja that a wording needs, rendered in bounded time and space.

A pattern may come from anywhere, so it is walled in three times. Only harmless constructs are let through: no macro,
no import, no attribute of a Python object. Every operation that makes or looks at a value is a function of
`jinja_operations`, paid for out of the budget of its rendering, and so is every turn of a loop: nothing grows without
end and nothing runs for ever, without threads or signals. What is left runs in Jinja's immutable sandbox, where a
name that is not defined is an error. Nothing here draws at random: the same values always give the same text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from multigraft.errors import nearest
from multigraft.tasks.jinja_operations import LARGEST, OPERATIONS, PURSE, STEP, PatternError, Purse, missing, shown

__all__ = ["Pattern", "PatternError", "compile_pattern", "missing"]

LONGEST = 10_000  # characters of a pattern
DEEPEST = 50  # levels of nesting in a pattern

_RANDOM = {"choice", "random", "sample", "shuffle"}
_CHANGING = {"add", "append", "clear", "extend", "insert", "pop", "remove", "reverse", "setdefault", "sort", "update"}
_LOOP = {"index", "index0", "revindex", "revindex0", "first", "last", "length"}


class Pattern:
    """A compiled pattern.

    names: the variables that have to be given. texts: the constant pieces of text. blank: can it show
    nothing but white space.
    Raises PatternError for bad syntax and for whatever is not allowed.
    """

    def __init__(self, source: str) -> None:
        if len(source) > LONGEST:
            raise PatternError("unsafe", f"longer than {LONGEST:,} characters", fix="shorten it")
        guard = _Guard()
        try:
            tree = guard.visit(_ENVIRONMENT.parse(source))
            self._template = _ENVIRONMENT.from_string(tree)
            # Jinja counts a name that is set under a condition as one to be given.
            names = meta.find_undeclared_variables(tree) - {name.name for name in guard.assigned}
        except PatternError:
            raise
        except TemplateSyntaxError as error:
            raise PatternError("syntax", error.message or "bad syntax", where=f"line {error.lineno}") from None
        except Exception as error:  # Jinja and Python fail in many ways on what is too long or nested too deeply
            raise PatternError("unsafe", f"too complicated: {_reason(error)}", fix="simplify it") from None
        self.source, self.texts, self.names = source, tuple(guard.texts), frozenset(names)
        self.blank = not guard.shows

    def render(self, values: Mapping[str, Any]) -> str:
        """The text for these values: texts, numbers, lists and mappings.

        Raises PatternError for a name that is not among them (before anything runs), an operation that fails, and
        one that would take too much.
        """
        if not self.names <= values.keys():
            raise missing(self.names - values.keys(), values)
        try:
            return "".join(self._template.generate({**values, PURSE: Purse()}))
        except PatternError:
            raise
        except Exception as error:
            raise PatternError("fails", f"cannot be rendered: {_reason(error)}") from None


@lru_cache(maxsize=1024)
def compile_pattern(source: str) -> Pattern:
    """The pattern of a source text, compiled once. Raises PatternError."""
    return Pattern(source)


def _reason(error: Exception) -> str:
    return " ".join(f"{error}".split())[:200] or type(error).__name__


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=shown, optimized=False, autoescape=False, cache_size=0
    )
    environment.globals.clear()
    environment.filters = dict(OPERATIONS)
    environment.tests = {name: environment.tests[name] for name in ("none", "number", "string")}
    return environment


_ENVIRONMENT = _environment()


class _Guard(NodeTransformer):
    """Lets harmless constructs through, and turns every operation into a call of ours; collects constant texts."""

    pieces = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign)
    values = (nodes.Const, nodes.Name, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair)
    actions = (nodes.Filter, nodes.Test, nodes.Call, nodes.Keyword, nodes.Getattr, nodes.Getitem)
    logic = (nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr)
    sums = (nodes.Concat, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos)
    allowed = frozenset((*pieces, *values, *actions, *logic, *sums))

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.assigned: list[nodes.Name] = []
        self.shows = False
        self._depth = 0

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        if type(node) not in self.allowed:
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(node).__name__).lower()
            raise _refusal(f"the construct '{words}' is not allowed", node)
        if self._depth > DEEPEST:
            raise _refusal("nested too deeply", node)
        self._depth += 1
        try:
            return super().visit(node, *args, **kwargs)
        finally:
            self._depth -= 1

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Node:
        self.texts.append(node.data)
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Node:
        self.texts += [n.value for n in node.nodes if isinstance(n, nodes.Const) and isinstance(n.value, str)]
        self.shows |= any(not (isinstance(n, nodes.TemplateData) and n.data.isspace()) for n in node.nodes)
        return self.generic_visit(node)

    def visit_Const(self, node: nodes.Const) -> nodes.Node:
        if isinstance(node.value, int) and abs(node.value) > LARGEST:
            raise _refusal(f"a number beyond {LARGEST:,}", node)
        return node

    def visit_Name(self, node: nodes.Name) -> nodes.Node:
        if node.name.startswith("_") or node.name in ("self", "loop"):
            raise _refusal(f"the name {node.name!r} is not allowed", node)
        return node

    def visit_Assign(self, node: nodes.Assign) -> nodes.Node:
        self.assigned += [node.target] if isinstance(node.target, nodes.Name) else node.target.find_all(nodes.Name)
        return self.generic_visit(node)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise _refusal("a recursive loop is not allowed", node)
        inside = list(node.find_all(nodes.Node))
        weight = len(inside) * STEP + sum(len(text.data) for text in inside if isinstance(text, nodes.TemplateData))
        self.generic_visit(node)
        node.iter = _operation("each", node, [node.iter, nodes.Const(weight, lineno=node.lineno)])
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _operation("value", node, [node.expr])
        for operand in node.ops:
            operand.expr = _operation("value", node, [operand.expr])
        return node

    def visit_List(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") == "store" else _operation("value", node, [node])

    visit_Tuple = visit_Dict = visit_List

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _operation("~", node, [nodes.List(node.nodes, lineno=node.lineno)])

    def _binary(self, node: nodes.BinExpr) -> nodes.Node:
        return self._visited(node.operator, node, [node.left, node.right])

    visit_Add = visit_Sub = visit_Mul = visit_Div = visit_FloorDiv = visit_Mod = _binary

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        if isinstance(node.arg, nodes.Slice):
            none = nodes.Const(None, lineno=node.lineno)
            bounds = [part or none for part in (node.arg.start, node.arg.stop, node.arg.step)]
            return self._visited("[:]", node, [node.node, *bounds])
        if isinstance(node.arg, nodes.Const) and str(node.arg.value).startswith("_"):
            raise _refusal(f"reaches for Python internals: {node.arg.value!r}", node)
        return self._visited("[]", node, [node.node, node.arg])

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:
        if isinstance(node.node, nodes.Name) and node.node.name == "loop" and node.attr in _LOOP:
            return node
        return self.visit(
            nodes.Getitem(node.node, nodes.Const(node.attr, lineno=node.lineno), "load", lineno=node.lineno)
        )

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        called = node.node
        if isinstance(called, nodes.Getattr) and not called.attr.startswith("_"):
            return self._named("." + called.attr, called.attr, node, [called.node, *node.args])
        if isinstance(called, nodes.Name):
            return self._named(called.name + "()", called.name, node, node.args)
        raise _refusal("calls something else than a known function", node)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        return self._named("|" + node.name, node.name, node, [node.node, *node.args])

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        if node.name not in _ENVIRONMENT.tests:
            raise _unknown("test", node.name, _ENVIRONMENT.tests, node)
        return self.generic_visit(node)

    def _named(
        self, key: str, name: str, node: nodes.Call | nodes.Filter, operands: Sequence[nodes.Expr | None]
    ) -> Any:
        """The call of a function, method or filter by its name."""
        if name in _RANDOM:
            fix = "write it without, or as several templates"
            raise PatternError("random", f"draws at random with {name!r}", where=f"line {node.lineno}", fix=fix)
        if key[0] == "." and name in _CHANGING:
            raise _refusal(f"{name!r} changes a value in place, which is not allowed", node)
        if key not in OPERATIONS:
            kind = _written(key)
            raise _unknown(kind, name, [other.strip(".|()") for other in OPERATIONS if _written(other) == kind], node)
        if node.dyn_args or node.dyn_kwargs or not operands:
            raise _refusal(f"{name!r} needs its arguments one by one", node)
        if key in ("|join", ".join"):
            self.texts += [n.value for n in operands if isinstance(n, nodes.Const) and isinstance(n.value, str)]
        return self._visited(key, node, operands, node.kwargs)

    def _visited(self, key: str, node: nodes.Expr, operands: Sequence[Any], named: Sequence[Any] = ()) -> nodes.Filter:
        return _operation(key, node, [self.visit(part) for part in operands], [self.visit(part) for part in named])


def _operation(key: str, node: nodes.Node, operands: list[Any], named: list[Any] | None = None) -> nodes.Filter:
    return nodes.Filter(operands[0], key, operands[1:], named or [], None, None, lineno=node.lineno)


def _written(key: str) -> str:
    """How the operation `key` is written in a pattern."""
    return {".": "method", "|": "filter"}.get(key[0], "function" if key.endswith("()") else "operator")


def _refusal(what: str, node: nodes.Node) -> PatternError:
    return PatternError("unsafe", what, where=f"line {node.lineno}")


def _unknown(kind: str, name: str, known: Any, node: nodes.Node) -> PatternError:
    return PatternError("unknown", f"unknown {kind} {name!r}", where=f"line {node.lineno}", fix=nearest(name, known))
