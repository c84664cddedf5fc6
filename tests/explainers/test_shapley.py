"""Estimators of Shapley values against definitions and algebra; every check must reject mutants of what passes it."""

import dataclasses
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from explainer_cases import RNG, Explain, all_classes, conv_problem, frozen, linear_problem, make_problem, next_target, rejects
from torch import Tensor, nn
from torch.testing import assert_close

from xaibench import cost
from xaibench.explainers import coalitions, kernel_shap
from xaibench.explainers.exact_shapley import ExactShapley, all_coalitions
from xaibench.explainers.kernel_shap import KernelShap, draw_pairs, linear_regression, paired, regression, sampled_coalitions
from xaibench.explainers.owen_shapley import OwenShapley, hierarchy
from xaibench.explainers.permutation_shapley import PermutationShapley, permutations
from xaibench.problem import Problem
from xaibench.removal import Blur, Constant, Marginal, Removal
from xaibench.superpixels import Pixels, Slic, Squares

Players = list[tuple[slice, slice]]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_network(side: int, channels: int = 2) -> Problem:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, 9), nn.Tanh(), nn.Linear(9, 3))
    shape = (channels, side, side)
    return make_problem(frozen(model), torch.rand(3, *shape), all_classes(3, 3), torch.rand(4, *shape))


def game(count: int, seed: int = 0, degree: int | None = None) -> Tensor:
    """(2^M,) random values of all coalitions, up to interactions of a degree; bit k of the number is player k."""
    members = torch.arange(2**count)[:, None] >> torch.arange(count) & 1
    values = torch.randn(2**count, generator=generator(seed), dtype=torch.float64)
    if degree is None:
        return values
    subset = (members[:, None] >= members).all(2) & (members.sum(1) <= degree)
    return subset.double() @ values


def number(present: Tensor) -> Tensor:
    return (present.long() << torch.arange(present.shape[1])).sum(1)


def by_orders(worth: Tensor, orders: list[tuple[int, ...]]) -> Tensor:
    """(M,): the mean rise over orders of the players."""
    total = torch.zeros(len(orders[0]), dtype=torch.float64)
    for order in orders:
        present = 0
        for player in order:
            total[player] += worth[present | 1 << player] - worth[present]
            present |= 1 << player
    return total / len(orders)


def shapley(worth: Tensor) -> Tensor:
    count = int(math.log2(len(worth)))
    return by_orders(worth, list(itertools.permutations(range(count))))


def estimate(design: coalitions.Design, worth: Tensor) -> Tensor:
    return worth[number(design.coalitions)] @ design.weights


def by_definition(problem: Problem, regions: Players, replaced: list[Tensor], output: str) -> Tensor:
    """(B, K, 1, H, W), from all orders of the regions; absent ones come from each of `replaced`, whose outputs are averaged."""
    worth = torch.zeros(2 ** len(regions), len(problem.images), 3, dtype=torch.float64)
    for present in range(2 ** len(regions)):
        for background in replaced:
            images = background.expand(problem.images.shape).clone()
            for player, (rows, columns) in enumerate(regions):
                if present >> player & 1:
                    images[:, :, rows, columns] = problem.images[:, :, rows, columns]
            logits = problem.classifier(images).double()
            worth[present] += (logits if output == "logit" else logits.softmax(1)) / len(replaced)
    values = torch.zeros(len(problem.images), 3, 1, *problem.images.shape[2:])
    for image, target in itertools.product(range(len(problem.images)), range(3)):
        found = shapley(worth[:, image, target])
        for player, (rows, columns) in enumerate(regions):
            pixels = values[image, target, 0, rows, columns]
            values[image, target, 0, rows, columns] = float(found[player]) / pixels.numel()
    return values


def quarters(first: int, side: int) -> Players:
    one, other = slice(0, first), slice(first, side)
    return list(itertools.product([one, other], [one, other]))


