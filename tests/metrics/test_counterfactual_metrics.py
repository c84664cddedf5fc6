"""Validity, proximity, sparsity, IM1, IM2, oracle agreement and label variation against plain loops, by hand, and on real digits."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from xaibench import cost
from xaibench.autoencoders import ConvAutoencoder
from xaibench.component import ConfigurationError
from xaibench.datasets.digits import Digits
from xaibench.identity import Explaining, evaluate_key
from xaibench.metrics.change_sparsity import ChangeSparsity
from xaibench.metrics.im1 import Im1
from xaibench.metrics.im2 import Im2
from xaibench.metrics.label_variation import LabelVariation
from xaibench.metrics.oracle_agreement import OracleAgreement
from xaibench.metrics.proximity import Proximity
from xaibench.metrics.validity import Validity
from xaibench.models.conv10_conv20_dense50 import Conv10Conv20Dense50
from xaibench.models.conv16_conv32_gap import Conv16Conv32Gap
from xaibench.problem import Counterfactuals, Explainer, Passes, Problem, Training
from xaibench.seeding import Rng
from xaibench.selection import ExplainOn
from xaibench.training import Trainer

RNG = Rng(seed=3, component="test")
CLASSES, SHAPE = 4, (3, 7, 5)
METRICS = [Validity(), *(Proximity(norm=norm) for norm in ("l0", "l1", "l2", "linf", "l1_l2")), ChangeSparsity()]
METRICS += [Im1(), Im2(), OracleAgreement(), LabelVariation()]
HIGHER = {"Validity", "ChangeSparsity", "OracleAgreement"}


class Affine(nn.Module):
    """An "autoencoder" that gives back gain * image + shift, mirrored."""

    def __init__(self, gain, shift):
        super().__init__()
        self.gain, self.shift = gain, shift

    def forward(self, images):
        return self.gain * images.flip(3) + self.shift


class Refusing(nn.Module):
    def forward(self, images):
        raise AssertionError("asked for nothing")


class Nearest(nn.Module):
    """Logits: how near an image is to each class's mean."""

    def __init__(self, means, scale):
        super().__init__()
        self.means, self.scale = means, scale

    def forward(self, images):
        return -self.scale * (images.flatten(1)[:, None] - self.means).square().sum(dim=2)


class Projection(nn.Module):
    """The linear autoencoder with the least squared error: onto the first principal components."""

    def __init__(self, images, components):
        super().__init__()
        flat = images.flatten(1)
        self.mean = flat.mean(dim=0)
        self.basis = torch.linalg.svd(flat - self.mean, full_matrices=False).Vh[:components]

    def forward(self, images):
        return (self.mean + (images.flatten(1) - self.mean) @ self.basis.T @ self.basis).reshape(images.shape)


def linear(seed, shape=SHAPE, classes=CLASSES):
    """A linear classifier whose predictions differ from image to image."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))
    model[1].weight.data *= 5
    model[1].weight.data -= model[1].weight.data.mean(dim=1, keepdim=True)
    return model.eval().requires_grad_(False)


HELPERS = {f"autoencoder_{k}": Affine(0.5 + 0.1 * k, 0.05 * k) for k in range(CLASSES)}
HELPERS |= {"autoencoder": Affine(0.95, 0.01), "oracle": linear(9)}


def case(batch=5, chunk=2, helpers=HELPERS, seed=0):
    """A problem, all of whose four classes are targets, and counterfactuals of most pairs."""
    draw, model = torch.Generator().manual_seed(seed), linear(8)
    images = torch.rand(batch, *SHAPE, generator=draw)
    probabilities = model(images).softmax(1)
    targets = torch.stack([torch.randperm(CLASSES, generator=draw) for _ in range(batch)])
    index, labels = torch.randperm(100, generator=draw)[:batch], probabilities.argmax(1)
    problem = Problem(model, images, targets, labels, index, images[:2], probabilities, helpers=helpers, chunk=chunk)
    proposed = (images[:, None] + 0.3 * torch.randn(batch, CLASSES, *SHAPE, generator=draw)).clamp(0, 1)
    left = torch.rand(batch, CLASSES, 1, 7, 5, generator=draw) < 0.4
    proposed = torch.where(left, images[:, None], proposed)
    asked = targets != labels[:, None]
    found = asked & ((torch.arange(batch)[:, None] + torch.arange(CLASSES)) % 4 > 0)
    return problem, Counterfactuals(proposed, found, asked, torch.ones_like(targets), torch.ones_like(targets))


def score(metric, problem, explanation):
    values = metric(problem, explanation, RNG).values
    assert set(values) == {"value"}
    assert values["value"].dtype == torch.float32
    return values["value"]


def pairs(problem, explanation):
    """For each counterfactual that was found: row, column, original, counterfactual, target, predicted; images in float64."""
    predicted = problem.probabilities.argmax(1)
    for b, t in explanation.found.nonzero().tolist():
        yield b, t, problem.images[b].double(), explanation.images[b, t].double(), int(problem.targets[b, t]), int(predicted[b])


def close(found, reference, problem, explanation):
    """Whether all scores of counterfactuals are the reference's; the others must be NaN in any case."""
    assert found[~explanation.found].isnan().all()
    return all(
        math.isclose(float(found[b, t]), reference(*pair), rel_tol=2e-5, abs_tol=1e-7) for b, t, *pair in pairs(problem, explanation)
    )


