"""The long table and the tables beside it, against what the store holds."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from xaibench.datasets.digits import Digits
from xaibench.execution import run
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.random import Random
from xaibench.grid import Entry, Grid
from xaibench.identity import explain_key, predict_key, train_key
from xaibench.labels import flat, varying
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.sparseness import Sparseness
from xaibench.models.linear import Linear
from xaibench.removal import Blur, Constant
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages
from xaibench.stats.intervals import crossed_interval
from xaibench.store import Store
from xaibench.tables.longtable import PARTS, Results
from xaibench.training import Trainer

GRID = Grid(
    datasets=(Entry("digits", Digits()),),
    models=(Entry("linear", Linear()),),
    trainers=(Entry("auto", Trainer(epochs=1)),),
    explain_on=(Entry("explain_on", ExplainOn(count=7, targets=(1, 4))),),
    explainers=(
        Entry("integrated_gradients", IntegratedGradients(steps=3)),
        Entry("integrated_gradients", IntegratedGradients(steps=5)),
        Entry("random", Random()),
    ),
    metrics=(
        Entry("deletion", Deletion(steps=4)),
        Entry("deletion", Deletion(steps=4, removal=Constant(0.5))),
        Entry("sparseness", Sparseness()),
    ),
    seeds=(0, 1),
    draws=(0, 1),
)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Results:
    folder = tmp_path_factory.mktemp("long")
    run(GRID, Stages(Store(folder / "store"), Runtime("cpu")))
    assert not (folder / "store" / "failures").exists()
    return Results(GRID, Store(folder / "store"))


@pytest.fixture(scope="module")
def long(results) -> pd.DataFrame:
    return results.scores()


def test_there_is_a_row_for_each_cell_image_target_and_score(results, long):
    places = ["explainer", "metric", "score", "seed", "draw", "index", "target"]
    assert len(results.found) == 3 * 3 * 2 * 2
    assert not long.duplicated(places).any()
    assert len(long) == 3 * 2 * 2 * (2 + 2 + 1) * 7 * 2  # deletion has two scores
    assert set(long["target"]) == {1, 4}
    assert long["index"].nunique() == 7


def test_rows_are_the_stored_scores(results, long):
    for cell, artifact in results.found[::5]:
        facts = results.facts(cell)
        for name, values in artifact.group("values").items():
            rows = long[(long["explainer"] == facts["explainer"]) & (long["metric"] == facts["metric"]) & (long["score"] == name)]
            rows = rows[(rows["seed"] == cell.seed) & (rows["draw"] == cell.draw)]
            stored = {
                (image, target): value
                for image, targets, row in zip(artifact.tensors["index"], artifact.tensors["targets"], values, strict=True)
                for target, value in zip(targets.tolist(), row.tolist(), strict=True)
                for image in [int(image)]
            }
            assert dict(zip(zip(rows["index"], rows["target"], strict=True), rows["value"], strict=True)) == stored


def test_label_and_prediction_are_those_of_the_image(results, long):
    for seed in GRID.seeds:
        training = dataclasses.replace(results.found[0][0].training, seed=seed)
        predicted = results.store.read("predict", predict_key(training)[0]).tensors
        rows = long[long["seed"] == seed]
        assert (predicted["labels"].numpy()[rows["index"]] == rows["label"]).all()
        assert (predicted["logits"].argmax(1).numpy()[rows["index"]] == rows["predicted"]).all()


def test_every_field_of_every_component_is_a_column(results, long):
    for cell, _ in results.found:
        for part in PARTS:
            for name in flat(getattr(cell, part).component):
                assert f"{part}.{name}" in long, name
    steps = long.groupby("explainer", observed=True)["explainer.steps"].unique()
    assert [json.loads(value) for value in steps["integrated_gradients[steps=3]"]] == [3]
    removal = long.loc[long["metric"] == "deletion[removal.value=0.5]", "metric.removal.value"]
    assert {json.loads(value) for value in removal} == {0.5}
    assert {json.loads(value) for value in long["trainer.epochs"]} == {1}
    assert {
        json.loads(value) if isinstance(value, str) else None for value in long.loc[long["explainer"] == "random", "explainer.steps"]
    } == {None}


def test_the_tables_labels_show_the_fields_that_vary(long):
    assert set(long["explainer"]) == {"integrated_gradients[steps=3]", "integrated_gradients[steps=5]", "random"}
    assert set(long["metric"]) == {"deletion[removal.value=0]", "deletion[removal.value=0.5]", "sparseness"}
    assert set(long["dataset"]) == {"digits"}


def test_types_of_columns(long):
    small = {"index": np.int32, "target": np.int16, "label": np.int16, "predicted": np.int16, "value": np.float64}
    for column, kind in small.items():
        assert long[column].dtype == kind, column
    for column in ("seed", "draw", "metric_version"):
        assert np.issubdtype(long[column].dtype, np.integer), column
    categorical = {"dataset", "model", "trainer", "explainer", "metric", "score", "family", "metric_family", "higher_is_better", "flag"}
    categorical |= {column for column in long if "." in column}
    assert {column for column in long if isinstance(long[column].dtype, pd.CategoricalDtype)} == categorical


def test_facts_of_the_components(long):
    one = long.groupby("metric", observed=True)[["metric_family", "higher_is_better", "metric_version"]].first().astype(object)
    assert one.loc["sparseness"].tolist() == [Sparseness.family.value, Sparseness.higher_is_better, Sparseness.version]
    assert one.loc["deletion[removal.value=0]"].tolist() == [Deletion.family.value, False, Deletion.version]
    families = long.groupby("explainer", observed=True)["family"].first()
    assert families["random"] == Random.family.value


def test_the_table_survives_parquet(long, tmp_path):
    long.to_parquet(tmp_path / "scores.parquet", index=False)
    again = pd.read_parquet(tmp_path / "scores.parquet")
    assert list(again) == list(long)
    pd.testing.assert_frame_equal(again.astype(object), long.astype(object), check_dtype=False)


def test_flags_stand_beside_every_score_and_are_counted(results, long):
    cell, _ = results.found[0]
    artifact = results.store.read("explain", explain_key(cell.explaining)[0])
    assert artifact.tensors["flag"].shape == (7, 2)
    assert not artifact.tensors["flag"].any()
    assert set(long["flag"]) == {""}
    quality = results.quality().set_index(["explainer", "seed", "draw"]).sort_index()
    assert len(quality) == 3 * 2 * 2
    assert (quality["maps"] == 14).all()
    assert (quality[["constant", "all zero", "not finite"]] == 0).all(axis=None)
    errors = quality["completeness_error"]
    assert errors.drop("random").between(0, 1e-5).all()
    assert errors.loc["random"].isna().all()
    assert (quality["largest_completeness_error"].dropna() >= errors.dropna()).all()


def test_curves_are_means_over_draws_targets_and_images(results):
    found = results.curves()
    assert set(found["curve"]) == {"probability"}
    assert set(found["metric"]) == {"deletion[removal.value=0]", "deletion[removal.value=0.5]"}
    for explainer, metric in [("random", "deletion[removal.value=0.5]"), ("integrated_gradients[steps=5]", "deletion[removal.value=0]")]:
        members = [
            item for item in results.found if (results.facts(item[0])["explainer"], results.facts(item[0])["metric"]) == (explainer, metric)
        ]
        assert len(members) == 4
        by_seed = [
            np.mean([artifact.tensors["curves.probability"].double().numpy().mean(1) for cell, artifact in members if cell.seed == seed], 0)
            for seed in GRID.seeds
        ]
        expected = crossed_interval(np.stack(by_seed, axis=1))
        rows = found[(found["explainer"] == explainer) & (found["metric"] == metric)]
        np.testing.assert_allclose(rows["fraction"], np.linspace(0, 1, 5))
        np.testing.assert_allclose(rows["mean"], np.mean(by_seed, axis=(0, 1)), rtol=1e-12)
        np.testing.assert_allclose(rows["low"], expected.low, rtol=1e-12)
        np.testing.assert_allclose(rows["high"], expected.high, rtol=1e-12)
        assert set(rows["images"]) == {7}


def test_costs_have_each_explanation_once(results):
    found = results.costs()
    assert len(found[found["stage"] == "explain"]) == 3 * 2 * 2
    assert len(found[found["stage"] == "evaluate"]) == 3 * 3 * 2 * 2
    mine = found[(found["stage"] == "explain") & (found["explainer"] == "integrated_gradients[steps=3]")]
    assert set(mine["backward"]) == {7 * 2 * 3}
    assert (found["seconds"] > 0).all()


def test_classifiers_come_with_weights_and_predictions(results):
    found = list(results.classifiers())
    assert [names["seed"] for names, *_ in found] == [0, 1]
    assert all("weights.1.weight" in trained.tensors and len(predicted.tensors["logits"]) == 540 for _, _, trained, predicted in found)


def test_explain_on_joins_the_name_of_the_dataset_where_it_varies():
    choices = tuple(Entry("explain_on", ExplainOn(count=count)) for count in (2, 3))
    results = Results(dataclasses.replace(GRID, explain_on=choices), Store(None))
    names = {results.facts(cell)["dataset"] for cell in results.grid.cells()}
    assert names == {"digits[count=2]", "digits[count=3]"}


def test_cells_that_are_not_there_are_left_out(results, tmp_path):
    assert Results(GRID, Store(tmp_path)).found == []
    assert Results(GRID, Store(tmp_path)).scores().empty
    assert Results(GRID, Store(tmp_path)).curves().empty
    more = dataclasses.replace(GRID, seeds=(0, 1, 2))
    assert len(Results(more, results.store).found) == len(results.found)


@pytest.mark.parametrize("stage", ["train", "predict", "explain", "evaluate"])
def test_reading_finds_what_is_damaged(tmp_path, stage):
    grid = dataclasses.replace(GRID, explainers=GRID.explainers[2:], metrics=GRID.metrics[2:], seeds=(0,), draws=(0,))
    store = Store(tmp_path / "store")
    run(grid, Stages(store, Runtime("cpu")))
    (cell,) = grid.cells()
    keys = {"train": train_key(cell.training), "predict": predict_key(cell.training), "explain": explain_key(cell.explaining)}
    key = keys[stage][0] if stage in keys else cell.key
    (store.folder(stage, key) / "payload.safetensors").write_bytes(b"?")
    results = Results(grid, store)
    results.read()
    assert not store.has(stage, key)
    assert bool(results.found) == (stage == "explain")


@pytest.mark.parametrize(
    ("components", "labels"),
    [
        ([IntegratedGradients(), IntegratedGradients(steps=7)], ["name[steps=50]", "name[steps=7]"]),
        ([Deletion(), Deletion(removal=Constant(0.5))], ["name[removal.value=0]", "name[removal.value=0.5]"]),
        ([Gradient()], ["name"]),
    ],
)
def test_labels_show_the_fields_that_vary(components, labels):
    steps = IntegratedGradients().steps
    entries = tuple(Entry("name", component) for component in components)
    assert [varying(entries)[entry].replace(f"steps={steps}]", "steps=50]") for entry in entries] == labels


def test_labels_of_configurations_that_differ_only_in_the_class_of_a_part_differ():
    entries = (Entry("name", Deletion()), Entry("name", Deletion(removal=Blur())))
    labels = list(varying(entries).values())
    assert len(set(labels)) == 2


def test_other_names_do_not_lengthen_a_label():
    entries = (Entry("one", Gradient()), Entry("two", Gradient(output="probability")))
    assert list(varying(entries).values()) == ["one", "two"]


def test_fields_are_flattened_by_dotted_name():
    found = flat(Deletion(steps=3, removal=Constant(0.5)))
    assert found["steps"] == 3
    assert found["removal.value"] == 0.5
    assert found["removal.class"] == "xaibench.removal.Constant"
    assert "class" not in found
