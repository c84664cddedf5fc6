"""The stages of a cell: what each gives, what its key depends on, and what it refuses."""

import dataclasses
import json
from collections.abc import Mapping
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from xaibench import searching
from xaibench.component import PositiveInt
from xaibench.cost import chunk_size
from xaibench.datasets.digits import Digits
from xaibench.explainers.grad_cam import GradCam
from xaibench.explainers.gradient import Gradient
from xaibench.explainers.integrated_gradients import IntegratedGradients
from xaibench.explainers.random import Random
from xaibench.identity import Explaining, evaluate_key, explain_key, predict_key, train_key
from xaibench.metrics.completeness_error import CompletenessError
from xaibench.metrics.deletion import Deletion
from xaibench.metrics.sparseness import Sparseness
from xaibench.models.linear import Linear
from xaibench.models.mlp import Mlp
from xaibench.problem import Arrays, Attributions, Family, Passes, Problem, Procedure, Training
from xaibench.scoring import Metric, Scores
from xaibench.searching import CounterfactualExplainer, Pairs, Proposals
from xaibench.seeding import Rng
from xaibench.selection import ExplainOn
from xaibench.stages import Runtime, Stages, UnsupportedError, arrays_of
from xaibench.store import Store
from xaibench.training import Trainer, TrainingError

TRAINING = Training(Digits(), Linear(), Trainer(epochs=2), seed=3)
EXPLAINING = Explaining(TRAINING, ExplainOn(count=6, targets=(2, 7), background=5), IntegratedGradients(steps=4))


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> Stages:
    return Stages(Store(tmp_path_factory.mktemp("store")), Runtime("cpu"))


def fresh(stages: Stages, tmp_path) -> Stages:
    return dataclasses.replace(stages, store=Store(tmp_path))


def test_training_keeps_weights_and_a_row_for_each_epoch(stages):
    found = stages.train(TRAINING)
    assert found.group("weights")["1.weight"].shape == (10, 64)
    history = found.group("history")
    assert history.keys() == {"epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"}
    assert history["epoch"].tolist() == [0, 1]
    assert history["train_loss"][1] < history["train_loss"][0]


def test_predictions_are_the_networks_logits_on_the_test_set(stages):
    found, test = stages.predict(TRAINING), arrays_of(Digits()).test
    with torch.inference_mode():
        expected = stages.network(TRAINING)(test.images)
    torch.testing.assert_close(found.tensors["logits"], expected)
    assert torch.equal(found.tensors["labels"], test.labels)
    assert (found.tensors["logits"].argmax(1) == test.labels).float().mean() > 0.15


def test_explanations_are_the_explainers_on_the_chosen_images(stages):
    found, problem = stages.explain(EXPLAINING), stages.problem(EXPLAINING, {})
    rng = Rng(TRAINING.seed, 0, "IntegratedGradients")
    expected = EXPLAINING.explainer(problem, rng)
    torch.testing.assert_close(found.tensors["values"], expected.values)
    torch.testing.assert_close(found.tensors["total"], expected.total)
    rows = EXPLAINING.explain_on.rows(problem.labels, problem.labels, 0)
    assert len(rows) == len(found.tensors["index"]) == 6
    assert torch.equal(found.tensors["targets"], torch.tensor([[2, 7]] * 6))


def test_the_problem_is_the_chosen_part_of_the_data(stages):
    problem, arrays = stages.problem(EXPLAINING, {}), arrays_of(Digits())
    assert torch.equal(problem.images, arrays.test.images[problem.index])
    assert torch.equal(problem.labels, arrays.test.labels[problem.index])
    torch.testing.assert_close(problem.probabilities, stages.predict(TRAINING).tensors["logits"][problem.index].softmax(1))
    assert problem.background.shape == (5, 1, 8, 8)
    training = {tuple(image.flatten().tolist()) for image in arrays.train.images}
    assert all(tuple(image.flatten().tolist()) in training for image in problem.background)
    assert not problem.classifier.training
    assert not any(parameter.requires_grad for parameter in problem.classifier.parameters())
    assert problem.chunk == chunk_size(problem.classifier, (1, 8, 8))


def test_all_models_and_seeds_explain_the_same_images(stages):
    others = [dataclasses.replace(TRAINING, seed=4), dataclasses.replace(TRAINING, model=Mlp(hidden=(8,)))]
    first = stages.problem(EXPLAINING, {})
    for training in others:
        other = stages.problem(dataclasses.replace(EXPLAINING, training=training), {})
        assert torch.equal(first.index, other.index)
        assert torch.equal(first.background, other.background)