def back(name, image):
    return HELPERS[name](image[None].float())[0].double()


def error(image, name):
    return float((image - back(name, image)).square().sum())


def im1(x, c, q, p, epsilon=1e-5, width=1.0):
    return width**2 * error(c, f"autoencoder_{q}") / (width**2 * error(c, f"autoencoder_{p}") + epsilon)


def im2(x, c, q, p, low=0.0, high=1.0, other="autoencoder", power=2):
    lowest, width = low, high - low
    difference = width * (back(f"autoencoder_{q}", c) - back(other, c))
    return float(difference.abs().pow(power).sum()) / (float((lowest + width * c).abs().sum()) + 1e-5)


def divergence(p, q):
    """Jensen-Shannon, by its definition with Kullback-Leibler divergences from the mean."""
    middle = (p + q) / 2
    terms = [(a, m) for a, m in ((p, middle), (1 - p, 1 - middle), (q, middle), (1 - q, 1 - middle)) if a > 0]
    return 0.5 * sum(a * math.log(a / m) for a, m in terms)


def opinion(image):
    return HELPERS["oracle"](image[None].float())[0].double().softmax(0).tolist()


def variation(x, c, q, p, touched=lambda q, p: {q, p}, measure=divergence):
    before, after = opinion(x), opinion(c)
    terms = [measure(before[k], after[k]) for k in range(CLASSES) if k not in touched(q, p)]
    return sum(terms) / len(terms)


def changes_of(x, c, tolerance=1 / 512):
    """For each pixel, whether a channel changed."""
    _, height, width = x.shape
    return [any(abs(float(c[k, i, j] - x[k, i, j])) > tolerance for k in range(3)) for i in range(height) for j in range(width)]


def sparsity(x, c, q, p, channels=False):
    if channels:
        return float(((c - x).abs() <= 1 / 512).double().mean())
    return 1 - sum(changes_of(x, c)) / len(changes_of(x, c))


def proximity(norm, width=1.0):
    def reference(x, c, q, p):
        numbers = [abs(number) for number in (c - x).flatten().tolist()]
        norms = {"l0": sum(changes_of(x, c)) / width, "l1": sum(numbers), "l2": sum(n * n for n in numbers) ** 0.5, "linf": max(numbers)}
        return width * sum(norms[part] for part in norm.split("_"))

    return reference


def squared_elastic_net(x, c, q, p):
    return float((c - x).abs().sum() + (c - x).square().sum())


def swapped(reference):
    return lambda x, c, q, p: reference(x, c, p, q)


