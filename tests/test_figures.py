"""Figures: what they show (lines, labels, scales, colors of signs), and the same bytes every time."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from xaibench.figures import style
from xaibench.figures.classifier import confusion_matrix, learning_curves
from xaibench.figures.curves import curves
from xaibench.figures.maps import all_classes, grid

FRACTIONS = np.linspace(0, 1, 5)


def curve(explainer, family="gradient", metric="deletion[steps=4]", height=1.0, half=0.1, dataset="digits"):
    mean = height * (1 - FRACTIONS)
    keys = {"dataset": dataset, "model": "conv8", "explainer": explainer, "family": family, "metric": metric, "curve": "target_probability"}
    return pd.DataFrame({**keys, "fraction": FRACTIONS, "mean": mean, "low": mean - half, "high": mean + half})


def curve_table():
    explainers = [("ig[steps=50]", "gradient"), ("ig[steps=5]", "gradient"), ("sobel", "control"), ("random", "control")]
    both = [curve(*explainer, metric) for metric in ("deletion[steps=4]", "insertion") for explainer in explainers]
    return pd.concat([*both, curve("ig[steps=5]", height=2.0, dataset="mnist")])


def images(count=3, channels=1, size=6):
    return np.random.default_rng(0).uniform(size=(count, channels, size, size))


def color(drawn, value):
    return drawn.cmap(drawn.norm(value))


def luminance(code):
    return float(np.dot([0.299, 0.587, 0.114], matplotlib.colors.to_rgb(code)))


# Curves


def test_curves_have_a_panel_for_each_classifier_and_metric_and_a_line_for_each_explainer(tmp_path):
    figure = curves(curve_table().sample(frac=1, random_state=0), tmp_path / "curves.png")
    titles = ["digits / conv8\ndeletion[steps=4]", "digits / conv8\ninsertion", "mnist / conv8\ndeletion[steps=4]"]
    assert [axes.get_title() for axes in figure.axes] == titles
    assert [[line.get_label() for line in axes.lines] for axes in figure.axes[:2]] == [
        ["ig[steps=5]", "ig[steps=50]", "random", "sobel"]
    ] * 2
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xydata(), np.stack([FRACTIONS, 1 - FRACTIONS], axis=1))
    assert [axes.get_xlabel() for axes in figure.axes[:2]] == ["fraction of pixels removed", "fraction of pixels inserted"]
    assert figure.axes[0].get_ylabel() == "target probability"


def test_curves_bands_are_the_intervals(tmp_path):
    figure = curves(curve("ig", half=0.25), tmp_path / "curves.png")
    corners = figure.axes[0].collections[0].get_paths()[0].vertices
    np.testing.assert_allclose([corners[:, 1].min(), corners[:, 1].max()], [-0.25, 1.25])


def test_curves_panels_of_one_metric_share_their_range(tmp_path):
    deletion, insertion, other = curves(curve_table(), tmp_path / "curves.png").axes
    assert deletion.get_ylim() == other.get_ylim()
    assert deletion.get_ylim()[1] > 2.1 > insertion.get_ylim()[1]


def test_curves_legend_names_each_explainer_once_and_covers_no_panel(tmp_path):
    figure = curves(curve_table(), tmp_path / "curves.png")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ig[steps=5]", "ig[steps=50]", "random", "sobel"]
    assert not any(legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_curves_texts_stay_inside_and_apart(tmp_path):
    table = pd.concat(
        [curve("ig", dataset=name, metric="deletion[steps=4,removal=blur]") for name in ("fashion_mnist_of_clothes", "b", "c")]
    )
    figure = curves(table.assign(model="conv10_conv20_conv40_dense50"), tmp_path / "curves.png")
    boxes = [text.get_window_extent() for axes in figure.axes for text in (axes.title, axes.xaxis.label)]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_curves_names_can_be_given(tmp_path):
    figure = curves(curve_table(), tmp_path / "curves.png", names={"insertion": ("share", "score")})
    assert (figure.axes[1].get_xlabel(), figure.axes[1].get_ylabel()) == ("share", "score")


def test_curves_without_intervals(tmp_path):
    figure = curves(curve("ig", half=np.nan), tmp_path / "curves.png")
    assert np.isfinite(figure.axes[0].get_ylim()).all()


def test_lines_differ_and_controls_are_grey_and_dashed():
    explainers = [(f"e{number}", "gradient") for number in range(15)] + [("random", "control"), ("sobel", "control")]
    styles = style.lines(explainers)
    assert list(styles) == [label for label, _ in explainers]
    assert len({(look["color"], str(look["linestyle"])) for look in styles.values()}) == 17
    for label in ("random", "sobel"):
        red, green, blue = matplotlib.colors.to_rgb(styles[label]["color"])
        assert red == green == blue > 0.2
        assert styles[label]["linestyle"] != "-"
    # A line must stand out from white; Okabe and Ito's yellow, of luminance .83, is left out.
    assert max(luminance(code) for code in style.COLORS) < 0.7


def test_line_styles_do_not_depend_on_the_order():
    explainers = [("b", "gradient"), ("a", "gradient"), ("random", "control")]
    assert style.lines(explainers) == style.lines(explainers[::-1])


# Maps


def tile(figure, row, column, size=6):
    """(size, size, 4): a tile of the mosaic; the tiles of small pictures are one pixel apart."""
    (mosaic,) = figure.axes[0].images
    top, left = row * (size + 1), column * (size + 1)
    return np.asarray(mosaic.get_array())[top : top + size, left : left + size]


def test_grid_rows_columns_and_labels(tmp_path):
    maps = {"ig[steps=50]": np.ones((3, 1, 6, 6)), "gradient": -np.ones((3, 1, 6, 6))}
    figure = grid(images(), maps, ["a", "b", "c"], tmp_path / "grid.png")
    axes, bar = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["image", "ig[steps=50]", "gradient"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in bar.get_xticklabels()] == ["against the class", "0", "for the class"]
    text = bar.get_xlabel().replace("\n", " ")
    assert text.startswith("each map on its own scale; above: the images as the classifier sees them (0 black, 1 white); ends: 99.5th")
    assert tile(figure, 1, 0)[0, 0, 0] > tile(figure, 1, 0)[0, 0, 2]
    assert tile(figure, 2, 2)[0, 0, 2] > tile(figure, 2, 2)[0, 0, 0]
    (mosaic,) = axes.images
    assert (np.asarray(mosaic.get_array())[6::7] == 1).all()


def test_grid_sums_channels_and_scales_each_map_by_itself(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 3, 6, 6))
    values[1] *= 100
    figure = grid(images(2, 3), {"ig": values}, ["a", "b"], tmp_path / "grid.png")
    for row in (0, 1):
        summed = values[row].sum(axis=0)
        share = summed / np.percentile(np.abs(summed), 99.5)
        np.testing.assert_allclose(tile(figure, 1, row), style.DIVERGING(0.5 + share / 2))
        assert not np.allclose(tile(figure, 1, row), style.DIVERGING(0.5 + values[row, 0] / np.abs(values[row, 0]).max() / 2), atol=0.05)


def test_positive_is_red_negative_is_blue_and_zero_is_white(tmp_path):
    values = np.linspace(-1, 1, 36).reshape(1, 1, 6, 6)
    figure = grid(images(1), {"ig": values}, ["a"], tmp_path / "grid.png")
    over = all_classes(images(1), values, ["0"], ["a"], tmp_path / "all.png").axes[1].images[1]
    shown = tile(figure, 1, 0).reshape(36, 4)
    for strength in (0.2, 0.8):
        red, green, blue, _ = color(over, strength)
        assert red > max(green, blue)
        red, green, blue, _ = color(over, -strength)
        assert blue > max(green, red)
        for sign in (1, -1):
            red, green, blue, _ = shown[np.abs(values.ravel() - sign * strength).argmin()]
            assert (red - blue) * sign > 0
            assert max(red, blue) > green
    assert color(over, 0.0)[3] == 0
    zero = grid(images(1), {"ig": np.zeros((1, 1, 6, 6))}, ["a"], tmp_path / "zero.png")
    np.testing.assert_allclose(tile(zero, 1, 0), 1, atol=0.02)


def test_digits_are_white_on_black(tmp_path):
    digit = np.zeros((1, 1, 6, 6))
    digit[0, 0, 2:4] = 1
    drawn = tile(grid(digit, {"ig": digit}, ["a"], tmp_path / "grid.png"), 0, 0)
    np.testing.assert_array_equal(drawn[..., :3], digit[0, 0, :, :, None].repeat(3, axis=2))


def test_color_images_are_shown_in_color(tmp_path):
    pictures = images(1, 3)
    drawn = tile(grid(pictures, {"ig": pictures}, ["a"], tmp_path / "grid.png"), 0, 0)
    np.testing.assert_allclose(drawn[..., :3], pictures[0].transpose(1, 2, 0))


def test_all_classes_have_one_symmetric_scale(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 4, 6, 6)) * np.array([1, 10, 100])[:, None, None, None] + 0.5
    figure = all_classes(images(), values, list("wxyz"), ["a", "b", "c"], tmp_path / "all.png")
    limit = np.percentile(np.abs(values), 99.5)
    panels = np.array(figure.axes[:15]).reshape(3, 5)
    assert [axes.get_title() for axes in panels[0]] == ["image", *"wxyz"]
    for row in range(3):
        for column in range(4):
            faint, drawn = panels[row, column + 1].images
            np.testing.assert_allclose(drawn.get_array(), values[row, column])
            np.testing.assert_allclose(drawn.get_clim(), [-limit, limit])
            assert faint.get_array().max() <= 0.2
    ticks = [label.get_text() for label in figure.axes[15].get_xticklabels()]
    assert ticks == [f"−{limit:.2g}\nagainst the class", "0", f"{limit:.2g}\nfor the class"]


def test_all_classes_with_a_scale_for_each_row(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 4, 6, 6)) * np.array([1, 10])[:, None, None, None]
    figure = all_classes(images(2), values, list("wxyz"), ["a", "b"], tmp_path / "all.png", scale="row")
    panels = np.array(figure.axes[:10]).reshape(2, 5)
    for row in range(2):
        limit = np.percentile(np.abs(values[row]), 99.5)
        np.testing.assert_allclose([axes.images[1].get_clim() for axes in panels[row, 1:]], [[-limit, limit]] * 4)
    assert "each row on its own scale" in figure.axes[10].get_xlabel()


def test_only_the_predicted_class_is_outlined(tmp_path):
    values = np.ones((2, 3, 6, 6))
    figure = all_classes(images(2), values, list("xyz"), ["a", "b"], tmp_path / "all.png", predicted=[2, 0])
    widths = np.array([axes.spines["left"].get_linewidth() for axes in figure.axes[:8]]).reshape(2, 4)
    assert (widths == 2).tolist() == [[False, False, False, True], [False, True, False, False]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [(np.zeros(8), 1.0), (np.full(8, np.nan), 1.0), (np.r_[np.zeros(9999), -3.0], 3.0), (np.r_[np.ones(9999), 50.0, np.nan], 1.0)],
)
def test_scale_is_never_zero_and_ignores_outliers(values, expected):
    assert style.scale(values) == expected


def test_maps_refuse_shapes_that_do_not_fit(tmp_path):
    path = tmp_path / "maps.png"
    with pytest.raises(ValueError, match=r"maps\['ig'\] of shape \(2, 1, 6, 6\)"):
        grid(images(3), {"ig": np.ones((2, 1, 6, 6))}, list("abc"), path)
    with pytest.raises(ValueError, match="2 labels for 3 images"):
        grid(images(3), {"ig": np.ones((3, 1, 6, 6))}, list("ab"), path)
    with pytest.raises(ValueError, match=r"expected \(3, 2, 6, 6\)"):
        all_classes(images(3), np.ones((3, 4, 6, 6)), list("xy"), list("abc"), path)
    with pytest.raises(ValueError, match=r"expected \(N, 1 or 3, H, W\)"):
        all_classes(images(3, 2), np.ones((3, 2, 6, 6)), list("xy"), list("abc"), path)
    assert not path.exists()


def test_wrap_breaks_labels_where_they_can_be_read():
    assert style.wrap("integrated_gradients[steps=50]") == "integrated_\ngradients\n[steps=50]"
    assert style.wrap("smooth_grad[samples=20,noise=0.15]") == "smooth_grad\n[samples=20,\nnoise=0.15]"
    assert style.wrap("occlusion") == "occlusion"
    assert style.wrap("Ankle boot with laces") == "Ankle boot with\nlaces"


# Classifier


def history(seeds=3, epochs=4):
    epoch, seed = np.meshgrid(np.arange(epochs), np.arange(seeds))
    frame = pd.DataFrame({"seed": seed.ravel(), "epoch": epoch.ravel()})
    names = ["train_loss", "validation_loss", "train_accuracy", "validation_accuracy"]
    return frame.assign(**{name: (frame["epoch"] + 10 * frame["seed"] + 100 * k) / 1000 for k, name in enumerate(names)})


def test_learning_curves(tmp_path):
    table = history()
    loss, accuracy = learning_curves(table.sample(frac=1, random_state=0), tmp_path / "history.png").axes
    assert [len(axes.lines) for axes in (loss, accuracy)] == [6, 6]
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    expected = table[table["seed"] == 1][["epoch", "validation_accuracy"]].to_numpy()
    np.testing.assert_allclose(accuracy.lines[4].get_xydata(), expected)
    colors = [line.get_color() for line in accuracy.lines]
    assert len(set(colors[:3])) == len(set(colors[3:])) == 1
    assert colors[0] != colors[3]
    assert accuracy.get_legend_handles_labels()[1] == ["training (3 seeds)", "validation (3 seeds)"]


def test_learning_curves_of_one_epoch_are_visible(tmp_path):
    loss, _ = learning_curves(history(1, 1), tmp_path / "history.png").axes
    assert [line.get_marker() for line in loss.lines] == ["o", "o"]


def test_confusion_matrix(tmp_path):
    counts = np.array([[8, 2, 0], [0, 0, 0], [1, 0, 3]])
    figure = confusion_matrix(counts, ["cat", "dog", "ship"], tmp_path / "confusion.png")
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.8, 0.2, 0], [0, 0, 0], [0.25, 0, 0.75]])
    texts = {(text.get_position()[1], text.get_position()[0]): text for text in axes.texts}
    assert {place: int(text.get_text()) for place, text in texts.items()} == dict(np.ndenumerate(counts))
    assert (texts[0, 0].get_color(), texts[0, 1].get_color()) == ("#FFFFFF", "#000000")  # readable on dark and on light
    assert axes.get_title() == "14 images, 78.57% correct"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "ship"]


def test_confusion_matrix_refuses_other_shapes(tmp_path):
    with pytest.raises(ValueError, match=r"expected \(3, 3\)"):
        confusion_matrix(np.ones((2, 2)), list("abc"), tmp_path / "confusion.png")


# Files

FIGURES = {
    "curves": lambda path: curves(curve_table(), path),
    "grid": lambda path: grid(images(1), {"ig": images(1) - 0.5}, ["a"], path),
    "all": lambda path: all_classes(images(1), np.repeat(images(1) - 0.5, 2, axis=1), list("xy"), ["a"], path, predicted=[1]),
    "history": lambda path: learning_curves(history(), path),
    "confusion": lambda path: confusion_matrix(np.eye(3, dtype=int), list("abc"), path),
}


@pytest.mark.parametrize(("name", "suffix"), [*((name, "png") for name in FIGURES), ("grid", "svg"), ("grid", "pdf"), ("history", "svg")])
def test_the_same_figure_is_the_same_file(tmp_path, name, suffix):
    first, second = tmp_path / "new" / f"first.{suffix}", tmp_path / f"second.{suffix}"
    FIGURES[name](first)
    with matplotlib.rc_context(
        {"font.size": 20, "image.cmap": "hot", "savefig.dpi": 30, "svg.hashsalt": None}
    ):  # as a user's matplotlibrc may
        FIGURES[name](second)
    assert first.read_bytes() == second.read_bytes()
    # Two files of the same second and version would agree even with these.
    assert not any(word in first.read_bytes() for word in (b"Software", b"dc:date", b"CreationDate", b"Matplotlib v"))


def test_drawing_leaves_settings_and_pyplot_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    FIGURES["curves"](tmp_path / "curves.png")
    assert dict(matplotlib.rcParams) == before


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected a suffix out of .png, .svg, .pdf"):
        FIGURES["history"](tmp_path / "history.jpg")


def test_a_flat_picture_keeps_its_colors_and_takes_fewer_bytes(tmp_path):
    figure = style.new(4, 3)
    axes = figure.subplots()
    for place, color in enumerate(style.COLORS):
        axes.plot([0, 1], [place, place + 1], color=color, marker="o")
    style.save(figure, tmp_path / "full.png")
    style.save(figure, tmp_path / "flat.png", flat=True)
    full, flat = (np.asarray(Image.open(tmp_path / name).convert("RGB")).astype(int) for name in ("full.png", "flat.png"))
    assert np.abs(full - flat).max() <= 16
    assert (tmp_path / "flat.png").stat().st_size < 0.6 * (tmp_path / "full.png").stat().st_size
