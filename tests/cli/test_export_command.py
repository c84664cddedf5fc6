"""`xaibench export`: what lies in the store, as numpy files and pictures."""

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from cli_cases import Bench, Outcome, OutOfTree

from xaibench.cli.compose import composed
from xaibench.cli.request import Request
from xaibench.identity import explain_key

STUDY = """# @package _global_
study: tiny
grid:
  explainer: [gradient, random]
  metric: sparseness
  seed: [0, 1]
  trainer.epochs: 1
explain_on: {count: 3, targets: [0, 7], background: 10}
runtime: {threads: 1, device: cpu}
figures: []
"""


@pytest.fixture
def study(bench: Bench, out_of_tree: OutOfTree):
    (out_of_tree.conf / "experiment").mkdir()
    (out_of_tree.conf / "experiment" / "tiny.yaml").write_text(STUDY)
    tiny = Bench(bench.folder, ())
    assert tiny.run("experiment=tiny", *out_of_tree.flags).status == 0
    return tiny, out_of_tree.flags


def export(study, *given) -> Outcome:
    bench, flags = study
    places = (f"runtime.results={bench.results}", f"runtime.store={bench.store.root}")
    return bench.typed("export", "tiny", *places, *given, "--out", str(bench.folder / "out"), *flags)


def maps(study, name):
    with np.load(study[0].folder / "out" / "digits" / "conv16_conv32_gap" / name / "maps.npz") as file:
        return dict(file)


def test_every_explanation_has_its_file(study):
    bench, flags = study
    assert "4 explanations and 0 pictures" in export(study).out
    grid, _ = composed(Request([*bench.arguments("experiment=tiny"), *flags]))
    for cell in grid.cells():
        found = maps(study, f"seed_{cell.seed}/{cell.explainer.name}")
        stored = bench.store.read("explain", explain_key(cell.explaining)[0]).tensors
        for name in ("values", "index", "targets"):
            np.testing.assert_array_equal(found[name], stored[name].numpy())
        arrays = cell.dataset.component.load().test
        np.testing.assert_array_equal(found["labels"], arrays.labels.numpy()[found["index"]])
    scores = pd.read_parquet(bench.results / "tiny" / "scores.parquet").drop_duplicates(["seed", "index"])
    assert {(row.seed, row.index_, row.predicted) for row in scores.rename(columns={"index": "index_"}).itertuples()} == {
        (seed, index, predicted)
        for seed in (0, 1)
        for index, predicted in zip(
            maps(study, f"seed_{seed}/random")["index"], maps(study, f"seed_{seed}/random")["predicted"], strict=True
        )
    }


def test_pictures_are_told_of_in_the_index_and_show_the_signs(study):
    bench, _ = study
    assert "1 explanations and 6 pictures" in export(study, "--png", "seed=1", "explainer=gradient").out
    told = pd.read_csv(bench.folder / "out" / "index.csv")
    assert list(told.columns) == ["file", "dataset", "model", "seed", "explainer", "index", "target", "label", "predicted"]
    assert sorted(told["file"]) == sorted(
        path.relative_to(bench.folder / "out").as_posix() for path in (bench.folder / "out").rglob("*.png")
    )
    assert set(zip(told["seed"], told["explainer"], told["target"], strict=True)) == {(1, "gradient", 0), (1, "gradient", 7)}
    found = maps(study, "seed_1/gradient")
    assert dict(zip(told["index"], told["label"], strict=True)) == dict(zip(found["index"], found["labels"], strict=True))
    for row in told.to_dict("records"):
        picture = matplotlib.image.imread(bench.folder / "out" / row["file"])[..., :3]
        place = list(found["index"]).index(row["index"]), [0, 7].index(row["target"])
        values = found["values"][place].sum(axis=0)
        times = len(picture) // len(values)
        small = picture[times // 2 :: times, times // 2 :: times]
        red, blue = small[..., 0] > small[..., 2], small[..., 0] < small[..., 2]
        strong = np.abs(values) > 0.1 * np.abs(values).max()
        assert strong.any()
        np.testing.assert_array_equal(red[strong], values[strong] > 0)
        np.testing.assert_array_equal(blue[strong], values[strong] < 0)


def test_what_is_not_there_is_told(study):
    bench, _ = study
    assert "2 explanations and 0 pictures" in export(study, "explainer=gradient,sobel").out
    outcome = export(study, "explainer=gradient,sobel")
    assert "2 are not in" in outcome.out
    outcome = export(study, "explainer=sobel")
    assert outcome.status == 2
    assert "xaibench run experiment=tiny" in outcome.err
    before = bench.made()
    assert export(study, "seed=5").status == 2
    assert bench.made() == before


def test_counterfactuals(study):
    bench, flags = study
    given = (
        "experiment=tiny",
        "explainer=counterfactual/nearest_training_image",
        "metric=counterfactual/validity",
        "explain_on.targets=others",
        "seed=0",
    )
    assert bench.run(*given, *flags).status == 0
    assert export(study, *given[1:], "--png").status == 0
    found = maps(study, "seed_0/nearest_training_image")
    assert found["images"].shape == (3, 9, 1, 8, 8)
    assert found["found"].shape == (3, 9)
    assert len(pd.read_csv(bench.folder / "out" / "index.csv")) == 27
    first = pd.read_csv(bench.folder / "out" / "index.csv").iloc[0]
    picture = matplotlib.image.imread(bench.folder / "out" / first["file"])[..., :3]
    small = picture[14::28, 14::28, 0]
    expected = found["images"][0, 0, 0] if found["found"][0, 0] else np.full((8, 8), 0.5)
    np.testing.assert_allclose(small, expected, atol=0.01)