ORACLES = {  # metric, its definition as a loop, and faults that must be seen
    "l0": (Proximity(norm="l0"), proximity("l0"), [lambda x, c, q, p: float(((c - x).abs() > 1 / 512).sum()), proximity("l1")]),
    "l1": (Proximity(norm="l1"), proximity("l1"), [proximity("l1", 105.0), proximity("l2")]),
    "l2": (Proximity(norm="l2"), proximity("l2"), [lambda x, c, q, p: float((c - x).square().sum())]),
    "linf": (Proximity(norm="linf"), proximity("linf"), [lambda x, c, q, p: float((c - x).max())]),
    "l1_l2": (Proximity(norm="l1_l2"), proximity("l1_l2"), [squared_elastic_net, proximity("l1")]),
    "l2 in bytes": (Proximity(norm="l2", input_range=(0, 255)), proximity("l2", 255.0), [proximity("l2")]),
    "l0 in bytes": (Proximity(norm="l0", input_range=(0, 255)), proximity("l0"), [lambda x, c, q, p: 255 * proximity("l0")(x, c, q, p)]),
    "sparsity": (ChangeSparsity(), sparsity, [lambda *pair: 1 - sparsity(*pair), lambda *pair: sparsity(*pair, channels=True)]),
    "im1": (Im1(), im1, [swapped(im1), lambda x, c, q, p: im1(x, x, q, p), lambda x, c, q, p: im1(x, c, q, p) ** 0.5]),
    "im2": (Im2(), im2, [swapped(im2), lambda *pair: im2(*pair, power=1), lambda *pair: im2(*pair, low=-0.5, high=0.5)]),
    "im2 around 0": (Im2(input_range=(-0.5, 0.5)), lambda *pair: im2(*pair, low=-0.5, high=0.5), [im2]),
    "im2 in bytes": (Im2(input_range=(0, 255)), lambda *pair: im2(*pair, high=255.0), [im2, lambda *pair: im2(*pair) * 255**2]),
    "oracle agreement": (
        OracleAgreement(),
        lambda x, c, q, p: float(max(range(CLASSES), key=opinion(c).__getitem__) == q),
        [lambda x, c, q, p: float(max(range(CLASSES), key=opinion(x).__getitem__) == q), lambda x, c, q, p: opinion(c)[q]],
    ),
    "label variation": (
        LabelVariation(),
        variation,
        [
            lambda *pair: variation(*pair, touched=lambda q, p: {q}),
            lambda *pair: variation(*pair, touched=lambda q, p: {p}),
            lambda *pair: variation(*pair, measure=lambda p, q: divergence(p, q) / math.log(2)),
            lambda *pair: variation(*pair, measure=lambda p, q: abs(p - q)),
        ],
    ),
}


@pytest.mark.parametrize("name", ORACLES)
def test_it_is_the_definition_and_no_near_miss(name):
    metric, reference, mutants = ORACLES[name]
    problem, explanation = case()
    assert 5 < explanation.found.sum() < explanation.asked.sum()
    assert len(problem.labels.unique()) > 2
    found = score(metric, problem, explanation)
    assert close(found, reference, problem, explanation)
    assert not any(close(found, mutant, problem, explanation) for mutant in mutants)


def by_hand(original, counterfactual, helpers, target=1, probabilities=(0.7, 0.2, 0.06, 0.04)):
    """One pair of images of 1 x 2 pixels, whose predicted class is 0."""
    x, c = (torch.tensor(values).reshape(1, 1, 1, 2) for values in (original, counterfactual))
    one = torch.ones(1, 1, dtype=torch.int64)
    problem = Problem(linear(0, (1, 1, 2)), x, one * target, one[0], one[0], x, torch.tensor([probabilities]), helpers=helpers)
    return problem, Counterfactuals(c[None], one > 0, one > 0, one, one)


class Gives(nn.Module):
    """Gives the same for every image."""

    def __init__(self, values):
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, images):
        return self.values.expand(len(images), *self.values.shape)


def test_im1_and_im2_by_hand():
    helpers = {"autoencoder_0": Gives([[[0.0, 0.0]]]), "autoencoder_1": Gives([[[0.4, 0.2]]]), "autoencoder": Gives([[[0.1, 0.6]]])}
    problem, explanation = by_hand([0.0, 0.0], [0.8, 0.5], helpers)
    # |c - AE_1|^2 = .4^2 + .3^2, |c - AE_0|^2 = .8^2 + .5^2, |AE_1 - AE|^2 = .3^2 + .4^2; |c|_1 = 1.3, and .3 + 0 in [-.5, .5]
    assert score(Im1(), problem, explanation).item() == pytest.approx(0.25 / 0.89001, rel=1e-6)
    assert score(Im2(), problem, explanation).item() == pytest.approx(0.25 / 1.30001, rel=1e-6)
    assert score(Im2(input_range=(-0.5, 0.5)), problem, explanation).item() == pytest.approx(0.25 / 0.30001, rel=1e-5)
    perfect = replace(problem, helpers=helpers | {"autoencoder_0": Gives([[[0.8, 0.5]]])})
    assert score(Im1(), perfect, explanation).item() == pytest.approx(0.25 / 1e-5, rel=1e-5)
    black = replace(explanation, images=torch.zeros(1, 1, 1, 1, 2))
    assert score(Im2(), problem, black).item() == pytest.approx(0.25 / 1e-5, rel=1e-5)
    assert score(Im1(), replace(problem, targets=problem.labels[:, None] * 0), explanation).isnan().all()  # the predicted class