def test_scores_are_the_metrics_on_the_stored_explanation(stages):
    metric = Deletion(steps=3)
    found = stages.evaluate(EXPLAINING, metric)
    problem, explained = stages.problem(EXPLAINING, {}), stages.explain(EXPLAINING)
    expected = metric(problem, Attributions(explained.tensors["values"]), Rng(TRAINING.seed, 0, "Deletion"))
    assert found.group("values").keys() == expected.values.keys()
    for name, value in expected.values.items():
        torch.testing.assert_close(found.tensors[f"values.{name}"], value)
    torch.testing.assert_close(found.tensors["curves.probability"], expected.curves["probability"])
    assert torch.equal(found.tensors["fractions"], expected.fractions)
    assert torch.equal(found.tensors["index"], problem.index)


def test_provenance_counts_passes_of_its_own_stage_only(stages, tmp_path):
    mine = fresh(stages, tmp_path)
    metric = Deletion(steps=3)
    scored = mine.evaluate(EXPLAINING, metric).provenance
    explained = mine.explain(EXPLAINING).provenance
    problem = mine.problem(EXPLAINING, {})
    assert Passes(scored["forward"], scored["backward"]) == metric.passes(problem, None)
    assert Passes(explained["forward"], explained["backward"]) == EXPLAINING.explainer.passes(problem)
    assert scored["threads"] == torch.get_num_threads()
    assert scored["versions"].keys() >= {"torch", "xaibench"}


def test_every_stage_is_reported_and_computed_once(stages, tmp_path):
    told = []
    mine = dataclasses.replace(fresh(stages, tmp_path), report=lambda stage, key, cached: told.append((stage, key, cached)))
    mine.evaluate(EXPLAINING, Sparseness())
    computed = [stage for stage, _, cached in told if not cached]
    assert sorted(computed) == ["evaluate", "explain", "predict", "train"]
    told.clear()
    mine.evaluate(EXPLAINING, Sparseness())
    assert told == [("evaluate", evaluate_key(EXPLAINING, Sparseness())[0], True)]


def keys_of(explaining: Explaining, metric: Metric) -> list[str]:
    found = (train_key(explaining.training), predict_key(explaining.training), explain_key(explaining), evaluate_key(explaining, metric))
    return [key for key, _ in found]


def altered(**changes) -> tuple[Explaining, Metric]:
    metric = changes.pop("metric", Sparseness())
    training = {name: changes.pop(name) for name in ("dataset", "model", "trainer", "seed") if name in changes}
    return dataclasses.replace(EXPLAINING, training=dataclasses.replace(TRAINING, **training), **changes), metric


CHANGES = {
    "dataset": ({"dataset": Digits(test_share=0.25)}, 0),
    "model": ({"model": Mlp()}, 0),
    "trainer": ({"trainer": Trainer(epochs=3)}, 0),
    "seed": ({"seed": 4}, 0),
    "explain_on": ({"explain_on": ExplainOn(count=7)}, 2),
    "explainer": ({"explainer": IntegratedGradients(steps=5)}, 2),
    "draw": ({"draw": 1}, 2),
    "metric": ({"metric": Deletion()}, 3),
    "accelerator": ({"trainer": Trainer(epochs=2, accelerator="cpu")}, 4),
    "the recipe spelt out": ({"trainer": Trainer(epochs=2, batch_size=128, learning_rate=1e-3)}, 4),
}


@pytest.mark.parametrize(("changes", "first"), CHANGES.values(), ids=list(CHANGES))
def test_a_change_changes_its_own_key_and_those_that_follow(changes, first):
    before, after = keys_of(*altered()), keys_of(*altered(**changes))
    assert [one != other for one, other in zip(before, after, strict=True)] == [False] * first + [True] * (4 - first)


def test_specs_are_plain_and_name_their_parents():
    key, spec = evaluate_key(EXPLAINING, Sparseness())
    assert json.loads(json.dumps(spec)) == spec
    assert spec["parents"] == {"explain": explain_key(EXPLAINING)[0]}
    assert explain_key(EXPLAINING)[1]["parents"] == {"predict": predict_key(TRAINING)[0]}
    assert spec["seed"] == 3
    assert spec["component"]["metric"]["class"] == "xaibench.metrics.sparseness.Sparseness"
    assert key == evaluate_key(EXPLAINING, Sparseness())[0]


def test_what_is_not_supported_is_raised_with_its_reason(stages):
    with pytest.raises(UnsupportedError, match="no 2D convolution"):
        stages.explain(dataclasses.replace(EXPLAINING, explainer=GradCam()))
    explaining = dataclasses.replace(EXPLAINING, explainer=Gradient())
    with pytest.raises(UnsupportedError):
        stages.evaluate(explaining, CompletenessError())
    assert not stages.store.has("evaluate", evaluate_key(explaining, CompletenessError())[0])


