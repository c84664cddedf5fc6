"""A user's own images and network, on the command line: what runs, and what is refused."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from cli_cases import Bench
from PIL import Image
from torch import nn

from xaibench import keys
from xaibench.component import ConfigurationError
from xaibench.datasets.digits import Digits
from xaibench.datasets.image_folder import ImageFolder, read_image
from xaibench.datasets.npz import Npz
from xaibench.grid import Entry
from xaibench.labels import varying
from xaibench.models import checkpoint
from xaibench.models.checkpoint import Checkpoint
from xaibench.training import TrainingError, check_trainable

NETWORK = '''
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    """As people write them: one activation module for all, functions, and what it expects of its input it does not do itself."""

    def __init__(self, width=8, classes=10, dropout=0.5, softmax=False):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.relu, self.head, self.dropout, self.softmax = nn.ReLU(inplace=True), nn.Linear(width * 16, classes), dropout, softmax

    def forward(self, x):
        x = F.max_pool2d(self.relu(self.conv2(self.relu(self.conv1(x)))), 2)
        x = F.dropout(torch.flatten(x, 1), self.dropout, training=self.training)
        x = self.head(x)
        return F.softmax(x, dim=1) if self.softmax else x


class Noisy(Net):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.5)


class Branching(Net):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


class Hooked(Net):
    def __init__(self):
        super().__init__()
        self.register_forward_hook(lambda module, arguments, out: 10 * out)


class One(Net):
    def __init__(self):
        super().__init__(classes=1)


def not_a_network():
    return 3
'''
MEAN, STD = 0.3, 0.4


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network of a module that is not ours, trained on digits that it wants normalized; its files and the digits'."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_network.py").write_text(NETWORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        import own_network

        torch.manual_seed(0)
        net, arrays = own_network.Net(), Digits().load()
        optimizer, images = torch.optim.Adam(net.parameters(), 3e-3), (arrays.train.images - MEAN) / STD
        for _ in range(150):
            rows = torch.randint(len(images), (128,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[rows]), arrays.train.labels[rows]).backward()
            optimizer.step()
        net.eval()
        accuracy = (net((arrays.test.images - MEAN) / STD).argmax(1) == arrays.test.labels).float().mean().item()
        safetensors.torch.save_file(net.state_dict(), folder / "net.safetensors")
        torch.save(net.state_dict(), folder / "net.pt")
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in net.state_dict().items()}}, folder / "nested.pt")
        torch.save(net, folder / "pickled.pt")
        for name in ("garbage.pt", "garbage.safetensors"):
            (folder / name).write_bytes(b"hello")
        for part, split in (("train", arrays.train), ("test", arrays.test)):
            for place, (image, label) in enumerate(zip(split.images[:300], split.labels[:300], strict=True)):
                file = folder / "images" / part / f"digit {label}" / f"{place:03}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray((image[0].numpy() * 255).round().astype(np.uint8)).save(file)
        numbers = {
            f"{part}_images": (split.images.numpy() * 255).round().astype(np.uint8)
            for part, split in (("train", arrays.train), ("test", arrays.test))
        }
        numbers |= {"train_labels": arrays.train.labels.numpy(), "test_labels": arrays.test.labels.numpy()}
        np.savez(folder / "digits.npz", **numbers)
        yield folder, accuracy


NORMALIZED = (f"model.mean=[{MEAN}]", f"model.std=[{STD}]")


@pytest.fixture
def own(trained, tmp_path):
    """Runs the network of `trained`, or another, on its digits."""
    folder, _ = trained
    bench = Bench(tmp_path, ("explain_on.count=8", "explain_on.background=10", "runtime.threads=1", "runtime.device=cpu"))

    def run(*given, data="npz", target="Net", weights="net.safetensors", command="run"):
        place = {"npz": f"dataset.path={folder / 'digits.npz'}", "image_folder": f"dataset.path={folder / 'images'}"}[data]
        more = ["dataset.height=8", "dataset.width=8", "dataset.channels=1"] if data == "image_folder" else []
        network = ["model=own/checkpoint", f"model.target=own_network.{target}", f"model.weights={folder / weights}"]
        return bench(command, f"dataset=own/{data}", place, *more, *network, *given)

    run.bench = bench
    return run


def test_two_sets_and_two_networks_are_four_in_tables(own, trained, tmp_path):
    folder, _ = trained
    with np.load(folder / "digits.npz") as file:
        content = {name: values[:200] for name, values in file.items()}
    np.savez(tmp_path / "few.npz", **content)
    state = {name: 0.9 * value for name, value in safetensors.torch.load_file(folder / "net.safetensors").items()}
    safetensors.torch.save_file(state, tmp_path / "other.safetensors")
    given = (f"dataset.path={folder / 'digits.npz'},{tmp_path / 'few.npz'}", "-m", "explainer=gradient", "metric=deletion")
    outcome = own(*given, f"model.weights={folder / 'net.safetensors'},{tmp_path / 'other.safetensors'}")
    assert outcome.status == 0, outcome.out + outcome.err
    found = pd.read_csv(own.bench.results / "sweep" / "table.csv")[["dataset", "model"]].drop_duplicates()
    assert sorted(found["dataset"].unique()) == ["npz[name=digits]", "npz[name=few]"]
    assert sorted(found["model"].unique()) == ["checkpoint[name=net]", "checkpoint[name=other]"]
    assert len(found) == 4


def test_namesakes_have_a_few_digits_of_their_content(tmp_path):
    (tmp_path / "again").mkdir()
    one, other = Npz(arrays(tmp_path, images=IMAGES, labels=LABELS)), Npz(arrays(tmp_path / "again", images=IMAGES, labels=1 - LABELS))
    made = varying((Entry("npz", one), Entry("npz", other)))
    assert list(made.values()) == [f"npz[sha256={one.sha256[:8]}]", f"npz[sha256={other.sha256[:8]}]"]
    os.link(one.path, tmp_path / "same.npz")
    with pytest.raises(ConfigurationError, match="npz: expected components that differ"):
        varying((Entry("npz", one), Entry("npz", Npz(str(tmp_path / "same.npz"), name="some"))))


def clear_caches():
    for module in (checkpoint, keys):
        for cached in vars(module).values():
            if hasattr(cached, "cache_clear"):
                cached.cache_clear()


def accuracy(bench):
    return float(
        np.genfromtxt(bench.results / "sweep" / "classifiers.csv", delimiter=",", names=True, dtype=None, encoding=None)["accuracy"]
    )


@pytest.mark.parametrize("weights", ["net.safetensors", "net.pt", "nested.pt"])
def test_the_network_is_the_users(own, trained, weights):
    outcome = own(*NORMALIZED, "explainer=gradient", "metric=deletion", "figures=[learning_curves]", weights=weights)
    assert outcome.status == 0, outcome.out + outcome.err
    assert accuracy(own.bench) == pytest.approx(trained[1], abs=0.004)  # bytes are not the digits' 17 levels
    assert trained[1] > 0.9


def test_rules_that_follow_modules_see_its_functions_and_shared_activations(own):
    given = (
        "-m",
        *NORMALIZED,
        "explainer=full_grad,deep_lift,guided_backpropagation,lrp_epsilon_plus,grad_cam,deep_shap,integrated_gradients",
    )
    outcome = own(*given, "metric=deletion,completeness_error,mprt")
    assert outcome.status == 0, outcome.out + outcome.err
    assert "0 failed" in outcome.out
    assert own.bench.made()["evaluate"] == 17  # four explainers claim no completeness
    scores = (own.bench.results / "sweep" / "table.csv").read_text().splitlines()
    errors = [float(line.split(",")[10]) for line in scores if ",completeness_error,value," in line and ",deep_" in line]
    assert len(errors) == 2
    assert max(errors) < 1e-4
    as_it_is = own(*given, "metric=deletion", "model.rewrite=false")
    assert as_it_is.status == 0
    assert "skipped" in as_it_is.out
    assert "xaibench.rewriting.modular" in " ".join(as_it_is.out.split())


def test_image_files_of_a_folder(own):
    outcome = own(*NORMALIZED, "explainer=gradient", "metric=deletion", data="image_folder")
    assert outcome.status == 0, outcome.out + outcome.err
    assert accuracy(own.bench) > 0.85


def test_nothing_depends_on_where_files_lie(own, trained, tmp_path):
    assert own("explainer=gradient", "metric=deletion").status == 0
    made = own.bench.made()
    for name in ("net.safetensors", "digits.npz"):
        os.link(trained[0] / name, tmp_path / name)
    moved = own(
        "explainer=gradient", "metric=deletion", f"model.weights={tmp_path / 'net.safetensors'}", f"dataset.path={tmp_path / 'digits.npz'}"
    )
    assert "0 done, 1 cached" in moved.out
    assert own.bench.made() == made


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"target": "Nett"}, ["model.target='own_network.Nett'", "import path"]),
        ({"target": "not_a_network"}, ["expected a torch.nn.Module, got int"]),
        ({"weights": "absent.pt"}, ["absent.pt", "expected a file"]),
        ({"weights": "pickled.pt"}, ["pickled.pt", "weights_only=True"]),
        ({"weights": "garbage.pt"}, ["garbage.pt", "weights_only=True"]),
        ({"weights": "garbage.safetensors"}, ["garbage.safetensors", "expected a .safetensors file"]),
        ({"more": ["model.arguments=[width:4]"]}, ["model.weights", "size mismatch"]),
        ({"more": ["model.arguments=[depth:4]"]}, ["model.arguments", "depth"]),
        ({"more": ["model.arguments=[width]"]}, ["'width'", "name:value"]),
        ({"more": ["model.std=[0]"]}, ["model.std", "> 0"]),
        ({"more": ["model.mean=[0.1,0.2,0.3]"]}, ["mean=(0.1, 0.2, 0.3)", "expected 1 number, or 1"]),
        ({"more": ["model.sha256=abc"]}, ["model.sha256=abc", "expected"]),
        ({"more": ["seed=0,1", "-m"]}, ["seed=0,1", "expected one seed"]),
        ({"more": ["dataset.class_names=[a,b]"]}, ["dataset.class_names", "at least 10 names"]),
        ({"more": [f"dataset.class_names=[{','.join(f'c{place}' for place in range(12))}]"]}, ["logits of 12 classes", "(2, 10)"]),
        ({"target": "Noisy"}, ["the same logits", "eval mode"]),
        ({"target": "Branching"}, ["model.rewrite=true", "cannot be traced", "expected false"]),
        ({"target": "Hooked"}, ["model.rewrite=true", "Hooked rewritten gives other logits than itself", "expected false"]),
        ({"data": "image_folder", "more": ["dataset.height=20"]}, ["expected a network for images of shape (1, 20, 8)"]),
    ],
)
def test_mistakes_are_told_before_anything_is_computed(own, given, told):
    more = given.get("more", [])
    outcome = own(*more, "explainer=gradient", "metric=deletion", **{name: value for name, value in given.items() if name != "more"})
    assert outcome.status == 2, outcome.out + outcome.err
    assert all(text in outcome.err for text in told), outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.strip().isprintable()  # torch's messages have escape codes
    assert not any(own.bench.made().values())


def test_what_a_given_network_is_worth_is_told(own, trained):
    given = ("explainer=gradient", "metric=deletion")
    good = own(*NORMALIZED, *given)
    share = 100 * trained[1]
    told = float(re.search(r"checkpoint on npz: ([0-9.]+)% of [0-9]+ test images are classified right", good.out)[1])
    assert told == pytest.approx(share, abs=0.4)
    assert "model.mean" not in good.out
    wrong = own("model.std=[1000]", *given)
    assert re.search(r"checkpoint on npz: [0-9.]+% of .*largest class has 1.*; are model\.mean, model\.std", wrong.out)


def test_networks_and_components_beside_the_command_are_found(trained, tmp_path, monkeypatch):
    """As from the console script, which does not put the current folder on the path."""
    folder, here = trained[0], tmp_path / "here"
    here.mkdir()
    (here / "a_network_of_this_folder.py").write_text(NETWORK)
    (tmp_path / "conf" / "explainer").mkdir(parents=True)
    (tmp_path / "conf" / "beside_its_yaml.py").write_text("from xaibench.explainers.sobel import Sobel as Mine\n")
    (tmp_path / "conf" / "explainer" / "mine.yaml").write_text("_target_: beside_its_yaml.Mine\n")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    bench = Bench(tmp_path, ("explain_on.count=8", "runtime.threads=1", "runtime.device=cpu"))
    network = ("model=own/checkpoint", "model.target=a_network_of_this_folder.Net", f"model.weights={folder / 'net.pt'}")
    data = ("dataset=own/npz", f"dataset.path={folder / 'digits.npz'}")
    outcome = bench.run(*data, *network, "--config-dir", str(tmp_path / "conf"), "explainer=mine", "metric=sparseness", "figures=[]")
    assert outcome.status == 0, outcome.out + outcome.err


def test_a_file_name_with_an_equals_sign_needs_quotes(own):
    outcome = own("explainer=gradient", "metric=deletion", weights="epoch=3.ckpt")
    assert outcome.status == 2
    assert """needs quotes: model.weights='"epoch=3.ckpt"'""" in outcome.err
    quoted = own("explainer=gradient", "metric=deletion", "model.weights='absent=3.ckpt'")
    assert "model.weights=absent=3.ckpt: expected a file" in quoted.err


def test_probabilities_in_place_of_logits_are_told(own):
    outcome = own(*NORMALIZED, "explainer=gradient", "metric=deletion", "model.arguments=[softmax:true]")
    assert outcome.status == 0
    assert "model=checkpoint gives probabilities; expected logits" in outcome.err


def arrays(tmp_path, **content):
    np.savez(tmp_path / "some.npz", **content)
    return str(tmp_path / "some.npz")


IMAGES, LABELS = np.zeros((20, 4, 5), dtype=np.uint8), np.arange(20) % 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"images": IMAGES}, "expected images and labels"),
        ({"images": IMAGES.astype(np.float32) - 1.5, "labels": LABELS}, "between -1.5 and -1.5: expected bytes, or numbers in"),
        ({"images": IMAGES.astype(np.int64) + 300, "labels": LABELS}, "expected bytes, or numbers in"),
        ({"images": np.zeros((20, 4, 5, 3)), "labels": LABELS}, "with 1 or 3 channels"),
        ({"images": IMAGES, "labels": LABELS[:3]}, r"expected \(20,\) integers"),
        ({"images": IMAGES, "labels": LABELS / 2}, "integers from 0"),
        ({"images": IMAGES, "labels": np.array([None] * 20)}, "without pickled objects"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "at least one image"),
        (
            {"train_images": IMAGES, "train_labels": LABELS, "test_images": IMAGES[:, 1:], "test_labels": LABELS},
            r"images of one shape, got train_images of shape \(20, 4, 5\), test_images of shape \(20, 3, 5\)",
        ),
    ],
)
def test_arrays_that_are_no_images_with_labels(tmp_path, content, told):
    with pytest.raises(ValueError, match=told):
        Npz(arrays(tmp_path, **content)).load()


def test_arrays_are_split_where_there_is_no_test_set(tmp_path):
    found = Npz(arrays(tmp_path, images=IMAGES + 51, labels=LABELS))
    assert (found.shape, found.classes) == ((1, 4, 5), ("0", "1"))
    loaded = found.load()
    assert [len(part.labels) for part in (loaded.train, loaded.validation, loaded.test)] == [12, 2, 6]
    assert loaded.train.images.unique().tolist() == [pytest.approx(0.2)]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "npy", "empty"])
def test_files_that_are_no_whole_npz(tmp_path, damage):
    whole = Path(arrays(tmp_path, images=IMAGES, labels=LABELS))
    content = bytearray(whole.read_bytes())
    content[200] ^= 255
    whole.write_bytes({"truncated": content[:300], "flipped": content, "npy": b"", "empty": b""}[damage])
    if damage == "npy":
        np.save(tmp_path / "some.npy", IMAGES)
        (tmp_path / "some.npy").rename(whole)
    with pytest.raises(ConfigurationError, match=r"dataset\.path=.*some\.npz: expected a whole \.npz file"):
        Npz(str(whole))


@pytest.mark.parametrize(("part", "fields"), [("test_", {}), ("", {"test_share": 1})])
def test_a_test_set_alone_or_all_images_where_nothing_is_trained(tmp_path, part, fields):
    loaded = Npz(arrays(tmp_path, **{f"{part}images": IMAGES, f"{part}labels": LABELS}), **fields).load()
    assert [len(each.labels) for each in (loaded.train, loaded.validation, loaded.test)] == [20, 0, 20]
    with pytest.raises(TrainingError, match=r"dataset\.test_share=1"):
        check_trainable(loaded)


def test_a_folder_with_a_test_set_alone(tmp_path):
    picture(tmp_path / "test" / "a" / "1.png", "red")
    alone = ImageFolder(str(tmp_path), height=2, width=2)
    assert (alone.test_images, len(alone.load().test.labels)) == (1, 1)


@pytest.mark.parametrize(
    ("labels", "fields", "told"),
    [
        (np.array([0] * 19 + [1]), {}, r"dataset\.test_share=0\.3: .*20 images of 2 classes, the smallest of 1\), or 1 to explain all"),
        (np.arange(20) % 3, {}, r"dataset\.validation_share=0\.1: .*of 3 classes.* or 0 where nothing is trained"),
        (np.arange(20) % 3, {"test_share": 0}, r"test_share=0: expected a number and > 0"),
    ],
)
def test_sets_that_are_too_small_for_a_share(tmp_path, labels, fields, told):
    with pytest.raises(ConfigurationError, match=told):
        Npz(arrays(tmp_path, images=IMAGES, labels=labels), **fields).load()


@pytest.mark.parametrize("fields", [{}, {"validation_share": 0}, {"test_share": 1}, {"test_share": 0.17, "validation_share": 0.23}])
def test_sizes_are_known_before_anything_is_read(tmp_path, fields):
    for name, color in (("a", "red"), ("b", "blue")):
        for place in range(17):
            picture(tmp_path / "flat" / name / f"{place}.png", color)
            picture(tmp_path / "divided" / ("test" if place < 5 else "train") / name / f"{place}.png", color)
    for folder in ("flat", "divided"):
        found = ImageFolder(str(tmp_path / folder), height=2, width=2, **fields)
        loaded = found.load()
        assert (found.train_images, found.test_images) == (len(loaded.train.labels), len(loaded.test.labels))


def test_a_class_is_named_once(tmp_path):
    with pytest.raises(ConfigurationError, match=r"dataset\.class_names: .*cat stands there twice"):
        Npz(arrays(tmp_path, images=IMAGES, labels=LABELS), class_names=("cat", "cat", "dog"))


def picture(path, color, size=(6, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def test_files_are_scaled_and_cut_around_the_center(tmp_path):
    for place in range(10):
        for name, color in (("a", (255, 0, 0)), ("b", (0, 0, 255))):
            picture(tmp_path / name / f"{place}.png", color)
    found = ImageFolder(str(tmp_path), height=2, width=2)
    assert (found.shape, found.classes) == ((3, 2, 2), ("a", "b"))
    loaded = found.load()
    assert [len(part.labels) for part in (loaded.train, loaded.validation, loaded.test)] == [12, 2, 6]
    assert all(
        image[:, 0, 0].tolist() == ([1, 0, 0] if label == 0 else [0, 0, 1])
        for image, label in zip(*vars(loaded.test).values(), strict=True)
    )
    wide = Image.new("RGB", (12, 4))
    wide.paste((255, 255, 255), (4, 0, 8, 4))
    wide.save(tmp_path / "a" / "wide.png")
    cut = read_image(tmp_path / "a" / "wide.png", height=4, width=4, channels=1)
    assert cut.shape == (1, 4, 4)
    assert (cut == 1).all()


def test_hidden_files_and_folders_are_no_images_and_no_classes(tmp_path):
    for name in ("a/1.png", "a/._1.png", ".trash/1.png", "b/1.png"):
        picture(tmp_path / name, "red")
    found = ImageFolder(str(tmp_path), height=2, width=2, test_share=1)
    assert (found.classes, found.test_images) == (("a", "b"), 2)


@pytest.mark.parametrize("name", ["16.png", "16.tif", "float.tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_fine_gray_values_keep_their_range(tmp_path, name, channels):
    values = np.linspace(0.1, 0.6, 400).reshape(20, 20)
    found = values.astype(np.float32) if name == "float.tif" else (values * 65535).astype(np.uint16)
    Image.fromarray(found).save(tmp_path / name)
    read = read_image(tmp_path / name, 20, 20, channels)
    assert read.shape == (channels, 20, 20)
    assert (read - torch.from_numpy(values)).abs().max() < 1e-4


@pytest.mark.parametrize("values", [np.full((4, 4), 70_000, dtype=np.int32), np.full((4, 4), 3, dtype=np.float32)])
def test_gray_values_of_no_known_range_are_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "some.tif")
    with pytest.raises(ConfigurationError, match=r"some\.tif: .*expected 8 or 16 bits, or floating point numbers in"):
        read_image(tmp_path / "some.tif", 4, 4, 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_white(tmp_path, mode):
    Image.new(mode, (4, 4), (0, 0, 0, 0) if mode == "RGBA" else (0, 0)).save(tmp_path / "some.png")
    assert (read_image(tmp_path / "some.png", 4, 4, 3) == 1).all()


def test_images_too_large_to_be_read_are_told(tmp_path, monkeypatch):
    picture(tmp_path / "some.png", "red", (40, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ConfigurationError, match=r"some\.png: expected an image \(DecompressionBombError"):
        read_image(tmp_path / "some.png", 4, 4, 3)


def test_classes_of_the_network_that_the_folder_lacks(tmp_path):
    picture(tmp_path / "train" / "dog" / "1.png", "red")
    picture(tmp_path / "test" / "cat" / "1.png", "red")
    chosen = ImageFolder(str(tmp_path), height=2, width=2, class_names=("ant", "cat", "dog"))
    assert {part: found.tolist() for part, found in chosen.labels().items()} == {"train": [2], "test": [1]}
    before, again = chosen.checksum(), tmp_path / "again"
    picture(again / "train" / "dog" / "1.png", "blue")
    picture(again / "test" / "cat" / "1.png", "red")
    assert ImageFolder(str(again), height=2, width=2).checksum() != before
    with pytest.raises(ValueError, match="dog has none"):
        _ = ImageFolder(str(tmp_path), height=2, width=2, class_names=("ant", "cat")).classes


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "expected a folder with one folder of images for each class"),
        (lambda path: (path / "x").mkdir(parents=True), "expected a folder for each class, with files"),
        (lambda path: picture(path / "train" / "a" / "1.png", "red"), "expected the folders train and test, test alone"),
    ],
)
def test_folders_without_images(tmp_path, make, told):
    make(tmp_path / "data")
    with pytest.raises(ValueError, match=told):
        ImageFolder(str(tmp_path / "data"), height=2, width=2).checksum()


def test_a_file_that_is_no_image(tmp_path):
    for place in range(10):
        picture(tmp_path / "a" / f"{place}.png", "red")
        picture(tmp_path / "b" / f"{place}.png", "red")
    (tmp_path / "a" / "3.png").write_text("text")
    with pytest.raises(ValueError, match=r"3\.png: expected an image"):
        ImageFolder(str(tmp_path), height=2, width=2).load()


def test_content_and_the_networks_code_count_not_the_folders_name(trained, tmp_path):
    folder, _ = trained
    one = Checkpoint("own_network.Net", str(folder / "net.safetensors"))
    other = Checkpoint("own_network.Net", str(folder / "net.pt"))
    assert one.sha256 != other.sha256
    assert len(one.source) == 64
    digits = Npz(str(folder / "digits.npz"))
    os.link(folder / "digits.npz", tmp_path / "moved.npz")
    assert Npz(str(tmp_path / "moved.npz")).checksum() == digits.checksum()
    with np.load(folder / "digits.npz") as file:
        content = dict(file)
    content["test_labels"][0] = 1 - content["test_labels"][0]
    assert Npz(arrays(tmp_path, **content)).checksum() != digits.checksum()


def test_helpers_of_a_checkpoint_are_trained_in_train_mode(trained):
    folder, _ = trained
    network = Checkpoint("own_network.Net", str(folder / "net.pt"), mean=(MEAN,), std=(STD,)).build((1, 8, 8), 10)
    assert [name for name, module in network.named_modules() if not module.training] == ["0"]  # the normalization


CHANGES = {
    "the_network.py": ("relu", "tanh"),
    "its_blocks.py": ("return x", "return 2 * x"),
    "its_decorators.py": ("return inner", "return inner  # a remark"),
    "its_factory.py": ("Net, classes=3", "Net, classes=3, width=4"),
    "unrelated.py": ("1", "2"),
}
CODE = {
    "the_network.py": "import torch\nfrom torch import nn\nfrom its_blocks import head\n\n\nclass Net(nn.Module):\n"
    "    def __init__(self, classes=3, width=4):\n        super().__init__()\n        self.head = nn.Linear(width, classes)\n\n"
    "    def forward(self, x):\n        return head(torch.relu(self.head(x)))\n",
    "its_blocks.py": "def head(x):\n    return x\n",
    "its_decorators.py": "import functools\n\n\ndef decorated(made):\n    @functools.wraps(made)\n    def inner(**given):\n"
    "        return made(**given)\n\n    return inner\n",
    "its_factory.py": "import functools\nfrom its_decorators import decorated\nfrom the_network import Net\n\n\n@decorated\n"
    "def small(**given):\n    return Net(**given)\n\n\npart = functools.partial(Net, classes=3)\n",
    "unrelated.py": "x = 1\n",
}


@pytest.mark.parametrize("target", ["the_network.Net", "its_factory.small", "its_factory.part"])
def test_a_network_is_known_by_all_code_that_it_consists_of(tmp_path, monkeypatch, target):
    for name, text in CODE.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "weights.pt").write_bytes(b"any")

    def source():
        clear_caches()
        for name in CODE:
            sys.modules.pop(name.removesuffix(".py"), None)
        return Checkpoint(target, str(tmp_path / "weights.pt")).source

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before, changed = source(), set()
    for name, (old, new) in CHANGES.items():
        assert old in CODE[name]
        (tmp_path / name).write_text(CODE[name].replace(old, new))
        changed |= {name} if source() != before else set()
        (tmp_path / name).write_text(CODE[name])
    assert changed == {"the_network.py", "its_blocks.py"} | ({"its_factory.py"} if target.startswith("its_factory") else set())


def test_names_that_begin_with_module_are_the_networks_own(tmp_path, monkeypatch):
    (tmp_path / "own_wrap.py").write_text(
        "from torch import nn\n\n\nclass Wrap(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.module = nn.Linear(2, 2)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_wrap

    network = own_wrap.Wrap()
    for name, wrapped in (("plain.pt", network), ("parallel.pt", nn.DataParallel(network))):
        torch.save(wrapped.state_dict(), tmp_path / name)
        assert torch.equal(Checkpoint("own_wrap.Wrap", str(tmp_path / name)).network().module.weight, network.module.weight)


def test_one_picture_of_all_methods(trained, tmp_path, capsys):
    folder, _ = trained
    image = next((folder / "images" / "test" / "digit 3").iterdir())
    given = ["explain", str(image), "--target", "own_network.Net", "--weights", str(folder / "net.pt"), "--size", "8", "--channels", "1"]
    given += ["--mean", str(MEAN), "--std", str(STD), "--out", str(tmp_path / "maps.png")]
    outcome = Bench(tmp_path).typed(*given, "--explainers", "gradient", "deep_shap", "lrp_epsilon_plus", "lime", "sobel")
    assert outcome.status == 0, outcome.err
    assert outcome.out.splitlines()[0].startswith("class 3: ")
    assert "5 explanations of class 3" in outcome.out
    with Image.open(tmp_path / "maps.png") as picture:
        assert len(picture.convert("RGB").getcolors(10**6)) > 20
    other = Bench(tmp_path).typed(*given, "--explainers", "gradient", "--class", "5")
    assert "1 explanations of class 5" in other.out
    wrong = Bench(tmp_path).typed(*given, "--class", "12")
    assert (wrong.status, "expected a class below 10" in wrong.err) == (2, True)


@pytest.fixture
def explained(trained, tmp_path):
    """`xaibench explain` of an image of the digit 3, with a few explainers."""
    folder, _ = trained
    image = next((folder / "images" / "test" / "digit 3").iterdir())
    given = ["explain", str(image), "--target", "own_network.Net", "--weights", str(folder / "net.pt"), "--size", "8", "--channels", "1"]
    given += ["--mean", str(MEAN), "--std", str(STD), "--out", str(tmp_path / "maps.png"), "--explainers", "gradient"]
    return lambda *more: Bench(tmp_path).typed(*given, *more)


def test_classes_have_names_in_what_is_told(explained):
    assert "1 explanations of class drei in" in explained("--classes", "null,eins,zwei,drei,vier,fünf,sechs,sieben,acht,neun").out
    named = explained("--classes", "null,eins,zwei,drei,vier,fünf,sechs,sieben,acht,neun", "--class", "sechs")
    assert "1 explanations of class sechs in" in named.out


def test_a_network_that_cannot_be_traced_is_explained_as_it_is(explained):
    refused = explained("--target", "own_network.Branching")
    assert (refused.status, "--no-rewrite" in refused.err) == (2, True)
    assert explained("--target", "own_network.Branching", "--no-rewrite").status == 0


def test_what_fails_or_gives_no_map_is_left_out_of_the_picture(explained, monkeypatch):
    def failing(self, problem, rng):
        raise RuntimeError("boom")

    monkeypatch.setattr("xaibench.explainers.saliency.Saliency.__call__", failing)
    outcome = explained("--explainers", "saliency", "counterfactual/wachter", "gradient")
    assert (outcome.status, "1 explanations of class 3" in outcome.out) == (1, True)
    assert "saliency: failed: RuntimeError: boom" in outcome.err
    assert "wachter: gives counterfactuals" in outcome.err
    nothing = explained("--explainers", "counterfactual/wachter")
    assert (nothing.status, "no explanation" in nothing.err) == (2, True)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--mean", "0.5", "0.5"], "--mean=(0.5, 0.5): expected 1 number, or 1"),
        (["--channels", "3"], "--target own_network.Net: expected a network for images of shape (3, 8, 8)"),
        (["--background", "nope"], "--background nope: expected a folder of images"),
        (["--size", "0"], "--size 0: expected a number of pixels above 0"),
        (["--out", "ex.xyz"], "--out ex.xyz: expected a file .png, .svg, .pdf"),
        (["--out", "nowhere/ex.png"], "in a folder that is there"),
        (["--classes", "cat,dog"], "--classes cat,dog: expected 10 names"),
    ],
)
def test_mistakes_in_explaining(explained, given, told):
    outcome = explained(*given)
    assert (outcome.status, len(outcome.err.splitlines())) == (2, 1), outcome.err
    assert told in outcome.err


def test_one_output_is_refused(trained, explained):
    folder, _ = trained
    import own_network

    safetensors.torch.save_file(own_network.One().state_dict(), folder / "one.safetensors")
    outcome = explained("--target", "own_network.One", "--weights", str(folder / "one.safetensors"))
    assert (outcome.status, "give the two logits [0, z]" in outcome.err) == (2, True)
