"""Maps as palette pictures, and galleries that fit a budget."""

import base64
import io
import json

import numpy as np
import safetensors.numpy
from PIL import Image
from report_cases import EXPLAINERS, gallery, make, study

from xaibench.figures.style import DIVERGING
from xaibench.report import counterfactuals, figures, sprites
from xaibench.report.gallery import fitted, load


def picture(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def test_a_map_is_quantized_on_its_own_scale():
    values = np.array([[[-2.0, 0.0], [1.0, 2.0]], [[0.0, 0.0], [0.0, 0.0]], [[np.nan, 1.0], [-np.inf, -1.0]]])
    assert sprites.quantized(values).tolist() == [[[-127, 0], [64, 127]], [[0, 0], [0, 0]], [[-128, 127], [-128, -127]]]


def test_a_sprite_has_its_tiles_in_rows_and_the_figures_colors():
    maps = np.zeros((12, 3, 5), dtype=np.int8)
    maps[11, 2, 4], maps[0, 0, 0], maps[1, 0, 0] = 127, -127, sprites.UNDEFINED
    found = picture(sprites.signed(maps, 15))
    assert found.shape == (2 * 3, 10 * 5, 3)
    ends = [tuple(np.round(255 * np.array(DIVERGING(place)[:3])).astype(int)) for place in (0.0, 1.0)]
    assert tuple(found[0, 0]) == ends[0]
    assert tuple(found[5, 9]) == ends[1]  # the twelfth tile is the second of the second row
    assert tuple(found[0, 5]) == sprites.MISSING
    assert tuple(found[1, 1]) == (255, 255, 255)


def test_palettes_of_any_size_are_read_back():
    for colors in (2, 4, 16, 63, 256):
        index = np.arange(7 * 9).reshape(7, 9) % colors
        palette = np.stack([np.arange(colors)] * 3, axis=1)
        png = sprites.palette_png(index, palette)
        assert (picture("," + base64.b64encode(png).decode())[..., 0] == index).all()


def test_color_images_keep_their_colors():
    images = np.zeros((1, 3, 2, 2), dtype=np.uint8)
    images[0, 0, 0, 0], images[0, 1, 1, 1] = 255, 102
    found = picture(sprites.color(images))
    assert found[0, 0].tolist() == [255, 0, 0]
    assert found[1, 1].tolist() == [0, 102, 0]


def test_a_gallery_becomes_coarser_then_shorter_to_fit(tmp_path):
    gallery(tmp_path, ["digits-cnn"], EXPLAINERS, images=100, side=12)
    loaded = load(tmp_path)
    sizes = []
    for budget, levels, images in ((10**7, 63, 100), (66_000, 31, 100), (55_000, 15, 100), (33_000, 15, 50), (6_000, 7, 10)):
        found, told = fitted(loaded, budget)
        sizes.append(len(json.dumps(found)))
        assert len(found[0]["index"]) == images, (budget, told)
        assert found[0]["blank"] == {name: {1: "zero", 2: "undefined"} if name == next(iter(EXPLAINERS)) else {} for name in EXPLAINERS}
        assert told == f"{levels} levels of color, {'all' if images == 100 else f'the first {images} of 100'} images"
        assert sum(map(len, found[0]["maps"].values())) <= budget
    assert sizes == sorted(sizes, reverse=True)
    assert fitted(loaded, 100) == ([], "Left out: the maps of 100 images do not fit 0.0 MB.")


def test_pictures_stand_in_for_a_gallery(tmp_path):
    folder = make(tmp_path / "study")
    (folder / "gallery.safetensors").unlink()
    values = np.zeros((2, 1, 3, 4, 4), dtype=np.float32)
    values[0, 0, :, 1, 1] = 2.0
    facts = {
        "index": [4, 7],
        "targets": [[0], [1]],
        "labels": [0, 1],
        "predicted": [0, 0],
        "probability": [0.9, 0.8],
        "classes": ["a", "b"],
    }
    about = {"digits-cnn": facts | {"explainers": {"lime": "lime"}, "pictures": {"maps": {"figure": "maps"}}}}
    tensors = {"digits-cnn/lime": values, "digits-cnn/images": np.ones((2, 3, 4, 4), dtype=np.float16)}
    safetensors.numpy.save_file(tensors, folder / "maps.safetensors", metadata={"about": json.dumps(about)})
    (found,) = load(folder)
    assert found.maps["lime"][0, 0, 1, 1] == 127
    assert found.maps["lime"].shape == (2, 1, 4, 4)
    assert found.images.max() == 255
    assert "maps" in figures.drawn(study(folder), True, False)


def test_counterfactuals_are_shown_with_their_changes(tmp_path):
    proposals = np.full((1, 2, 1, 2, 2), 255, dtype=np.uint8)
    facts = {"index": [4], "targets": [[0, 1]], "labels": [2], "predicted": [2], "probability": [0.9], "classes": ["a", "b", "c"]}
    about = {"digits-cnn": facts | {"explainers": {"wachter": "wachter"}, "pictures": {"ten": {"figure": "counterfactuals"}}}}
    tensors = {
        "digits-cnn/wachter": proposals,
        "digits-cnn/wachter/flag": np.array([[0, 4]], dtype=np.uint8),
        "digits-cnn/images": np.zeros((1, 1, 2, 2), dtype=np.float16),
    }
    safetensors.numpy.save_file(tensors, tmp_path / "maps.safetensors", metadata={"about": json.dumps(about)})
    (found,) = counterfactuals.grids(tmp_path)
    own = found["explainers"]["wachter"]
    assert own["flags"] == [["", "without a counterfactual"]]
    assert (picture(own["shown"])[:2, :4] == 255).all()
    assert tuple(picture(own["change"])[0, 0]) == tuple(np.round(255 * np.array(DIVERGING(1.0)[:3])).astype(int))
    assert load(tmp_path) == []


def test_figures_get_captions_shrink_and_keep_to_their_budget(tmp_path):
    folder = make(tmp_path / "study")
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 4), dtype=np.uint8)
    for name in ("influence-mnist-quantiles", "ranking-deletion", "curves-deletion"):
        Image.fromarray(noise).save(folder / f"{name}.png")
    influence, further, left = figures.figures(study(folder), {"curves"}, 10**6)
    assert [one.caption for one in influence] == ["Influence: mnist, quantiles"]
    assert [(one.caption, one.width) for one in further] == [("Ranking: deletion", 40)]
    assert left == []
    assert len(further[0].source) < (folder / "ranking-deletion.png").stat().st_size
    assert figures.figures(study(folder), {"curves"}, 100) == ([], [], ["influence-mnist-quantiles.png", "ranking-deletion.png"])