class Opinions(nn.Module):
    """Logits whose softmax is the first row for images that begin dark, and the second for others."""

    def __init__(self, dark, bright):
        super().__init__()
        self.rows = torch.tensor([dark, bright]).log()

    def forward(self, images):
        return self.rows[(images[:, 0, 0, 0] > 0.5).long()]


def test_label_variation_and_oracle_agreement_by_hand():
    def of(dark, bright, target=1):
        problem, explanation = by_hand([0.0, 0.0], [1.0, 0.0], {"oracle": Opinions(dark, bright)}, target)
        return score(LabelVariation(), problem, explanation).item(), score(OracleAgreement(), problem, explanation).item()

    assert of([0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]) == (pytest.approx(0.0, abs=1e-9), 1.0)
    # class 2 from .1 to .7, whose mean is .4, and class 3 as it was: half of the one divergence
    moved = 0.5 * (0.1 * math.log(0.1 / 0.4) + 0.9 * math.log(0.9 / 0.6) + 0.7 * math.log(0.7 / 0.4) + 0.3 * math.log(0.3 / 0.6))
    assert of([0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1]) == (pytest.approx(moved / 2, rel=1e-5), 0.0)
    # from certain to certain: ln 2 for class 2, the largest there is
    assert of([1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]) == (pytest.approx(math.log(2) / 2), 0.0)
    # the target is what was predicted, so that three classes are not involved
    assert of([0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1], target=0)[0] == pytest.approx(moved / 3, rel=1e-5)


def test_a_nan_of_the_oracle_gives_nan_and_only_there():
    problem, explanation = by_hand([0.0, 0.0], [1.0, 0.0], {"oracle": Opinions([0.4, 0.3, 0.2, 0.1], [math.nan, 0.5, 0.3, 0.2])})
    assert score(OracleAgreement(), problem, explanation).isnan().all()
    assert score(LabelVariation(), problem, explanation).isnan().all()
    dark = replace(explanation, images=torch.zeros_like(explanation.images))
    assert score(OracleAgreement(), problem, dark).item() == 0
    assert score(LabelVariation(), problem, dark).item() == 0


def test_proximity_and_sparsity_by_hand():
    problem, explanation = case(batch=1)
    change = torch.zeros(SHAPE)
    change[0, 2, 3], change[1, 2, 3], change[2, 6, 4] = 0.3, -0.4, 0.0019  # the last below half a step of grey
    problem = replace(problem, images=torch.full((1, *SHAPE), 0.5))
    explanation = replace(explanation, images=(problem.images[:, None] + change).repeat(1, 4, 1, 1, 1), found=torch.ones(1, 4) > 0)
    expected = {"l0": 1.0, "l1": 0.7019, "l2": 0.5, "linf": 0.4, "l1_l2": 1.2019}
    for norm, value in expected.items():
        assert score(Proximity(norm=norm), problem, explanation).tolist() == [[pytest.approx(value, rel=1e-5)] * 4]
    assert score(ChangeSparsity(), problem, explanation)[0, 0].item() == pytest.approx(34 / 35)
    assert score(ChangeSparsity(tolerance=0.001), problem, explanation)[0, 0].item() == pytest.approx(33 / 35)
    assert score(Proximity(norm="l0", tolerance=0.4001), problem, explanation)[0, 0].item() == 0.0


