"""Reading transfer matrices, predictions and sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multigraft.errors import UserError
from multigraft.evaluation.transfer_matrix import TransferMatrix, read_matrix, read_predicted, read_sizes

PLAIN = "source,RTE,CB\nnone,60,70\nMNLI,65.5,75\nSST-2,58,71\n"
SEEDS = "source,seed,RTE,CB\nnone,1,60,70\nMNLI,1,65,75\nMNLI,2,67,77\nnone,2,62,72\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "matrix.csv"


def read(file: Path, text: str) -> TransferMatrix:
    file.write_text(text, encoding="utf-8")
    return read_matrix(file)


def test_a_matrix(file: Path) -> None:
    matrix = read(file, PLAIN)
    assert (matrix.sources, matrix.targets) == (("MNLI", "SST-2"), ("RTE", "CB"))
    assert matrix.scores.tolist() == [[[65.5, 75], [58, 71]]]
    assert matrix.none.tolist() == [[60, 70]]


def test_spaces_and_line_ends_do_not_matter(file: Path) -> None:
    spaced = read(file, PLAIN.replace(",", " , ").replace("\n", "\r\n"))
    assert np.array_equal(spaced.scores, read(file, PLAIN).scores)
    assert spaced.sources == ("MNLI", "SST-2")


def test_seeds_in_any_order(file: Path) -> None:
    matrix = read(file, SEEDS)
    assert matrix.scores.tolist() == [[[65, 75]], [[67, 77]]]
    assert matrix.none.tolist() == [[60, 70], [62, 72]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLAIN.replace("65.5", ""), "3: 'RTE' of 'MNLI' is missing; give a number"),
        (PLAIN.replace("65.5", "n/a"), "3: 'RTE' of 'MNLI' is 'n/a'; give a number"),
        (PLAIN.replace("65.5", "6_5"), "3: 'RTE' of 'MNLI' is '6_5'; give a number"),
        (PLAIN.replace("71", "NaN"), "4: 'CB' of 'SST-2' is NaN; give a number, or leave the source out"),
        (PLAIN.replace("71", "-inf"), "4: 'CB' of 'SST-2' is -inf"),
        (PLAIN.replace("65.5", "655"), "3: 'RTE' of 'MNLI' is 655; give scores in per cent"),
        (PLAIN.replace("65.5,75", "65.5"), "3: 2 cells under 3 column names"),
        (PLAIN.replace("none", "nothing"), " has no row 'none'; add the scores without transfer as the row 'none'"),
        (PLAIN.replace("SST-2", "MNLI"), "4: source 'MNLI' is given twice; line 3 has it too"),
        (PLAIN.replace("SST-2", ""), "4: the source is not named"),
        (PLAIN.replace("source", "task"), "1: has no column 'source'"),
        (PLAIN.replace("CB", "RTE"), "1: column 'RTE' is given twice"),
        (PLAIN.replace("CB", " RTE "), "1: column 'RTE' is given twice"),
        ("", "1: the first line must name every column"),
        ("source,RTE\n", " has no rows"),
        ("source\nnone\n", "1: has no target"),
        ("source,seed\nnone,1\n", "1: has no target"),
        ("source,RTE\nnone,60\n", " has no source but 'none'"),
        (SEEDS.replace("none,2,62,72\n", ""), "2: source 'none' has no row for seed '2'; add it"),
        (SEEDS.replace("MNLI,2", "MNLI,1"), "4: source 'MNLI' is given twice for seed '1'; line 3"),
        (SEEDS.replace("MNLI,2", "MNLI,"), "4: the seed is not named"),
        (PLAIN.replace("65.5", '"65.5'), "3: not valid CSV"),
    ],
)
def test_what_is_no_matrix_is_one_line(file: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(file, text)
    assert str(caught.value).startswith(f"{file}:{message}")
    assert "\n" not in str(caught.value)


CELLS = st.sampled_from(
    ["source", "seed", "none", "MNLI", "RTE", "1", "-3.5", "1e400", "nan", "", "x", '"', "é\n", "0x1"]
)
NOISE = st.text(alphabet="source,none1.\n\r\"'\0 \u0661é", max_size=40)


@given(st.one_of(NOISE, st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=5).map("\n".join)))
def test_any_text_is_a_matrix_or_a_user_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv"
    for start in ("", "source,RTE\n", "source,RTE\nnone,1\n"):
        file.write_bytes((start + text).encode())
        try:
            matrix = read_matrix(file)
        except UserError as error:
            assert str(error).startswith(f"{file}:")
        else:
            assert np.isfinite(matrix.scores).all()
            assert np.isfinite(matrix.none).all()


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=5)


@given(st.data())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    sources = data.draw(st.lists(NAMES.filter(lambda name: name != "none"), min_size=1, max_size=4, unique=True))
    reserved = ("source", "seed")
    targets = data.draw(st.lists(NAMES.filter(lambda name: name not in reserved), min_size=1, max_size=3, unique=True))
    row = st.lists(st.floats(-100, 100), min_size=len(targets), max_size=len(targets))
    rows = {source: data.draw(row) for source in ("none", *sources)}

    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    lines = [",".join(["source", *map(quoted, targets)])]
    lines += [",".join([quoted(source), *map(repr, values)]) for source, values in rows.items()]
    file = tmp_path_factory.getbasetemp() / "written.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    matrix = read_matrix(file)
    assert (list(matrix.sources), list(matrix.targets)) == (sources, targets)
    assert matrix.scores[0].tolist() == [rows[source] for source in sources]


def test_predictions_in_any_order_and_unit(file: Path, tmp_path: Path) -> None:
    matrix, predicted = read(file, PLAIN), tmp_path / "predicted.csv"
    predicted.write_text("CB,source,RTE\n-400,SST-2,1e5\n2,MNLI,3\n")
    assert read_predicted(predicted, matrix).tolist() == [[3, 2], [1e5, -400]]
    predicted.write_text(PLAIN)
    assert read_predicted(predicted, matrix).tolist() == [[65.5, 75], [58, 71]]
    predicted.write_text("source,seed,RTE,CB\nMNLI,a,1,2\nMNLI,b,3,6\nSST-2,a,0,0\nSST-2,b,0,1\n")
    assert read_predicted(predicted, matrix).tolist() == [[2, 4], [0, 0.5]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("source,RTE,CB\nMNLI,1,2\n", " has no row 'SST-2'"),
        ("source,RTE\nMNLI,1\nSST-2,2\n", "1: has no column 'CB'"),
        ("source,RTE,CB,C\nMNLI,1,2,3\nSST-2,1,2,3\n", "1: target 'C' is not in the matrix"),
        ("source,RTE,CB\nMNLI,1,2\nSST2,1,2\n", "3: source 'SST2' is not in the matrix; did you mean 'SST-2'?"),
        ("source,RTE,CB\nMNLI,1,\nSST-2,1,2\n", "2: 'CB' of 'MNLI' is missing"),
    ],
)
def test_predictions_for_another_matrix_are_refused(file: Path, tmp_path: Path, text: str, message: str) -> None:
    matrix, predicted = read(file, PLAIN), tmp_path / "predicted.csv"
    predicted.write_text(text)
    with pytest.raises(UserError) as caught:
        read_predicted(predicted, matrix)
    assert str(caught.value).startswith(f"{predicted}:{message}")


def test_sizes(file: Path, tmp_path: Path) -> None:
    matrix, sizes = read(file, PLAIN), tmp_path / "sizes.csv"
    sizes.write_text("source,size\nRTE,2490\nSST-2,67349\nMNLI,392702\n")
    assert read_sizes(sizes, matrix).tolist() == [392702, 67349]
    for text, message in (
        ("source,size\nMNLI,3\n", "has no row 'SST-2'"),
        ("source,examples\nMNLI,3\nSST-2,4\n", "has no column 'size'"),
        ("source,size\nMNLI,3\nSST-2,many\n", "'size' of 'SST-2' is 'many'"),
    ):
        sizes.write_text(text)
        with pytest.raises(UserError, match=message):
            read_sizes(sizes, matrix)


def test_a_matrix_made_in_code_must_fit_its_names() -> None:
    with pytest.raises(ValueError, match=r"expected \(1, 2, 1\)"):
        TransferMatrix(("a", "b"), ("t",), np.zeros((1, 1, 1)), np.zeros((1, 1)))
