"""`multigraft similarity`: both matrices, in order of the clusters."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from multigraft.cli.common import run
from multigraft.cli.main import build_app
from multigraft.library.similarity import similarity_matrices


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 6))
    made = {name: base + 0.3 * rng.standard_normal((length, 6)) for name, base, length in
            (("[b]", first, 4), ("x", second, 3), ("near", first, 5))}  # fmt: skip
    for name, prompt in made.items():
        np.save(f"{name}.npy", prompt)
    return made


def similarity(*arguments: str) -> int:
    return run(build_app(), ["similarity", *arguments])


def test_both_matrices_are_printed(prompts: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    assert similarity("[b].npy", "x.npy", "near.npy", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["prompts"] == list(prompts)
    for measure, matrix in similarity_matrices(prompts.values()).items():
        assert found[measure]["similarity"] == matrix.tolist()
        assert found[measure]["order"] in ([1, 0, 2], [1, 2, 0], [0, 2, 1], [2, 0, 1])  # x stands beside both
    assert similarity("[b].npy", "x.npy", "near.npy") == 0
    out = capsys.readouterr().out
    assert "Cosine of average tokens" in out
    assert "Per-token average cosine" in out
    assert "[b]" in out
    assert f"{similarity_matrices(prompts.values())['per_token'][0, 2]:.3f}" in out


def test_the_map_is_drawn_as_its_name_says(
    prompts: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert similarity("[b].npy", "x.npy", "near.npy", "--json", "--plot", "made/map.svg") == 0
    json.loads(capsys.readouterr().out)
    picture = Path("made/map.svg").read_text(encoding="utf-8")
    likeness = similarity_matrices(prompts.values())["average_tokens"][0, 2]
    assert f"{likeness:.3f}" in picture
    assert "Cosine of average tokens" in picture
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.colors", None)
    assert similarity("x.npy", "near.npy", "--plot", "map.png") == 2
    assert "pip install 'multigraft[plots]'" in capsys.readouterr().err
    assert not Path("map.png").exists()


def test_prompts_of_one_name_are_told_apart(prompts: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    Path("other").mkdir()
    np.save("other/x.npy", prompts["near"])
    assert similarity("x.npy", "other/x.npy", "--json") == 0
    assert json.loads(capsys.readouterr().out)["prompts"] == ["x.npy", "other/x.npy"]


def test_bad_input_ends_with_2(prompts: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    np.save("wide.npy", np.zeros((2, 7)))
    Path("full.svg").mkdir()
    for arguments, message in (
        (("x.npy", "wide.npy"), "wide.npy: tokens are 7 wide, those of x.npy 6; compare prompts of one backbone"),
        (("x.npy", "none.npy"), "none.npy: cannot be read"),
        ((), "Missing argument"),
        (("x.npy", "--plot", "map.pdf"), "--plot map.pdf: not a picture's name; end it with .svg or .png"),
        (("x.npy", "--plot", "full.svg"), "full.svg: Is a directory; give another place"),
    ):
        assert similarity(*arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
