import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch
from sklearn.datasets import load_digits
from torch.nn import functional

from xaibench import imputation
from xaibench.imputation import linear_imputation, pull_push, solve_linear


def digits(count, channels=1, height=28, width=28):
    """Real digits, 8 x 8 each, tiled and cropped to any size, with each channel from other digits."""
    tiles = torch.from_numpy(load_digits().images[: 1 + count * channels] / 16).to(torch.float32)
    large = tiles.repeat(1, -(-height // 8), -(-width // 8))[:, :height, :width]
    return large[1:].reshape(count, channels, height, width)


def masks(kind, count, removed, height=28, width=28, seed=0):
    """True where kept: the share `removed` of the pixels goes in a random order, or in that of a smooth random map."""
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 1, height, width, generator=draw)
    if kind == "blobs":
        noise = functional.interpolate(noise[:, :, : -(-height // 6), : -(-width // 6)], size=(height, width), mode="bicubic")
    rank = noise.flatten(1).argsort(dim=1).argsort(dim=1)
    return (rank >= round(removed * height * width)).reshape(noise.shape)


def special_masks(height, width):
    """One pixel kept (inside; in a corner), one removed (likewise), the frame, two lines of the border, a lattice, half."""
    one, corner, frame, border, lattice, half = torch.zeros(6, height, width, dtype=torch.bool)
    one[height // 2, width // 3] = corner[0, -1] = True
    frame[[0, -1]] = frame[:, [0, -1]] = True
    border[0] = border[:, 0] = True
    lattice[::3, ::2] = True
    half[:, : width // 2] = True
    return torch.stack([one, corner, ~one, ~corner, frame, ~frame, border, ~border, lattice, half])[:, None]


def system(kept):
    """The matrix over removed pixels, and for each of them its kept neighbors with their weights: ROAD's definition, pixel by pixel."""
    height, width = kept.shape
    removed = [(i, j) for i in range(height) for j in range(width) if not kept[i, j]]
    number = {pixel: k for k, pixel in enumerate(removed)}
    matrix, known = scipy.sparse.lil_matrix((len(removed), len(removed))), []
    for (i, j), k in number.items():
        weights = {}
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                inside = 0 <= i + down < height and 0 <= j + right < width
                if inside and (down or right):
                    weights[i + down, j + right] = 1 / 6 if down == 0 or right == 0 else 1 / 12
        total = sum(weights.values())
        matrix[k, k] = 1
        for pixel in weights.keys() & number.keys():
            matrix[k, number[pixel]] = -weights[pixel] / total
        known.append({pixel: weight / total for pixel, weight in weights.items() if pixel not in number})
    return matrix.tocsc(), removed, known


def right_hand_side(image, known):
    return np.array([sum(weight * image[pixel] for pixel, weight in neighbors.items()) for neighbors in known])


def exact(image, kept):
    """The filled image (C, H, W), float64, by a direct solver."""
    matrix, removed, known = system(kept[0].numpy())
    filled = image.to(torch.float64).numpy().copy()
    for channel in filled:
        solution = np.atleast_1d(scipy.sparse.linalg.spsolve(matrix, right_hand_side(channel, known)))
        for pixel, value in zip(removed, solution, strict=True):
            channel[pixel] = value
    return torch.from_numpy(filled)


def residuals(filled, kept):
    """For each channel, the relative 2-norm of the residual of ROAD's system, in float64."""
    matrix, removed, known = system(kept[0].numpy())
    found = []
    for channel in filled.to(torch.float64).numpy():
        right = right_hand_side(channel, known)
        rest = np.linalg.norm(matrix @ np.array([channel[pixel] for pixel in removed]) - right)
        found.append(0.0 if rest == 0 else rest / np.linalg.norm(right))
    return found


CASES = [("random", 0.1), ("random", 0.5), ("random", 0.9), ("blobs", 0.1), ("blobs", 0.5), ("blobs", 0.9)]


def check_exact(images, kept):
    fallback = torch.zeros_like(images[0])
    found = linear_imputation(images, kept, fallback, tolerance=1e-6)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    for image, mask, filled in zip(images, kept, found, strict=True):
        assert torch.allclose(filled.to(torch.float64), exact(image, mask), atol=2e-5, rtol=0)


def check_residuals(images, kept):
    solution = solve_linear(images, kept, torch.zeros_like(images[0]))
    for mask, filled, claimed in zip(kept, solution.images, solution.residual.tolist(), strict=True):
        assert (true := max(residuals(filled, mask))) < 1e-4
        assert claimed == pytest.approx(true, rel=0.05, abs=2e-6)


@pytest.mark.parametrize("kind, removed", CASES)
def test_linear_imputation_solves_the_system_of_the_definition(kind, removed):
    check_exact(digits(2), masks(kind, 2, removed))
    check_residuals(digits(2), masks(kind, 2, removed, seed=1))


@pytest.mark.parametrize("height, width", [(8, 8), (9, 14), (13, 8)])
def test_linear_imputation_at_borders_corners_and_extremes_in_three_channels(height, width):
    kept = special_masks(height, width)
    check_exact(digits(len(kept), 3, height, width), kept)
    check_residuals(digits(len(kept), 3, height, width), kept)


def faults():
    spread, grids = imputation._spread, imputation._grids

    def stencil(direct, diagonal):
        weights = torch.tensor([[diagonal, direct, diagonal], [direct, 4.0, direct], [diagonal, direct, diagonal]])

        def faulty(values):
            flat = values.reshape(-1, 1, *values.shape[2:])
            return functional.conv2d(flat, weights[None, None], padding=1).reshape(values.shape)

        return faulty

    assert torch.allclose(stencil(2.0, 1.0)(digits(2)), spread(digits(2)), atol=1e-6)

    def no_renormalization(kept):
        finest, *coarser = grids(kept)
        return [imputation._Grid(finest.removed, torch.full_like(finest.center, 16), finest.removed / 12), *coarser]

    return {
        "equal weights": ("_spread", stencil(1.5, 1.5)),
        "weights swapped": ("_spread", stencil(1.0, 2.0)),
        "no diagonals": ("_spread", stencil(3.0, 0.0)),
        "beyond the border counts as 0": ("_grids", no_renormalization),
        "stops early": ("DRIFT", 1000.0),
    }


@pytest.mark.parametrize("check", [check_exact, check_residuals])
@pytest.mark.parametrize("fault", ["equal weights", "weights swapped", "no diagonals", "beyond the border counts as 0", "stops early"])
def test_the_definition_rejects_mutants(check, fault, monkeypatch):
    images, kept = digits(2, height=12, width=12), masks("blobs", 2, 0.6, 12, 12)
    check(images, kept)
    monkeypatch.setattr(imputation, *faults()[fault])
    with pytest.raises(AssertionError):
        check(images, kept)


@pytest.mark.parametrize("fill", [linear_imputation, pull_push])
def test_kept_pixels_stay_exactly_and_what_removed_ones_hold_does_not_matter(fill):
    images, kept = digits(6, 3, 11, 14), masks("random", 6, 0.5, 11, 14)
    before, wide = images.clone(), kept.expand(images.shape)
    found = fill(images, kept, images[0])
    assert torch.equal(found[wide], images[wide])
    assert torch.equal(images, before)
    assert torch.equal(fill(torch.where(kept, images, 7.0), kept, images[0]), found)


@pytest.mark.parametrize("fill", [linear_imputation, pull_push])
def test_an_image_of_which_nothing_or_all_is_kept(fill):
    images, kept = digits(4, 3, 9, 8), masks("blobs", 4, 0.5, 9, 8)
    kept[1], kept[2] = False, True
    fallback = torch.rand(3, 9, 8, generator=torch.Generator().manual_seed(0))
    found = fill(images, kept, fallback)
    assert torch.equal(found[1], fallback)
    assert torch.equal(found[2], images[2])
    assert torch.allclose(found[[0, 3]], fill(images[[0, 3]], kept[[0, 3]], fallback), atol=1e-6)


@pytest.mark.parametrize("fill", [linear_imputation, pull_push])
@pytest.mark.parametrize("kind, removed", [*CASES, ("random", 0.995)])
def test_filled_values_lie_between_the_kept_ones_and_a_constant_stays_constant(fill, kind, removed):
    images, kept = digits(8, 3, 20, 17) * 0.6 + 0.2, masks(kind, 8, removed, 20, 17)
    found = fill(images, kept, images[0])
    low = torch.where(kept, images, 2.0).amin(dim=(2, 3), keepdim=True)
    high = torch.where(kept, images, -1.0).amax(dim=(2, 3), keepdim=True)
    assert (found >= low - 1e-4).all()
    assert (found <= high + 1e-4).all()
    assert torch.allclose(fill(torch.full_like(images, 0.37), kept, images[0]), torch.tensor(0.37), atol=1e-6)


def test_a_single_kept_pixel_spreads_everywhere():
    images, kept = digits(2, 3, 9, 16), special_masks(9, 16)[:2]
    for fill in (linear_imputation, pull_push):
        found = fill(images, kept, images[0])
        assert torch.allclose(found, images.mul(kept).sum(dim=(2, 3), keepdim=True).expand(found.shape), atol=1e-6)


@pytest.mark.parametrize("fill", [linear_imputation, pull_push])
def test_an_image_does_not_depend_on_its_batch(fill, monkeypatch):
    kept = torch.cat([masks(kind, 4, removed) for kind, removed in CASES])
    images = digits(len(kept))
    if fill is linear_imputation:
        iterations = solve_linear(images, kept, images[0]).iterations
        assert iterations.max() >= iterations.min() + 3  # or standing still would not be tested
    together = fill(images, kept, images[0])
    alone = torch.cat([fill(images[i : i + 1], kept[i : i + 1], images[0]) for i in range(len(images))])
    assert torch.allclose(alone, together, atol=1e-5, rtol=0)
    assert torch.allclose(fill(images.flip(0), kept.flip(0), images[0]).flip(0), together, atol=1e-5, rtol=0)
    monkeypatch.setattr(imputation, "PART_VALUES", {"cpu": 1})
    monkeypatch.setattr(imputation, "PART_IMAGES", 5)
    assert torch.allclose(fill(images, kept, images[0]), together, atol=1e-5, rtol=0)


def test_channels_do_not_mix():
    images, kept = digits(3, 3, 10, 12), masks("blobs", 3, 0.7, 10, 12)
    for fill in (linear_imputation, pull_push):
        alone = [fill(images[:, c : c + 1], kept, images[0, c : c + 1]) for c in range(3)]
        assert torch.allclose(torch.cat(alone, dim=1), fill(images, kept, images[0]), atol=1e-5)


def test_too_few_iterations_raise_and_the_count_is_reported():
    images, kept = digits(4), masks("blobs", 4, 0.9)
    solution = solve_linear(images, kept, images[0])
    worst = int(solution.iterations.max())
    assert 3 <= worst <= 15
    assert solution.iterations.shape == solution.residual.shape == (4,)
    assert torch.equal(solve_linear(images, kept, images[0], limit=worst).iterations, solution.iterations)
    with pytest.raises(RuntimeError, match=f"above 0.0001 after {worst - 1} iterations"):
        solve_linear(images, kept, images[0], limit=worst - 1)


def test_iterations_do_not_grow_with_the_size():
    images, kept = digits(1, 3, 224, 200), masks("blobs", 1, 0.7, 224, 200)
    assert solve_linear(images, kept, images[0]).iterations.item() <= 12


# --- pull-push


def pulled_and_pushed(values):
    """Fills the None of a grid (a list of rows): mean of each cell's values, grid of half the size filled, then interpolated back."""
    height, width = len(values), len(values[0])
    if height == width == 1:
        return values

    def mean(row, column):
        cell = [values[i][j] for i in range(2 * row, min(2 * row + 2, height)) for j in range(2 * column, min(2 * column + 2, width))]
        cell = [value for value in cell if value is not None]
        return sum(cell) / len(cell) if cell else None

    rows, columns = (height + 1) // 2, (width + 1) // 2
    coarse = pulled_and_pushed([[mean(i, j) for j in range(columns)] for i in range(rows)])

    def between(place, count):
        """The coarse cell over a fine one has weight 3/4, the next one on its side 1/4, or that on the border all."""
        other = place // 2 + (1 if place % 2 else -1)
        return [(place // 2, 0.75), (min(max(other, 0), count - 1), 0.25)]

    def interpolated(row, column):
        return sum(a * b * coarse[i][j] for i, a in between(row, rows) for j, b in between(column, columns))

    return [[interpolated(i, j) if values[i][j] is None else values[i][j] for j in range(width)] for i in range(height)]


def check_pull_push(height, width, removed):
    images, kept = digits(3, 1, height, width), masks("random", 3, removed, height, width)
    found = pull_push(images, kept, images[0])
    for image, mask, filled in zip(images[:, 0].tolist(), kept[:, 0].tolist(), found[:, 0].tolist(), strict=True):
        grid = [[value if stays else None for value, stays in zip(*rows, strict=True)] for rows in zip(image, mask, strict=True)]
        assert torch.allclose(torch.tensor(filled), torch.tensor(pulled_and_pushed(grid)), atol=1e-6)


@pytest.mark.parametrize("height, width", [(8, 8), (9, 14), (13, 7), (28, 28)])
@pytest.mark.parametrize("removed", [0.2, 0.7, 0.95])
def test_pull_push_equals_its_definition_cell_by_cell(height, width, removed):
    check_pull_push(height, width, removed)


@pytest.mark.parametrize("fault", ["nearest", "weights not saturated", "another cell"])
def test_the_definition_of_pull_push_rejects_mutants(fault, monkeypatch):
    quarter = imputation._quarter
    mutants = {
        "nearest": ("_enlarged", lambda coarse, like: functional.interpolate(coarse, size=like.shape[2:])),
        "weights not saturated": ("_quarter", lambda values: quarter(values) + 0.01),
        "another cell": ("_quarter", lambda values: quarter(values.roll(1, dims=3))),
    }
    monkeypatch.setattr(imputation, *mutants[fault])
    with pytest.raises(AssertionError):
        check_pull_push(9, 14, 0.7)


# --- what they give is part of the keys of all that use them


def test_outputs_are_those_of_this_version():
    images, kept = digits(1, 1, 8, 8), masks("random", 1, 0.8, 8, 8)
    row = [fill(images, kept, images[0])[0, 0, 3].tolist() for fill in (linear_imputation, pull_push)]
    assert imputation.VERSION == 1
    linear = [0.414435, 0.436943, 0.492572, 0.601099, 1.0, 0.125, 0.0, 0.070901]
    pyramid = [0.177083, 0.182617, 0.193685, 0.27832, 1.0, 0.125, 0.0, 0.054688]
    assert row == [pytest.approx(expected, abs=1e-5) for expected in (linear, pyramid)]
