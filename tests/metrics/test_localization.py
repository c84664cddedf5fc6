"""Localization metrics against a few plain lines of each definition on single maps, and against what maps without information get."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from ranking_cases import RNG, conv_problem
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import roc_auc_score

from xaibench.explainers.gradient import Gradient
from xaibench.metrics.attribution_localization import AttributionLocalization
from xaibench.metrics.earth_movers_distance import EarthMoversDistance
from xaibench.metrics.focus import Focus
from xaibench.metrics.localization_auc import LocalizationAuc
from xaibench.metrics.pointing_game import PointingGame
from xaibench.metrics.relevance_mass import RelevanceMass
from xaibench.metrics.relevance_rank import RelevanceRank
from xaibench.metrics.top_k_intersection import TopKIntersection
from xaibench.problem import Attributions, Passes

HEIGHT, WIDTH = 6, 8
DIAGONAL = math.hypot(HEIGHT - 1, WIDTH - 1)


def drawn(seed):
    return torch.Generator().manual_seed(seed)


def problem_of(masks):
    problem = conv_problem(batch=masks.shape[0], targets=masks.shape[1])
    return replace(problem, model=None, images=torch.rand(len(masks), 3, *masks.shape[2:], generator=drawn(1)), masks=masks)


def random_masks(batch=4, targets=2, seed=2):
    """Of 1 to 40 pixels."""
    masks = torch.rand(batch, targets, HEIGHT, WIDTH, generator=drawn(seed)) < torch.rand(batch, targets, 1, 1, generator=drawn(seed + 1))
    masks[..., 2, 3], masks[..., 0, 0] = True, False
    return masks


def quarter_masks(batch=4, targets=2):
    masks = torch.zeros(batch, targets, HEIGHT, WIDTH, dtype=torch.bool)
    masks[0, :, : HEIGHT // 2, : WIDTH // 2] = True
    masks[1:, :, HEIGHT // 2 :, : WIDTH // 2] = True
    masks[2:, :, : HEIGHT // 2, WIDTH // 2 :] = True
    return masks


def tied_maps(masks, channels=3, seed=4):
    """Small integers: many pixels are equal, also at the top."""
    return torch.randint(-2, 3, (*masks.shape[:2], channels, *masks.shape[2:]), generator=drawn(seed)).float()


def scored(metric, masks, maps, name="value"):
    return metric(problem_of(masks), Attributions(maps), RNG).values[name]


# --- definitions: lists of pixels' values and whether they are in the mask, pooled by the sum unless said otherwise


def flat(grid):
    return [value for row in grid for value in row]


def pointing_game(pixels, mask, tolerance=0.0, size=float, first=False):
    values, inside = [size(sum(channels)) for channels in flat(pixels)], flat(mask)
    places = list(itertools.product(range(HEIGHT), range(WIDTH)))
    highest = [place for place, value in zip(places, values, strict=True) if value == max(values)][: 1 if first else None]
    objects = [place for place, there in zip(places, inside, strict=True) if there]
    return sum(min(math.dist(place, other) for other in objects) <= tolerance for place in highest) / len(highest)


def highest_inside(values, inside, count):
    """The mean over the orders of equal pixels, by linearity: each of them is as likely to be among the first."""
    lowest = sorted(values, reverse=True)[count - 1]
    chance = Fraction(count - sum(value > lowest for value in values), values.count(lowest))
    return float(sum(1 if value > lowest else chance for value, there in zip(values, inside, strict=True) if there and value >= lowest))


def top_k(pixels, mask, k=7, size=float):
    return highest_inside([size(sum(channels)) for channels in flat(pixels)], flat(mask), k) / k


NORMS = {
    "sum_positive": lambda channels: max(sum(channels), 0.0),
    "sum_absolute": lambda channels: abs(sum(channels)),
    "l1_norm": lambda channels: sum(map(abs, channels)),
    "max_norm": lambda channels: max(map(abs, channels)),
    "l2_norm": lambda channels: math.hypot(*channels),
    "l2_norm_squared": lambda channels: sum(value**2 for value in channels),
}


def rank(pixels, mask, norm="l2_norm_squared"):
    inside = flat(mask)
    return highest_inside([NORMS[norm](channels) for channels in flat(pixels)], inside, sum(inside)) / sum(inside)


def mass(pixels, mask, norm="l2_norm_squared", weighted=False):
    values, inside = [NORMS[norm](channels) for channels in flat(pixels)], flat(mask)
    share = sum(value for value, there in zip(values, inside, strict=True) if there) / sum(values)
    return share * len(inside) / sum(inside) if weighted else share


def auc(pixels, mask, ties=0.5, size=float):
    values, inside = [size(sum(channels)) for channels in flat(pixels)], flat(mask)
    ins, outs = ([value for value, there in zip(values, inside, strict=True) if there == side] for side in (True, False))
    return sum((a > b) + ties * (a == b) for a in ins for b in outs) / len(ins) / len(outs)


def earth_movers(pixels, mask, size=abs, longest=DIAGONAL, apart=math.dist):
    """Masses that are whole numbers, as so many units, each of which is assigned to a unit of the mask."""
    values, inside = [round(size(sum(channels))) for channels in flat(pixels)], flat(mask)
    places = list(itertools.product(range(HEIGHT), range(WIDTH)))
    units = [place for place, value in zip(places, values, strict=True) for _ in range(value * sum(inside))]
    wanted = [place for place, there in zip(places, inside, strict=True) for _ in range(there * sum(values))]
    costs = torch.tensor([[apart(a, b) for b in wanted] for a in units], dtype=torch.float64).numpy()
    rows, columns = linear_sum_assignment(costs)
    return 1 - costs[rows, columns].mean() / longest


def city(a, b):
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def few(masks):
    """A handful of pixels of whole relevance, of both signs."""
    maps = torch.where(torch.rand(*masks.shape[:2], 1, *masks.shape[2:], generator=drawn(6)) < 0.1, tied_maps(masks, 1), 0.0)
    maps[..., 1, 4] = 3.0
    return maps


def small(masks):
    return torch.rand(masks.shape, generator=drawn(7)) < 0.1


CASES = {
    "pointing": (PointingGame(), pointing_game, [lambda p, m: pointing_game(p, m, first=True), lambda p, m: pointing_game(p, m, size=abs)]),
    "pointing, tolerance": (
        PointingGame(tolerance=1.5, absolute=True),
        lambda p, m: pointing_game(p, m, 1.5, abs),
        [lambda p, m: pointing_game(p, m, 1.0, abs), lambda p, m: pointing_game(p, m, 2.0, abs), lambda p, m: pointing_game(p, m, 1.5)],
    ),
    "top k": (TopKIntersection(k=7), top_k, [lambda p, m: top_k(p, m, 8), lambda p, m: top_k(p, m, size=abs)]),
    "top k, absolute": (TopKIntersection(k=7, absolute=True), lambda p, m: top_k(p, m, size=abs), [top_k]),
    "auc": (LocalizationAuc(), auc, [lambda p, m: auc(p, m, 0.0), lambda p, m: auc(p, m, 1.0), lambda p, m: 1 - auc(p, m)]),
    "auc, absolute": (LocalizationAuc(absolute=True), lambda p, m: auc(p, m, size=abs), [auc]),
    "attribution": (
        AttributionLocalization(),
        lambda p, m: mass(p, m, "sum_positive", weighted=True),
        [lambda p, m: mass(p, m, "sum_positive"), lambda p, m: mass(p, m, "sum_absolute", weighted=True)],
    ),
    "earth": (
        EarthMoversDistance(),
        earth_movers,
        [
            lambda p, m: earth_movers(p, m, size=lambda value: max(value, 0)),
            lambda p, m: earth_movers(p, m, longest=10.0),
            lambda p, m: earth_movers(p, m, apart=city),
        ],
    ),
}
for norm in NORMS:
    others = [other for other in NORMS if {norm, other} != {"l2_norm", "l2_norm_squared"}]
    faulty = {kind: [lambda p, m, f=f, o=o: f(p, m, o) for o in others if o != norm] for kind, f in (("rank", rank), ("mass", mass))}
    CASES[f"rank, {norm}"] = (RelevanceRank(pooling=norm), lambda p, m, n=norm: rank(p, m, n), faulty["rank"])
    CASES[f"mass, {norm}"] = (RelevanceMass(pooling=norm), lambda p, m, n=norm: mass(p, m, n), faulty["mass"])


def check(metric, masks, maps, oracle):
    found = scored(metric, masks, maps)
    pixels = maps.double().permute(0, 1, 3, 4, 2).tolist()
    for b, t in itertools.product(*map(range, masks.shape[:2])):
        assert found[b, t].item() == pytest.approx(oracle(pixels[b][t], masks[b, t].tolist()), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_the_definition(case):
    metric, oracle, mutants = CASES[case]
    masks = random_masks()
    if isinstance(metric, EarthMoversDistance) or case == "pointing, tolerance":
        masks = small(masks)
        masks[..., 2, 3] = True
    maps = few(masks) if isinstance(metric, EarthMoversDistance) else tied_maps(masks)
    check(metric, masks, maps, oracle)
    for mutant in mutants:
        with pytest.raises(AssertionError):
            check(metric, masks, maps, mutant)


def test_focus_is_the_share_of_the_positive_relevance_in_the_targets_quarters():
    masks = quarter_masks()
    maps = tied_maps(masks)
    check(Focus(), masks, maps, lambda p, m: mass(p, m, "sum_positive"))
    for norm in ("sum_absolute", "l1_norm"):
        with pytest.raises(AssertionError):
            check(Focus(), masks, maps, lambda p, m, norm=norm: mass(p, m, norm))


def test_the_expectation_over_ties_is_the_mean_over_all_orders():
    """Six pixels, three of them equal, of which two come among the highest three."""
    values, inside = [5.0, 2.0, 2.0, 2.0, 1.0, 0.0], [False, True, True, False, True, False]
    hits = []
    for order in itertools.permutations(range(6)):
        highest = sorted(order, key=lambda pixel: -values[pixel])[:3]  # stable: equal ones stay in the order drawn
        hits.append(sum(inside[pixel] for pixel in highest) / 3)
    masks, maps = torch.tensor(inside).reshape(1, 1, 2, 3), torch.tensor(values).reshape(1, 1, 1, 2, 3)
    for metric in (TopKIntersection(k=3), RelevanceRank()):
        assert scored(metric, masks, maps).item() == pytest.approx(sum(hits) / len(hits))


def test_parity_of_the_auc_with_scikit_learn():
    masks = random_masks(batch=12)
    for maps in (tied_maps(masks), torch.randn(12, 2, 3, HEIGHT, WIDTH, generator=drawn(9))):
        found = scored(LocalizationAuc(), masks, maps)
        expected = [
            roc_auc_score(m.flatten(), a.double().sum(0).flatten()) for m, a in zip(masks.flatten(0, 1), maps.flatten(0, 1), strict=True)
        ]
        assert found.flatten().tolist() == pytest.approx(expected, rel=1e-6)


# --- earth mover's distance


def place(*pixels, size=(9, 9)):
    grid = torch.zeros(1, 1, *size)
    for row, column in pixels:
        grid[..., row, column] = 1.0
    return grid


def distance(maps, mask, **fields):
    return scored(EarthMoversDistance(**fields), mask > 0, maps[:, :, None], "distance").item()


def test_the_distance_between_a_shape_and_itself_moved_is_the_length_of_the_move():
    shape = [(1, 1), (2, 1), (2, 2), (3, 1)]
    moved = [(row + 3, column + 4) for row, column in shape]
    assert distance(place(*shape), place(*moved)) == pytest.approx(5.0, rel=1e-6)
    assert distance(-3 * place(*shape), place(*shape)) == pytest.approx(0.0, abs=1e-7)
    value = scored(EarthMoversDistance(), place((8, 8)) > 0, place((0, 0))[:, :, None])
    assert value.item() == pytest.approx(0.0, abs=1e-6)


def test_larger_images_are_approximated_within_the_size_of_a_cell():
    masks, draw = small(torch.zeros(3, 2, HEIGHT, WIDTH)), drawn(3)
    masks[..., 4, 1] = True
    maps = torch.rand(3, 2, 1, HEIGHT, WIDTH, generator=draw) ** 6
    exact, coarse = (scored(EarthMoversDistance(side=side), masks, maps, "distance") for side in (8, 3))
    assert ((exact - coarse).abs() <= math.hypot(1, 2)).all()  # cells of 2 x 2 or 2 x 3 pixels
    assert ((exact - coarse).abs() > 1e-3).any()
    assert torch.equal(exact, scored(EarthMoversDistance(side=14), masks, maps, "distance"))


def test_cells_lie_at_the_mean_of_their_pixels():
    cells, places = EarthMoversDistance(side=2)._cells(3, 4)
    assert cells.sum(0).tolist() == [4, 4, 2, 2]
    assert places.tolist() == [[0.5, 0.5], [0.5, 2.5], [2.0, 0.5], [2.0, 2.5]]


# --- what all of them have in common

METRICS = [
    *(PointingGame(), TopKIntersection(), RelevanceMass(), RelevanceRank(), LocalizationAuc()),
    *(AttributionLocalization(), Focus(), EarthMoversDistance()),
]
named = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)


with_chance = pytest.mark.parametrize("metric", METRICS[:-1], ids=lambda metric: type(metric).__name__)


def chance(metric, masks):
    share = masks.double().mean(dim=(2, 3))
    special = {LocalizationAuc: torch.full_like(share, 0.5), AttributionLocalization: torch.ones_like(share)}
    return special.get(type(metric), share)


@with_chance
def test_a_constant_map_has_the_value_of_chance(metric):
    masks = quarter_masks()
    assert torch.allclose(scored(metric, masks, torch.full((4, 2, 3, HEIGHT, WIDTH), 0.3)).double(), chance(metric, masks), atol=1e-6)


@with_chance
def test_random_maps_have_the_value_of_chance_in_the_mean(metric):
    masks = quarter_masks(batch=800, targets=1)[2:]
    found = scored(metric, masks, torch.randn(798, 1, 1, HEIGHT, WIDTH, generator=drawn(0))).double()
    error = found.mean() - chance(metric, masks)[0, 0]
    assert error.abs() < 4 * found.std() / 798**0.5
    assert found.std() > 0.01


@named
def test_the_best_map_has_the_best_value_and_its_negative_or_complement_does_not(metric):
    masks = quarter_masks()
    best = masks[:, :, None].float()
    top = 1 / masks.double().mean(dim=(2, 3)) if isinstance(metric, AttributionLocalization) else torch.ones(4, 2, dtype=torch.float64)
    assert torch.allclose(scored(metric, masks, best).double(), top)
    assert (scored(metric, masks, 1 - best).double() < top - 0.2).all()
    assert metric.higher_is_better is True


@named
def test_undefined_scores_are_nan_and_leave_the_others_alone(metric):
    masks, maps = quarter_masks(), tied_maps(quarter_masks())
    expected = scored(metric, masks, maps)
    masks[0, 1] = False
    maps[2, 0, 1, 3, 3], maps[3, 1, 0, 0, 0] = torch.nan, torch.inf
    found = scored(metric, masks, maps)
    assert found.isnan().nonzero().tolist() == [[0, 1], [2, 0], [3, 1]]
    assert torch.equal(found[~found.isnan()], expected[~found.isnan()])


@named
def test_maps_of_zeros_and_full_masks(metric):
    zeros, full = torch.zeros(4, 2, 3, HEIGHT, WIDTH), torch.ones(4, 2, HEIGHT, WIDTH, dtype=torch.bool)
    ranked = isinstance(metric, PointingGame | TopKIntersection | RelevanceRank | LocalizationAuc)
    assert scored(metric, quarter_masks(), zeros).isnan().all() == (not ranked)
    everything = scored(metric, full, tied_maps(full))
    if isinstance(metric, LocalizationAuc):
        assert everything.isnan().all()
    elif not isinstance(metric, EarthMoversDistance):
        assert torch.allclose(everything, torch.ones(4, 2))


@named
def test_scale_does_not_matter_nor_order_nor_neighbors(metric):
    masks, maps = quarter_masks(), tied_maps(quarter_masks())
    found = scored(metric, masks, maps)
    assert torch.allclose(scored(metric, masks, 2e-5 * maps), found, rtol=1e-5)
    assert torch.allclose(scored(metric, masks.flip(0), maps.flip(0)), found.flip(0), rtol=1e-6)
    assert torch.allclose(scored(metric, masks[1:2], maps[1:2]), found[1:2], rtol=1e-6)


@named
def test_masks_are_needed_and_must_fit(metric):
    problem = problem_of(quarter_masks())
    assert metric.unsupported(problem, Gradient()) is None
    assert metric.passes(problem, Gradient()) == Passes()
    assert "true masks" in metric.unsupported(replace(problem, masks=None), Gradient())
    with pytest.raises(ValueError, match=r"\(4, 1, 6, 8\).*\(4, 2, 6, 8\)"):
        metric(replace(problem, masks=problem.masks[:, :1]), Attributions(tied_maps(problem.masks)), RNG)
    with pytest.raises(ValueError, match=r"\(4, 2, 3, 6, 7\).*\(4, 3, 6, 8\)"):
        metric(problem, Attributions(torch.zeros(4, 2, 3, 6, 7)), RNG)


def test_no_two_of_them_are_the_same_number():
    masks = quarter_masks()
    maps = torch.randn(4, 2, 3, HEIGHT, WIDTH, generator=drawn(5))
    found = {type(metric).__name__: scored(metric, masks, maps) for metric in METRICS}
    for one, other in itertools.combinations(found, 2):
        assert not torch.allclose(found[one], found[other], atol=1e-3), (one, other)


def test_metrics_say_which_masks_and_images_they_cannot_take():
    assert "mosaics" in Focus().unsupported(problem_of(random_masks()), Gradient())
    assert "mosaics" in Focus().unsupported(problem_of(torch.ones(2, 2, 7, 8, dtype=torch.bool)), Gradient())
    assert "48" in TopKIntersection(k=49).unsupported(problem_of(random_masks()), Gradient())
    assert TopKIntersection(k=48).unsupported(problem_of(random_masks()), Gradient()) is None
