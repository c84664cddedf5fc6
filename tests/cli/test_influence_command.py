"""`xaibench influence`: from a file of predictions to tables and figures, and what is told of a wrong file."""

import numpy as np
import pandas as pd
import pytest

from xaibench.cli.main import main
from xaibench.influence.reweighting import reweighted

GENERATOR = np.random.default_rng(0)
GIVEN = {
    "images": GENERATOR.integers(0, 256, (60, 4, 5)).astype(np.uint8),
    "probabilities": GENERATOR.dirichlet(np.ones(3), 60).astype(np.float32),
    "labels": GENERATOR.integers(0, 3, 60),
}


def run(tmp_path, *options, **changes):
    arrays = {name: value for name, value in (GIVEN | changes).items() if value is not None}
    np.savez(tmp_path / "mine.npz", **arrays)
    return main(["influence", str(tmp_path / "mine.npz"), "--out", str(tmp_path / "out"), *options])


@pytest.mark.parametrize("shape", [(60, 4, 5), (60, 1, 4, 5), (60, 20)])
def test_a_file_of_predictions_is_enough(tmp_path, capsys, shape):
    assert run(tmp_path, "--resamples", "10", images=GIVEN["images"].reshape(shape)) == 0
    assert f"results in {tmp_path / 'out'}" in "".join(capsys.readouterr().out.splitlines())
    table = pd.read_csv(tmp_path / "out" / "influence.csv")
    expected = reweighted(GIVEN["images"].reshape(60, -1), GIVEN["probabilities"].astype(np.float64)).contrast
    for row in range(3):
        assert table.loc[row, "most"] == pytest.approx(expected[:, row].max(), rel=1e-4)
        assert table.loc[row, "least"] == pytest.approx(expected[:, row].min(), rel=1e-4)
        assert table.loc[row, "most_low"] < table.loc[row, "most"] < table.loc[row, "most_high"]
    drawn = {"influence.png", "influence_curves.png", "performance_curves_accuracy.png"}
    drawn |= {"mean_images.png"} if shape != (60, 20) else set()  # columns of a table are no image
    assert {path.name for path in (tmp_path / "out").glob("*.png")} >= drawn
    assert (tmp_path / "out" / "mean_images.png").exists() == ("mean_images.png" in drawn)


def test_options_and_names_of_classes(tmp_path):
    names = np.array(["cat", "dog", "<eel>"])
    assert run(tmp_path, "--resamples", "0", "--targets", "range", "--tail", "0.2", classes=names) == 0
    table = pd.read_csv(tmp_path / "out" / "influence.csv")
    assert list(table["of"][:3]) == list(names)
    assert "most_low" not in table


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "there is no labels"),
        ({"labels": GIVEN["labels"][:50]}, "labels of shape (50,): expected (60,)"),
        ({"images": GIVEN["images"][:50]}, "features of shape (50, 20) and reads of shape (60, "),
        ({"images": GIVEN["images"][0, 0]}, "see --help"),
        ({"probabilities": GIVEN["probabilities"] / 2}, "sum of 1; 60 rows are not"),
        ({"images": np.full((60, 2, 2), np.nan)}, "features: expected finite numbers"),
        ({"classes": np.array(["a"])}, "1 classes and 3 columns"),
    ],
)
def test_a_wrong_file_is_told(tmp_path, capsys, changes, message):
    assert run(tmp_path, **changes) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "mine.npz" in error


def test_no_such_file_and_wrong_options_are_told(tmp_path, capsys):
    assert main(["influence", str(tmp_path / "none.npz")]) == 2
    assert "expected an .npz file" in capsys.readouterr().err
    assert run(tmp_path, "--tail", "0.7") == 2
    assert "tail" in capsys.readouterr().err
