"""A library keeps what it is given, shares equal files, and refuses what is no expert."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from torch import Tensor

from multigraft.errors import UserError
from multigraft.library.card import Card
from multigraft.library.objects import parse_tensors
from multigraft.library.store import Library
from multigraft.library.verify import verify

MakeCard = Callable[..., Card]


def tensors(value: float) -> dict[str, Tensor]:
    return {"0.a": torch.full((2, 3), value), "head.bias": torch.arange(3, dtype=torch.bfloat16)}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (folder / "objects").rglob("*") if path.is_file()}


def test_what_is_added_is_got(memory_folder: Path, make_card: MakeCard) -> None:
    library = Library.create(memory_folder / "new" / "library")
    card = make_card(parents=("x", "y"), scores={"f1": 12.5}, template="one [b] ü")
    keys = np.arange(6, dtype=np.float16).reshape(2, 3)
    library.add("first [1]", tensors(1), card, keys)
    library.add("second", tensors(2), make_card(task="u"))
    expert = Library(library.folder).get("first [1]")
    assert expert.card == card
    found = expert.tensors()
    assert found.keys() == tensors(1).keys()
    assert all(torch.equal(found[key], value) and found[key].dtype == value.dtype for key, value in tensors(1).items())
    vectors = expert.key_vectors()
    assert vectors is not None
    assert vectors.dtype == np.float16
    assert np.array_equal(vectors, keys)
    assert library.get("second").key_vectors() is None
    assert pickle.loads(pickle.dumps(library)).names() == ("first [1]", "second")
    assert [expert.name for expert in library.list(task="u")] == ["second"]
    assert [len(library.list(method=name)) for name in ("lora", "pal")] == [2, 0]
    assert [len(library.list(backbone=name)) for name in ("b", "f", "c")] == [2, 2, 0]


def test_adding_the_17th_changes_no_byte_of_the_others(memory_folder: Path, make_card: MakeCard) -> None:
    library = Library.create(memory_folder)
    for i in range(16):
        library.add(f"e{i}", tensors(i), make_card(seed=i), np.full((2, 3), i, np.float32))
    before, cards = files(memory_folder), library.list()
    library.add("e16", tensors(16), make_card())
    after = files(memory_folder)
    assert before.items() < after.items()
    assert len(after) == len(before) + 1
    assert [library.get(expert.name) for expert in cards] == list(cards)


def test_equal_files_are_shared_until_the_last_is_gone(memory_folder: Path, make_card: MakeCard) -> None:
    library = Library.create(memory_folder)
    for name in ("a", "b", "c"):
        library.add(name, tensors(1), make_card(task=name))
    assert len(files(memory_folder)) == 1
    library.remove("a")
    library.add("b", tensors(2), make_card(), replace=True)
    assert len(files(memory_folder)) == 2
    assert float(library.get("c").tensors()["0.a"][0, 0]) == 1
    library.remove("c")
    assert len(files(memory_folder)) == 1
    assert library.stats().experts == 1
    assert verify(library) == ()


def test_bad_input_is_one_line_and_changes_nothing(memory_folder: Path, make_card: MakeCard) -> None:
    library = Library.create(memory_folder / "library")
    library.add("taken", tensors(1), make_card())
    before = files(library.folder)
    for name in ("../x", "/x", "a/b", "a\\b", "", ".x", "-x", "x.", "x ", "a\nb", "C:x", "x\0", "y" * 201, "a*"):
        with pytest.raises(UserError, match="not a name of an expert"):
            library.add(name, tensors(2), make_card())
    with pytest.raises(UserError, match="an expert called 'taken' is here already; add --replace"):
        library.add("taken", tensors(2), make_card())
    with pytest.raises(UserError, match="no tensors of its own"):
        library.add("x", {}, make_card())
    with pytest.raises(UserError, match=r"'method\.name' is missing"):
        library.add("x", tensors(2), make_card(method={}))
    with pytest.raises(UserError, match=r"scores\.f1"):
        library.add("x", tensors(2), make_card(scores={"f1": float("nan")}))
    for keys in (
        np.zeros(3, np.float32),
        np.zeros((0, 3), np.float32),
        np.zeros((2, 3)),
        np.full((1, 1), np.inf, "f4"),
    ):
        with pytest.raises(UserError, match="expected S x D finite numbers"):
            library.add("x", tensors(2), make_card(), keys)
    for missing in (library.get, library.remove):
        with pytest.raises(UserError, match="unknown expert 'takn'; did you mean 'taken'"):
            missing("takn")
    assert library.names() == ("taken",)
    assert files(library.folder) == before


def test_a_folder_that_is_none_is_named(memory_folder: Path) -> None:
    with pytest.raises(UserError, match="not a library of experts"):
        Library(memory_folder / "none")
    (memory_folder / "full").mkdir()
    (memory_folder / "full" / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="the folder is not empty"):
        Library.create(memory_folder / "full")
    with pytest.raises(UserError, match="cannot be made"):
        Library.create(memory_folder / "full" / "notes.txt")
    library = Library.create(memory_folder / "new")
    with pytest.raises(UserError, match="there is a library already"):
        Library.create(library.folder)
    assert Library.create(library.folder, exist_ok=True).names() == ()
    (memory_folder / "new" / "catalogue.sqlite").write_bytes(b"SQLite format 3\0 no more")
    with pytest.raises(UserError, match="the catalogue cannot be used"):
        library.names()


def test_no_file_is_followed_out_of_the_library(memory_folder: Path, make_card: MakeCard) -> None:
    library = Library.create(memory_folder / "library")
    expert = library.add("a", tensors(1), make_card())
    path = library.objects.path(expert.weights)
    outside = memory_folder / "outside.safetensors"
    path.rename(outside)
    path.symlink_to(outside)
    with pytest.raises(UserError, match="a link, which may lead out of the library"):
        expert.tensors()
    path.unlink()
    path.parent.rename(memory_folder / "elsewhere")
    path.parent.symlink_to(memory_folder / "elsewhere")
    with pytest.raises(UserError, match="a link"):
        expert.tensors()
    for key in ("../../outside", "/etc/passwd", expert.weights.upper()):
        with pytest.raises(UserError, match="not a SHA-256"):
            library.objects.read(key)


def test_what_is_no_safetensors_file_is_not_opened(memory_folder: Path, make_card: MakeCard) -> None:
    library = Library.create(memory_folder)
    expert = library.add("a", tensors(1), make_card())
    path = library.objects.path(expert.weights)
    for data, said in ((pickle.dumps(1), "a pickle, which is never opened"), (b"x", "damaged: its SHA-256 is")):
        path.write_bytes(data)
        with pytest.raises(UserError, match=said):
            expert.tensors()
    for data, said in (
        (pickle.dumps({"a": 1}), "a pickle, which may run code"),
        (b"PK\x03\x04" + bytes(40), "a pickle"),
        ((2**40).to_bytes(8, "little") + b"{}", "not a safetensors file, or damaged"),
        (b"", "not a safetensors file"),
    ):
        with pytest.raises(UserError, match=said):
            parse_tensors(data, "file")
    path.unlink()
    with pytest.raises(UserError, match="the file is missing; run multigraft library verify"):
        expert.tensors()
    assert library.add("b", tensors(1), make_card()).tensors()
    path.write_bytes(b"x")
    library.add("c", tensors(1), make_card())
    assert expert.tensors()  # mended by the one that is the same


NAMES = st.sampled_from(["a", "b", "c", "d"])
VALUES = st.integers(0, 2)


def test_it_behaves_as_a_dictionary(memory_folder: Path, make_card: MakeCard) -> None:
    count = iter(range(10**6))

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.library = Library.create(memory_folder / str(next(count)))
            self.expected: dict[str, tuple[int, int | None]] = {}

        @rule(name=NAMES, value=VALUES, key=st.none() | VALUES, replace=st.booleans())
        def add(self, name: str, value: int, key: int | None, replace: bool) -> None:
            keys = None if key is None else np.full((1, 2), key, np.float32)
            if name in self.expected and not replace:
                with pytest.raises(UserError):
                    self.library.add(name, tensors(value), make_card(seed=value), keys)
            else:
                self.library.add(name, tensors(value), make_card(seed=value), keys, replace=replace)
                self.expected[name] = value, key

        @rule(name=NAMES)
        def remove(self, name: str) -> None:
            if name in self.expected:
                self.library.remove(name)
                del self.expected[name]
            else:
                with pytest.raises(UserError):
                    self.library.remove(name)

        @invariant()
        def same(self) -> None:
            found = {}
            for expert in self.library.list():
                keys = expert.key_vectors()
                value = int(expert.tensors()["0.a"][0, 0])
                assert expert.card.seed == value
                found[expert.name] = value, None if keys is None else int(keys[0, 0])
            assert found == self.expected
            assert list(found) == sorted(self.expected)
            values, keyed = zip(*self.expected.values(), strict=True) if self.expected else ((), ())
            assert self.library.stats().files == len(set(values)) + len(set(keyed) - {None})

    run_state_machine_as_test(Machine, settings=settings(max_examples=12, stateful_step_count=12))