class Divide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Wrong only once it is trained and in eval mode on more images than a validation batch has."""
        found = self.layer(images.flatten(1))
        return found if self.training or len(images) < 200 else found / 0


@dataclasses.dataclass(frozen=True)
class Breaking(Linear):
    """Gives NaN or infinite logits on the test set."""

    def build(self, image_shape, classes):
        return Divide()


def test_logits_that_are_not_finite_are_refused(stages):
    training = dataclasses.replace(TRAINING, model=Breaking())
    with pytest.raises(ValueError, match="model=Breaking: expected finite logits"):
        stages.predict(training)
    assert not stages.store.has("predict", predict_key(training)[0])


@dataclasses.dataclass(frozen=True)
class Wrong(Metric):
    """Gives scores of another shape, or without a headline."""

    family: ClassVar = Family.COMPLEXITY
    higher_is_better: ClassVar = None
    version: ClassVar = 1

    headline: str = "value"

    def passes(self, problem: Problem) -> Passes:
        return Passes()

    def __call__(self, problem: Problem, explanation: Attributions, rng: Rng) -> Scores:
        return Scores({self.headline: problem.targets.float().mean(1) if self.headline == "value" else problem.targets.float()})


@pytest.mark.parametrize("headline", ["value", "other"])
def test_scores_of_another_shape_or_without_a_headline_are_refused(stages, headline):
    with pytest.raises(ValueError, match="expected 'value' among them"):
        stages.evaluate(EXPLAINING, Wrong(headline))


@dataclasses.dataclass(frozen=True)
class WithHelper(Random):
    """Needs a second classifier."""

    hidden: int = 8

    def needs(self, training):
        return {"judge": Training(Digits(), Mlp(hidden=(self.hidden,)), Trainer(epochs=1), 0)}

    def __call__(self, problem: Problem, rng: Rng) -> Attributions:
        assert set(problem.helpers) == {"judge"}
        with torch.inference_mode():
            judged = problem.helpers["judge"](problem.images).max(1).values
        return Attributions(super().__call__(problem, rng).values * 0 + judged[:, None, None, None, None])


def test_declared_helpers_are_trained_handed_over_and_part_of_the_key(stages):
    explaining = dataclasses.replace(EXPLAINING, explainer=WithHelper())
    (helper,) = WithHelper().needs(None).values()
    assert explain_key(explaining)[1]["parents"]["helper.judge"] == train_key(helper)[0]
    found = stages.explain(explaining).tensors["values"]
    images = arrays_of(Digits()).test.images[stages.explain(explaining).tensors["index"]]
    with torch.inference_mode():
        expected = stages.network(helper)(images).max(1).values
    torch.testing.assert_close(found[:, 0, 0, 0, 0], expected)
    assert stages.store.has("train", train_key(helper)[0])


def test_draws_differ_and_come_again(stages, tmp_path):
    explaining = [dataclasses.replace(EXPLAINING, explainer=Random(), draw=draw) for draw in (0, 1)]
    first, second = (stages.explain(item).tensors["values"] for item in explaining)
    assert not torch.equal(first, second)
    assert torch.equal(fresh(stages, tmp_path).explain(explaining[0]).tensors["values"], first)


@dataclasses.dataclass(frozen=True)
class Imitating(Procedure):
    """Trains a network on the classifier's predictions, from draws of its own."""

    steps: PositiveInt = 20
    broken: bool = False

    def needs(self, training: Training) -> Mapping[str, Training]:
        return {"older": dataclasses.replace(training, seed=training.seed + 1)}

    def __call__(
        self, network: nn.Module, classifier: nn.Module, helpers: Mapping[str, nn.Module], arrays: Arrays, rng: Rng, progress: bool
    ) -> Mapping[str, Tensor]:
        assert not any(parameter.requires_grad for parameter in (*classifier.parameters(), *helpers["older"].parameters()))
        images, optimizer, losses = arrays.train.images[:200], torch.optim.Adam(network.parameters(), 0.05), []
        wanted = (classifier(images) + helpers["older"](images)).argmax(1)
        for _ in range(self.steps):
            rows = torch.randint(0, 200, (50,), generator=torch.Generator().manual_seed(rng.seed))
            loss = nn.functional.cross_entropy(network(images[rows]), wanted[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        found = torch.stack(losses)
        return {"loss": torch.full_like(found, torch.nan) if self.broken else found}


HELPER = Training(Digits(), Mlp(hidden=(8,)), Trainer(), 3, origin=TRAINING, procedure=Imitating())


def test_a_procedure_trains_a_helper_that_is_stored(stages, tmp_path):
    mine = fresh(stages, tmp_path)
    found = mine.train(HELPER)
    assert found.group("history").keys() == {"loss"}
    assert found.group("history")["loss"].dtype == torch.float64
    assert found.group("history")["loss"][-1] < 0.8 * found.group("history")["loss"][0]
    assert len(mine.store.keys("train")) == 3  # the helper, the classifier, and the procedure's own helper
    network, images = mine.network(HELPER), arrays_of(Digits()).train.images[:200]
    assert not network.training
    wanted = sum(mine.network(dataclasses.replace(TRAINING, seed=seed))(images) for seed in (3, 4)).argmax(1)
    assert (network(images).argmax(1) == wanted).float().mean() > 0.5
    other = Stages(Store(tmp_path / "other"), Runtime("cpu")).train(HELPER)
    assert all(torch.equal(value, other.tensors[name]) for name, value in found.tensors.items())


@pytest.mark.parametrize(
    "changed",
    [
        {"procedure": Imitating(steps=21)},
        {"origin": dataclasses.replace(TRAINING, seed=8)},
        {"model": Mlp(hidden=(9,))},
        {"seed": 4},
        {"procedure": None, "origin": None},
        {"only": 2},
    ],
)
def test_a_procedures_key_holds_all_that_it_depends_on(changed):
    assert train_key(HELPER)[0] == train_key(dataclasses.replace(HELPER))[0]
    assert train_key(dataclasses.replace(HELPER, **changed))[0] != train_key(HELPER)[0]


def test_a_procedures_own_helpers_are_parents_of_its_key():
    spec = train_key(HELPER)[1]
    assert spec["parents"].keys() == {"origin", "helper.older"}
    assert spec["parents"]["origin"] == train_key(TRAINING)[0]
    assert spec["parents"]["helper.older"] == train_key(dataclasses.replace(TRAINING, seed=4))[0]


def test_a_procedure_that_diverges_is_told_and_not_stored(stages, tmp_path):
    mine = fresh(stages, tmp_path)
    with pytest.raises(TrainingError, match="expected finite losses, got others in loss"):
        mine.train(dataclasses.replace(HELPER, procedure=Imitating(broken=True)))
    assert len(mine.store.keys("train")) == 2


def test_a_procedure_needs_a_classifier():
    with pytest.raises(ValueError, match=r"Training\.origin=None"):
        Training(Digits(), Linear(), Trainer(), 0, procedure=Imitating())


def test_training_images_are_at_hand_in_the_hosts_memory(stages):
    problem, arrays = stages.problem(EXPLAINING, {}), arrays_of(Digits())
    assert problem.training_data.images.device.type == "cpu"
    assert torch.equal(problem.training_data.images, arrays.train.images)
    assert torch.equal(problem.training_data.labels, arrays.train.labels)
    assert problem.take(slice(0, 2)).training_data is problem.training_data


@dataclasses.dataclass(frozen=True)
class Fading(CounterfactualExplainer):
    """Proposes a darker image."""

    differentiates: ClassVar[bool] = False

    def most_passes(self, problem: Problem) -> Passes:
        return Passes()

    def search(self, problem: Problem, pairs: Pairs, rng: Rng) -> Proposals:
        none = torch.zeros_like(pairs.targets)
        return Proposals(0.5 * pairs.images, none, none)


def test_counterfactuals_are_stored_with_what_they_cost(stages, tmp_path):
    mine = fresh(stages, tmp_path)
    explaining = dataclasses.replace(EXPLAINING, explainer=Fading(), explain_on=ExplainOn(count=6, targets="others"))
    stored, problem = mine.explain(explaining), mine.problem(explaining, {})
    expected = Fading()(problem, explaining.rng)
    for name in searching.TENSORS:
        torch.testing.assert_close(stored.tensors[name], getattr(expected, name))
    assert stored.tensors["asked"].all()
    assert stored.tensors["targets"].shape == (6, 9)
    assert (stored.provenance["forward"], stored.provenance["backward"]) == (6 + 6 * 9, 0)
    more = dataclasses.replace(explaining, explainer=Fading(confidence=0.5))
    assert explain_key(more)[0] != explain_key(explaining)[0]
    with pytest.raises(UnsupportedError, match="scores attributions, and the explainer gives counterfactuals"):
        mine.evaluate(explaining, Sparseness())
