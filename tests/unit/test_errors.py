from __future__ import annotations

from multigraft.errors import UserError, nearest, unknown


def test_message_says_what_where_and_what_to_do() -> None:
    assert str(UserError("no such label", where="a.jsonl:3", fix="use one of the choices")) == (
        "a.jsonl:3: no such label; use one of the choices"
    )
    assert str(UserError("no such label")) == "no such label"


def test_nearest_suggests_or_lists() -> None:
    assert nearest("lowrank", ["pal", "low_rank"]) == "did you mean 'low_rank'?"
    assert nearest("zzz", ["pal", "adapter"]) == "known: adapter, pal"
    assert nearest("zzz", []) == "none is known"


def test_unknown_names_kind_place_and_nearest() -> None:
    error = unknown("method", "pall", ["pal", "lora"], where="r.yaml")
    assert str(error) == "r.yaml: unknown method 'pall'; did you mean 'pal'?"