def test_validity_tells_found_from_not_found_from_not_asked():
    problem, explanation = case()
    found = score(Validity(), problem, explanation)
    for b in range(5):
        for t in range(CLASSES):
            asked, there = bool(explanation.asked[b, t]), bool(explanation.found[b, t])
            assert (float(found[b, t]) == float(there)) if asked else found[b, t].isnan()
    assert {0.0, 1.0} <= set(found.flatten().tolist())
    assert found.isnan().sum() == 5  # each image's own class


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_where_none_was_found_no_helper_is_asked(metric):
    problem, explanation = case(helpers=dict.fromkeys(HELPERS, Refusing()))
    found = score(metric, problem, replace(explanation, found=torch.zeros_like(explanation.found)))
    expected = torch.where(explanation.asked, 0.0, torch.nan) if isinstance(metric, Validity) else torch.full((5, CLASSES), torch.nan)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_a_score_depends_on_its_pair_alone_and_takes_no_pass_through_the_classifier(metric):
    problem, explanation = case()
    before = [explanation.images.clone(), problem.images.clone()]
    with cost.measure(problem.model) as counted:
        whole = score(metric, problem, explanation)
    assert counted.passes == metric.passes(problem, Explainer) == Passes()
    assert torch.equal(before[0], explanation.images)
    assert torch.equal(before[1], problem.images)
    order = torch.tensor([3, 0, 4])
    part = score(metric, replace(problem, chunk=100).take(order), explanation.take(order))
    torch.testing.assert_close(part, whole[order], rtol=1e-5, atol=1e-7, equal_nan=True)


@pytest.mark.parametrize(
    ("metric", "of_pair", "of_image"), [(Im1(), 2, 0), (Im2(), 2, 0), (OracleAgreement(), 1, 0), (LabelVariation(), 1, 1)]
)
def test_each_pair_goes_once_through_the_helpers_that_it_needs_in_chunks(metric, of_pair, of_image):
    problem, explanation = case()
    sizes = []
    handles = [helper.register_forward_hook(lambda *taken: sizes.append(len(taken[2]))) for helper in HELPERS.values()]
    score(metric, problem, explanation)
    for handle in handles:
        handle.remove()
    assert sum(sizes) == of_pair * explanation.found.sum() + of_image * explanation.found.any(dim=1).sum()
    assert max(sizes) == problem.chunk


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_counterfactuals_of_another_shape_are_refused(metric):
    problem, explanation = case()
    with pytest.raises(ValueError, match=r"Counterfactuals.images of shape \(5, 4, 3, 7, 4\): expected \(5, 4, 3, 7, 5\)"):
        metric(problem, replace(explanation, images=explanation.images[..., :4]), RNG)


TRAINING = Training(Digits(), Conv16Conv32Gap(), Trainer(), 2)


@pytest.mark.parametrize("metric", [Im1(), Im2()])
def test_an_autoencoder_of_all_and_one_of_each_class_are_asked_for(metric):
    needs = replace(metric, autoencoder=ConvAutoencoder(latent=7, epochs=3)).needs(TRAINING, None)
    assert {name: training.only for name, training in needs.items()} == {"autoencoder": None} | {f"autoencoder_{k}": k for k in range(10)}
    assert {(training.model.latent, training.trainer.epochs, training.seed) for training in needs.values()} == {(7, 3, 2)}


def test_the_oracle_is_the_classifier_of_another_seed_or_another_architecture():
    (same,) = OracleAgreement().needs(TRAINING, None).values()
    (other,) = LabelVariation(oracle=Conv10Conv20Dense50()).needs(TRAINING, None).values()
    assert replace(same, seed=2) == TRAINING != same
    assert other == replace(same, model=Conv10Conv20Dense50())
    assert OracleAgreement().needs(replace(TRAINING, seed=3), None)["oracle"].seed != same.seed


def test_helpers_and_input_range_are_part_of_the_scores_key():
    from xaibench.explainers.gradient import Gradient  # any explainer: its kind does not matter to a key

    explaining = Explaining(TRAINING, ExplainOn(), Gradient())
    metrics = [Im2(), Im2(input_range=(-0.5, 0.5)), Im2(autoencoder=ConvAutoencoder(epochs=3)), Im1(), OracleAgreement()]
    metrics += [OracleAgreement(oracle=Conv10Conv20Dense50()), LabelVariation(), Proximity(), Proximity(norm="l2")]
    assert len({evaluate_key(explaining, metric)[0] for metric in metrics}) == len(metrics)