EXACT = {
    "exact": lambda **fields: ExactShapley(superpixels=Squares(2), **fields),
    "kernel": lambda **fields: KernelShap(superpixels=Squares(2), **fields),
}


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("side", [4, 5])
@pytest.mark.parametrize("output", ["logit", "probability"])
def test_four_superpixels_get_their_shapley_values_by_definition(name, side, output):
    problem = small_network(side)
    expected = by_definition(problem, quarters(-(-side // 2), side), [torch.tensor(0.3)], output)

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-6)

    make = EXACT[name]
    check(make(removal=Constant(0.3), output=output))
    other = "probability" if output == "logit" else "logit"
    for mutant in (make(output=output), make(removal=Constant(0.3), output=other), next_target(make(removal=Constant(0.3), output=output))):
        rejects(check, mutant)


@pytest.mark.parametrize("name", EXACT)
def test_the_marginal_expectation_by_definition(name):
    problem = small_network(4)
    expected = by_definition(problem, quarters(2, 4), list(problem.background[:3]), "logit")

    def check(explain: Explain) -> None:
        assert_close(explain(problem, RNG).values, expected, rtol=1e-4, atol=1e-6)

    check(EXACT[name](removal=Marginal(3)))
    rejects(check, EXACT[name](removal=Marginal(4)))
    with cost.measure(problem.model) as counted:
        EXACT[name](removal=Marginal(3))(problem, RNG)
    assert counted.passes == EXACT[name](removal=Marginal(3)).passes(problem)
    assert counted.forward == 3 * 16 * 3


def test_one_and_two_superpixels():
    problem = small_network(4)
    for explainer in (ExactShapley, KernelShap, PermutationShapley):
        whole = explainer(superpixels=Squares(1))(problem, RNG)
        assert_close(whole.values, (whole.total / 16)[:, :, None, None, None].expand(-1, -1, 1, 4, 4))
    torch.manual_seed(3)
    model = frozen(nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)))
    wide = make_problem(model, torch.rand(3, 2, 1, 4), all_classes(3, 3))
    expected = by_definition(wide, [(slice(0, 1), slice(0, 2)), (slice(0, 1), slice(2, 4))], [torch.tensor(0.0)], "logit")
    for explainer in (ExactShapley, KernelShap, PermutationShapley):
        assert_close(explainer(superpixels=Squares(2))(wide, RNG).values, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_all_coalitions_give_shapley_values_of_any_game(count):
    worth = game(count)
    design = all_coalitions(count)
    assert len(number(design.coalitions).unique()) == 2**count
    assert_close(estimate(design, worth), shapley(worth))


def test_an_order_and_its_reverse_explain_interactions_of_two_exactly_and_many_orders_every_game():
    pairwise = game(6, degree=2)
    for seed in range(3):
        assert_close(estimate(permutations(6, 1, generator(seed)), pairwise), shapley(pairwise))
        assert not torch.allclose(estimate(permutations(6, 1, generator(seed)), game(6)), shapley(game(6)), rtol=1e-2)
    worth = game(4)
    runs = torch.stack([estimate(permutations(4, 20, generator(seed)), worth) for seed in range(200)])
    assert ((runs.mean(0) - shapley(worth)).abs() < 4.5 * runs.std(0) / math.sqrt(200)).all()
    assert runs.std(0).max() / math.sqrt(200) < 0.05


def test_permutations_by_their_definition():
    design = permutations(5, 3, generator(1))
    worth = game(5, seed=2)
    sizes = design.coalitions.sum(1)
    assert sizes.tolist() == [0, 5, *([1, 2, 3, 4] * 6)]
    orders = []
    for start in range(2, 26, 4):
        chain = torch.cat([design.coalitions[:1], design.coalitions[start : start + 4], design.coalitions[1:2]]).long()
        orders.append(tuple(chain.diff(dim=0).argmax(1).tolist()))
    assert sorted(orders) == sorted(order[::-1] for order in orders)
    assert_close(estimate(design, worth), by_orders(worth, orders))


# --- the regression


def posterior_shapley(present: Tensor, outputs: Tensor, trend: float, power: float) -> Tensor:
    """Shapley values of the posterior mean on all coalitions: of a linear function plus a Gaussian process, given all outputs.

    In the space of functions on all coalitions, with nothing but the prior's definition: neither odd parts nor integrals.
    """
    count = present.shape[1]
    everyone = torch.arange(2**count)[:, None] >> torch.arange(count) & 1
    share = torch.tensor([(count - k - 0.5) ** power for k in range(count)], dtype=torch.float64)
    share /= share.sum()
    differ = (everyone[:, None] != everyone).double()
    signs = 2.0 * everyone.double() - 1
    prior = torch.exp(-3.5 * differ @ share) + trend * (signs * share) @ signs.T + trend * torch.ones(2**count, 2**count)
    seen = number(torch.cat([torch.ones(1, count, dtype=torch.bool), present]))
    seen = torch.cat([seen, 2**count - 1 - seen])
    mean = prior[:, seen] @ torch.linalg.solve(prior[seen][:, seen], outputs[seen])
    return shapley(mean)


@pytest.mark.parametrize("pairs", [13, 18])
@pytest.mark.parametrize(("even", "power"), [(True, 0.5), (False, 1.5)])
def test_the_regression_is_the_posterior_of_its_prior(pairs, even, power):
    worth = game(6, seed=4)
    present = draw_pairs(6, pairs, generator(5))
    expected = posterior_shapley(present, worth, 1e7, power)

    def check(weights: Tensor) -> None:
        seen = number(torch.cat([torch.ones(1, 6, dtype=torch.bool), present]))
        assert_close((worth[seen] - worth[63 - seen]) / 2 @ weights, expected, rtol=1e-3, atol=1e-3)

    check(regression(present, even))
    rejects(check, regression(present, not even))
    for length in (3.0, 4.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel_shap, "DISTANCE", length)
            rejects(check, regression(present, even))


def test_few_coalitions_shrink_the_linear_part_by_its_prior():
    worth = game(6, seed=4)
    present = draw_pairs(6, 8, generator(5))
    seen = number(torch.cat([torch.ones(1, 6, dtype=torch.bool), present]))
    found = (worth[seen] - worth[63 - seen]) / 2 @ regression(present, False)
    # the odd part of exp(-distance) is the hyperbolic sine times this
    scale = math.exp(-3.5 / 2)
    assert_close(found, posterior_shapley(present, worth, 30 * scale, 1.5), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, posterior_shapley(present, worth, 35 * scale, 1.5), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("count", "pairs"), [(3, 1), (4, 5), (5, 14), (7, 20), (12, 15), (12, 400), (49, 30), (49, 60), (49, 300)])
def test_pairs_are_distinct_and_no_coalition_is_another_ones_complement(count, pairs):
    present = draw_pairs(count, pairs, generator(1))
    assert present.shape == (pairs, count)
    both = torch.cat([present, ~present])
    assert len({tuple(row) for row in both.tolist()}) == 2 * pairs
    assert both.any(1).all()
    assert not both.all(1).any()
    # the trend of every superpixel can be told as soon as there are enough
    signs = torch.where(torch.cat([torch.ones(1, count, dtype=torch.bool), present]), 1.0, -1.0)
    assert torch.linalg.matrix_rank(signs) == min(count, pairs + 1)


def test_sizes_are_drawn_equally_often():
    sizes = torch.cat([draw_pairs(9, 40, generator(seed)).sum(1) for seed in range(50)]).bincount(minlength=5)[1:].double() / 50
    # 9 of the first size are all there are; the others share the rest
    assert_close(sizes, torch.tensor([9, 31 / 3, 31 / 3, 31 / 3], dtype=torch.float64), rtol=0, atol=0.3)
    inside = torch.cat([draw_pairs(9, 40, generator(seed)) for seed in range(50)]).double().mean(0)
    assert inside.std() < 0.02


@pytest.mark.parametrize(("count", "samples"), [(16, 64), (25, 100)])
def test_from_two_pairs_for_each_superpixel_on_linear_games_are_explained_exactly(count, samples):
    slope = torch.randn(count, dtype=torch.float64, generator=generator())

    def worst(pairs: int) -> float:
        design = sampled_coalitions(count, pairs, generator(3), True)
        return float((design.coalitions.double() @ slope @ design.weights - slope).abs().max())

    assert worst(samples // 2) < 1e-9
    assert worst(samples // 4) > 1e-3


def test_blocks_of_coalitions_are_averaged(monkeypatch):
    worth = game(10, degree=3)
    whole = estimate(sampled_coalitions(10, 90, generator(), True), worth)
    monkeypatch.setattr(kernel_shap, "LARGEST_SYSTEM", 30)
    design = sampled_coalitions(10, 90, generator(), True)
    assert design.coalitions.shape == (182, 10)
    # the same stream of draws, one block after the other
    stream = generator()
    blocks = [draw_pairs(10, 30, stream) for _ in range(3)]
    seen = [number(torch.cat([torch.ones(1, 10, dtype=torch.bool), block])) for block in blocks]
    parts = [(worth[rows] - worth[1023 - rows]) / 2 @ regression(block, True) for rows, block in zip(seen, blocks, strict=True)]
    assert_close(estimate(design, worth), torch.stack(parts).mean(0))
    assert not torch.allclose(estimate(design, worth), whole)


@pytest.mark.parametrize("samples", [66, 132, 264, 528])
def test_kernel_shap_errs_less_than_permutations(samples):
    """In games of a hidden layer, at equal evaluations."""
    members = (torch.arange(2**12)[:, None] >> torch.arange(12) & 1).double()
    weights = torch.randn(12, 9, dtype=torch.float64, generator=generator()) * torch.linspace(1.5, 0.2, 12, dtype=torch.float64)[:, None]
    worth = torch.tanh(members @ weights - 0.5).sum(1)
    exact = estimate(all_coalitions(12), worth)

    def error(design: Callable[[int], coalitions.Design]) -> float:
        return float(torch.stack([estimate(design(seed), worth) - exact for seed in range(10)]).square().mean().sqrt())

    ours = error(lambda seed: sampled_coalitions(12, samples // 2, generator(seed), False))
    assert ours < 0.6 * error(lambda seed: permutations(12, samples // 22, generator(seed)))
    assert ours < 0.2 * float(exact.square().mean().sqrt())


# --- hierarchy


def orders_of_halves(players: list[int]) -> list[tuple[int, ...]]:
    """All orders in which every half comes as a whole."""
    if len(players) == 1:
        return [(players[0],)]
    half = len(players) // 2
    pairs = list(itertools.product(orders_of_halves(players[:half]), orders_of_halves(players[half:])))
    return [first + second for first, second in pairs] + [second + first for first, second in pairs]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_owen_values_by_all_orders_that_keep_halves_together(depth):
    worth = game(2**depth)
    design = hierarchy(depth)
    assert len(design.coalitions) == 2 + 2 * (4**depth - 1) // 3
    assert_close(estimate(design, worth), by_orders(worth, orders_of_halves(list(range(2**depth)))))
    if depth > 1:
        swapped = [0, 2, 1, *range(3, 2**depth)]
        assert not torch.allclose(estimate(design, worth), by_orders(worth, orders_of_halves(swapped)))


def test_owen_values_of_an_image():
    problem = small_network(4)
    pixels = problem.images.permute(0, 2, 3, 1)
    worth = torch.zeros(16, 3, 3, dtype=torch.float64)
    # cuts: rows first, then columns
    quarter = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]])
    for present in range(16):
        kept = (present >> quarter & 1 == 1)[None, :, :, None]
        worth[present] = problem.classifier(torch.where(kept, pixels, 0.2).permute(0, 3, 1, 2)).double()
    values = torch.stack([by_orders(worth[:, b, k], orders_of_halves([0, 1, 2, 3])) for b, k in itertools.product(range(3), range(3))])
    expected = (values.reshape(3, 3, 4)[:, :, quarter] / 4).float()[:, :, None]
    assert_close(OwenShapley(depth=2, removal=Constant(0.2))(problem, RNG).values, expected, rtol=1e-4, atol=1e-6)


# --- superpixels that do not change


def partly_black(problem: Problem) -> Problem:
    images = problem.images.clone()
    images[0, :, :3] = 0
    images[1, :, :, :5] = 0
    images[2] = 0
    return dataclasses.replace(problem, images=images)


@pytest.mark.parametrize("superpixels", [Squares(3), Squares(4), Pixels(), Slic(9)])
@pytest.mark.parametrize("make", [KernelShap, PermutationShapley])
def test_superpixels_that_do_not_change_get_nothing_and_the_rest_adds_up(make, superpixels):
    problem = partly_black(conv_problem((2, 9, 9)))
    explainer = make(superpixels=superpixels, samples=100)
    found = explainer(problem, RNG)
    regions = superpixels(problem.images).expand(5, -1, -1)
    for row in range(5):
        bright = problem.images[row].amax(0) > 0
        for region in regions[row].unique():
            inside = regions[row] == region
            if not bright[inside].any():
                assert (found.values[row, :, 0, inside] == 0).all()
            else:
                assert (found.values[row, :, 0, inside] != 0).all()
    assert_close(found.values.sum((2, 3, 4)), found.total, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        difference = problem.classifier(problem.images) - problem.classifier(torch.zeros_like(problem.images))
    assert_close(found.total, difference.gather(1, problem.targets), rtol=1e-4, atol=1e-5)
    with cost.measure(problem.model) as counted:
        explainer(problem, RNG)
    assert counted.passes == explainer.passes(problem)


def test_what_does_not_change_is_not_evaluated():
    problem = partly_black(conv_problem((2, 9, 9)))
    found = KernelShap(superpixels=Squares(3))
    # 6 of 9 squares change in the first image; 5 in the second, whose middle column is partly black; none in the third
    assert [found.passes(problem.take(slice(row, row + 1))).forward for row in range(4)] == [2**6, 2**6, 2**9, 2**9]
    exact = ExactShapley(superpixels=Squares(3))(problem, RNG).values
    assert_close(found(problem, RNG).values, exact, rtol=1e-4, atol=1e-6)


@dataclasses.dataclass(frozen=True)
class Global(Removal):
    """What is removed takes the mean of what is kept: a black pixel too, unless all else is black."""

    local = False

    def __call__(self, images: Tensor, kept: Tensor, problem: Problem, draw: Tensor | None = None) -> Tensor:
        mean = (images * kept).sum((1, 2, 3)) / (kept.sum((1, 2, 3)) * images.shape[1]).clamp(min=1)
        return torch.where(kept, images, mean[:, None, None, None])


def test_all_superpixels_count_where_removal_depends_on_what_is_kept():
    problem = partly_black(conv_problem((2, 9, 9)))
    exact = ExactShapley(superpixels=Squares(3), removal=Global())(problem, RNG).values
    assert_close(KernelShap(superpixels=Squares(3), removal=Global())(problem, RNG).values, exact, rtol=1e-4, atol=1e-6)
    assert (exact[0, :, 0, :3] != 0).all()


def test_players_are_numbered_by_how_much_they_change():
    problem = partly_black(conv_problem((2, 9, 9)))
    for removal in (Constant(0.0), Blur(1.0), Marginal(2)):
        for part in coalitions.players(problem, Squares(3), removal):
            nothing = torch.zeros(len(part.rows), 1, 9, 9, dtype=torch.bool)
            draws = [torch.full((len(part.rows),), draw) for draw in range(removal.draws(problem))]
            images = problem.images[part.rows]
            change = sum((images - removal(images, nothing, problem, draw)).double().square().sum(1) for draw in draws)
            sums = torch.stack([(change * (part.regions == player)).sum((1, 2)) for player in range(part.count)], 1)
            assert (sums.diff(dim=1) <= 1e-9).all()
            assert ((change * (part.regions == part.count)).sum((1, 2)) == 0).all()
            assert torch.equal(part.changed, sums > 0)


def test_images_whose_superpixels_change_evenly_have_a_design_of_their_own():
    images = torch.full((4, 1, 2, 4), 0.5)
    images[1] = torch.tensor([8.0, 7, 6, 5, 4, 3, 2, 1]).sqrt().reshape(2, 4) / 3  # squares fall linearly: 204 * 8 / 36^2 = 1.26
    images[2] = torch.tensor([8.0, 7, 6, 5, 4, 3, 2, 1]).reshape(2, 4) / 8
    images[3, 0, 0, 1:] = 0
    problem = make_problem(None, images, all_classes(4, 1))
    parts = coalitions.players(problem, Pixels(), Constant())
    assert [(part.count, part.even, part.rows.tolist()) for part in parts] == [(5, True, [3]), (8, False, [2]), (8, True, [0, 1])]


def test_the_number_of_players_is_rounded_up():
    counts = torch.tensor([1, 2, 16, 17, 20, 21, 31, 33, 64, 65, 150, 784])
    assert coalitions._rounded(counts).tolist() == [1, 2, 16, 20, 20, 24, 32, 40, 64, 80, 160, 896]


# --- what is not supported


def test_reasons():
    problem, _ = linear_problem((1, 40, 40))
    assert ExactShapley().unsupported(problem) is None
    assert "25 superpixels have 2^25 coalitions" in ExactShapley(superpixels=Squares(5)).unsupported(problem)
    assert "samples=1" in KernelShap(samples=1).unsupported(problem)
    assert "depth=8" in OwenShapley(depth=8).unsupported(problem)
    tiny, _ = linear_problem((1, 3, 3))
    assert "lower depth" in OwenShapley(depth=4).unsupported(tiny)
    none = dataclasses.replace(problem, background=problem.background[:0])
    for explainer in (ExactShapley, KernelShap, PermutationShapley, OwenShapley):
        assert "Marginal needs background images" in explainer(removal=Marginal()).unsupported(none)
        assert "needs a model" in explainer().unsupported(dataclasses.replace(problem, model=None))


def by_least_squares(worth: Tensor, present: Tensor, kernel: bool = True) -> Tensor:
    """(M,): theorem 2 of Lundberg and Lee with numpy: all coalitions that are there and their complements, the last value eliminated."""
    count = present.shape[1]
    every = torch.cat([present, ~present])
    sizes = every.sum(1).tolist()
    there = {size: sizes.count(size) for size in sizes}
    weights = [1 / (size * (count - size)) / there[size] if kernel else 1.0 for size in sizes]
    total = worth[-1] - worth[0]
    design = (every[:, :-1].double() - every[:, -1:].double()) * torch.tensor(weights).double().sqrt()[:, None]
    answer = (worth[number(every)] - worth[0] - every[:, -1] * total) * torch.tensor(weights).double().sqrt()
    values = torch.linalg.lstsq(design, answer[:, None], driver="gelsd").solution[:, 0]
    return torch.cat([values, (total - values.sum())[None]])


@pytest.mark.parametrize(("count", "pairs"), [(6, 20), (7, 40), (6, 31)])
def test_the_linear_fit_is_the_weighted_least_squares_of_the_paper(count, pairs):
    worth = game(count, seed=3)
    present = draw_pairs(count, pairs, generator())
    design = paired([present], [linear_regression(present)])
    found = worth[number(design.coalitions)] @ design.weights
    assert_close(found, by_least_squares(worth, present))
    assert not torch.allclose(found, by_least_squares(worth, present, kernel=False), rtol=1e-3)
    assert_close(found.sum(), worth[-1] - worth[0])
    if pairs == 2 ** (count - 1) - 1:
        exact = all_coalitions(count)
        assert_close(found, worth[number(exact.coalitions)] @ exact.weights)


def test_the_linear_fit_tends_to_the_shapley_values_and_needs_enough_coalitions():
    problem = small_network(4)
    exact = ExactShapley(superpixels=Pixels())(problem, RNG).values
    errors = [
        float((KernelShap(superpixels=Pixels(), samples=samples, fit="linear")(problem, RNG).values - exact).square().mean().sqrt())
        for samples in (70, 1000, 20_000)
    ]
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.5 * errors[1]
    assert "a linear fit to 16 superpixels needs 64" in KernelShap(superpixels=Pixels(), samples=62, fit="linear").unsupported(problem)
    assert KernelShap(superpixels=Pixels(), samples=64, fit="linear").unsupported(problem) is None
