"""Cache of scores: keys by content, entries whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from multigraft.errors import UserError
from multigraft.evaluation import cache
from multigraft.evaluation.cache import Cache, key
from multigraft.settings import Record
from multigraft.tasks.outputs import Example

KEY = key(model="a")
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


class Settings(Record):
    width: int = 4
    name: str = "a"


@dataclass(frozen=True)
class Place:
    width: int = 4


def same(a: Any, b: Any) -> bool:
    """Equal, kinds included: 1, 1.0 and True are three values, and so are 0.0 and -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    return repr(a) == repr(b)


@given(a=VALUES, b=VALUES)
def test_different_parts_different_keys(a: object, b: object) -> None:
    assume(not same(a, b))
    assert key(part=a) != key(part=b)
    assert key(a=a) != key(b=a)
    assert key(a=a, b=b) != key(a=b, b=a)


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=5))
def test_the_order_of_settings_does_not_matter(settings: dict[str, Any]) -> None:
    turned = dict(reversed(settings.items()))
    assert key(settings=settings, other=1) == key(other=1, settings=turned)


ALIKE = [
    *(1, 1.0, True, "1", b"1", None, "", [], {}, [1], ["1"], [[1]], {"1": 1}, float("nan")),
    *(np.zeros(2), np.zeros((2, 1)), np.zeros(2, np.float32), np.ones(2), np.zeros(0)),
    *(torch.zeros(2), torch.zeros(2, dtype=torch.bfloat16), torch.zeros(1, 2), torch.ones(2), torch.tensor(1.0)),
    *(Settings(), Settings(width=5), Settings(name="b"), {"width": 4, "name": "a"}, Place(), Place(5)),
    *(Example(("a", "b"), (), "c"), Example(("a",), ("b",), "c"), Example(("ab",), (), "c")),
]


def test_values_that_look_alike_have_different_keys() -> None:
    assert len({key(part=part) for part in ALIKE}) == len(ALIKE)


def test_equal_contents_have_one_key() -> None:
    assert key(part=(1, 2)) == key(part=[1, 2])
    assert key(part=np.int64(3)) == key(part=3)
    assert key(part=np.arange(6).reshape(2, 3).T) == key(part=np.array([[0, 3], [1, 4], [2, 5]]))
    assert key(part=torch.arange(6).reshape(2, 3).T) == key(part=torch.tensor([[0, 3], [1, 4], [2, 5]]))
    assert key(part=torch.nn.Parameter(torch.ones(2))) == key(part=torch.ones(2))


def test_one_weight_in_a_bank_changes_the_key() -> None:
    bank = {"down": torch.zeros(3, 4), "up": torch.zeros(4)}
    before = key(bank=bank)
    bank["down"][2, 1] = 1e-30
    assert key(bank=bank) != before


@pytest.mark.parametrize("part", [Path("a"), {1, 2}, {1: 2}, np.array([None]), object(), Settings, [Path("a")]])
def test_a_name_or_an_object_is_no_part(part: object) -> None:
    with pytest.raises(TypeError, match="is no part of a key"):
        key(part=part)


def test_another_version_of_ours_has_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "__version__", "0.0.0")
    assert key(model="a") != KEY


ARRAYS = [np.arange(6.0).reshape(2, 3).T, np.array([True, False]), np.array(2), np.zeros((0, 3), np.float32)]


def test_what_is_put_is_got_again(tmp_path: Path) -> None:
    kept = Cache(tmp_path / "deep" / "cache")
    assert kept.get(KEY) is None
    record, arrays = {"score": 71.5, "é": [None, {"a": "\n"}]}, {str(i): array for i, array in enumerate(ARRAYS)}
    kept.put(KEY, record, arrays)
    found = Cache(tmp_path / "deep" / "cache").get(KEY)
    assert found is not None
    assert found.record == record
    assert found.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
    assert kept.get(key(model="b")) is None


def test_the_last_put_counts(tmp_path: Path) -> None:
    kept = Cache(tmp_path)
    kept.put(KEY, {"score": 1})
    kept.put(KEY, {"score": 2})
    found = kept.get(KEY)
    assert found is not None
    assert (found.record, found.arrays) == ({"score": 2}, {})


def only_file(folder: Path) -> Path:
    (path,) = (path for path in folder.rglob("*") if path.is_file())
    return path


def test_a_truncated_file_is_ignored_and_written_anew(tmp_path: Path) -> None:
    kept = Cache(tmp_path)
    kept.put(KEY, {"score": 1}, {"a": np.arange(4)})
    path = only_file(tmp_path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert kept.get(KEY) is None
    kept.put(KEY, {"score": 1}, {"a": np.arange(4)})
    assert kept.get(KEY) is not None


@given(place=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_changed_byte_is_seen(tmp_path_factory: pytest.TempPathFactory, place: int, flip: int) -> None:
    folder = tmp_path_factory.mktemp("cache")
    kept = Cache(folder)
    kept.put(KEY, {"score": 1}, {"a": np.arange(4)})
    data = bytearray(only_file(folder).read_bytes())
    data[place % len(data)] ^= flip
    only_file(folder).write_bytes(data)
    assert kept.get(KEY) is None


def test_an_entry_under_another_key_is_ignored(tmp_path: Path) -> None:
    kept, other = Cache(tmp_path), "f" * 64
    kept.put(KEY, {"score": 1})
    place = only_file(tmp_path)
    moved = tmp_path / other[:2] / place.name.replace(KEY, other)
    moved.parent.mkdir(exist_ok=True)
    place.rename(moved)
    assert kept.get(other) is None


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None])])
def test_only_numbers_are_kept(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(TypeError, match="'a' holds"):
        Cache(tmp_path).put(KEY, {}, {"a": array})
    with pytest.raises(ValueError, match="JSON compliant"):
        Cache(tmp_path).put(KEY, {"score": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = Cache(tmp_path / "file")
    with pytest.raises(UserError, match="cannot be read"):
        kept.get(KEY)
    with pytest.raises(UserError, match="cannot be written"):
        kept.put(KEY, {})


def write(folder: Path, number: int) -> None:
    kept = Cache(folder)
    for _ in range(20):
        kept.put(KEY, {"number": number}, {"a": np.full(100, number)})
        found = kept.get(KEY)
        assert found is not None
        assert (found.arrays["a"] == found.record["number"]).all()


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    fork = get_context("fork")  # a fresh interpreter would spend seconds on imports
    writers = [fork.Process(target=write, args=(tmp_path, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert only_file(tmp_path).name.startswith(KEY)