@pytest.mark.parametrize("metric", [Im1(), Im2()])
def test_a_collapsed_autoencoder_is_told(metric):
    problem, _ = case(batch=20)
    collapsed = replace(problem, helpers={"autoencoder": Affine(0.0, 0.5)})
    assert "the autoencoder is not good enough" in metric.unsupported(collapsed, None)
    assert replace(metric, least_agreement=0.0).unsupported(collapsed, None) is None
    assert metric.unsupported(replace(problem, helpers={"autoencoder": nn.Identity()}), None) is None
    assert metric.unsupported(replace(problem, helpers={}), None) is None  # a plan has none yet


@pytest.mark.parametrize("metric", [Im1(), Im2(), OracleAgreement(), LabelVariation()])
def test_without_a_model_nothing_can_be_trained(metric):
    problem, _ = case(helpers={})
    assert metric.unsupported(problem, None) is None
    assert "only predictions are known" in metric.unsupported(replace(problem, model=None), None)


def test_what_else_cannot_be_done_is_told():
    problem, _ = case()
    two = replace(problem, probabilities=problem.probabilities[:, :2])
    assert "two classes" in LabelVariation().unsupported(two, None)
    assert OracleAgreement().unsupported(two, None) is None
    assert OracleAgreement(oracle=Conv16Conv32Gap()).unsupported(problem, None) is None
    assert OracleAgreement(oracle=Conv10Conv20Dense50()).unsupported(problem, None)  # takes no image as small as these
    with pytest.raises(ConfigurationError, match=r"LabelVariation\.oracle=ConvAutoencoder.*expected a classifier"):
        LabelVariation(oracle=ConvAutoencoder())
    for metric in (Proximity, Im1, Im2):
        with pytest.raises(ConfigurationError, match=r"input_range=\(1\.0, 1\.0\): expected the darkest value first"):
            metric(input_range=(1, 1))


@cache
def digits():
    """Real digits: for 4 images of class 0 as many real images of each class, the original unchanged, and noise of the same brightness."""
    data = Digits().load().train
    of = [data.images[data.labels == k] for k in range(10)]
    helpers = {f"autoencoder_{k}": Projection(of[k], 6) for k in range(10)} | {"autoencoder": Projection(data.images, 25)}
    helpers["oracle"] = Nearest(torch.stack([images.mean(dim=0).flatten() for images in of]), 2.0)
    ones = torch.ones(4, 1, dtype=torch.int64)
    one_hot = nn.functional.one_hot(0 * ones[:, 0], 10).float()
    problem = Problem(linear(0, (1, 8, 8), 10), of[0][:4], ones, 0 * ones[:, 0], torch.arange(4), of[0], one_hot, helpers=helpers)
    noise = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 * of[1].mean()
    proposals = {"one": of[1][:4], "six": of[6][:4], "unchanged": of[0][:4], "noise": noise}
    proposals["fooling"] = (of[0][:4] + 0.02 * (2 * torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1)) - 1)).clamp(0, 1)
    return problem, {name: Counterfactuals(images[:, None], ones > 0, ones > 0, ones, ones) for name, images in proposals.items()}


@pytest.mark.parametrize(
    ("metric", "good", "bad"),
    [
        (Im1(), "one", "unchanged"),
        (Im1(), "one", "fooling"),
        (Im2(), "one", "noise"),
        (OracleAgreement(), "one", "fooling"),
        (OracleAgreement(), "one", "six"),
        (LabelVariation(), "one", "six"),
        (LabelVariation(), "fooling", "six"),
        (Proximity(), "fooling", "one"),
        (ChangeSparsity(), "unchanged", "one"),
    ],
)
def test_of_real_digits_the_good_counterfactual_of_a_one_is_the_better(metric, good, bad):
    problem, proposals = digits()
    better, worse = (score(metric, problem, proposals[name]).mean().item() for name in (good, bad))
    assert better > worse if type(metric).__name__ in HIGHER else better < worse
    assert metric.higher_is_better == (type(metric).__name__ in HIGHER)
    assert math.isfinite(better - worse)


def test_of_real_digits_im1_tells_the_classes_apart():
    problem, proposals = digits()
    assert score(Im1(), problem, proposals["one"]).max() < 0.6
    assert score(Im1(), problem, proposals["unchanged"]).min() > 1.5
