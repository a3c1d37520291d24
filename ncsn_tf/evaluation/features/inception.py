"""The Inception network of 2015, the one that FID, KID and IS are named for.

It is a frozen graph of TensorFlow 1. Heusel et al. 2017 (arXiv:1706.08500) take the 2,048 numbers
before its last layer as features, Salimans et al. 2016 (arXiv:1606.03498) the probabilities of its
1,008 classes, made without that layer's bias. It resizes images itself, as TensorFlow 1 did.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from ncsn_tf.data.cache import cache_folder
from ncsn_tf.errors import UserError
from ncsn_tf.evaluation.features.network import FeatureNetwork
from ncsn_tf.files import user_path
from ncsn_tf.settings.config import Config

FILE = "classify_image_graph_def.pb"
ARCHIVE = "http://download.tensorflow.org/models/image/imagenet/inception-2015-12-05.tgz"
SHA256 = "009d6814d1bc560d4e7b236e170e9b2d5ca6f4b57bd8037f6db05776204415c6"
SIZE = 95_673_916  # bytes
_IMAGES, _FEATURES, _LOGITS = "ExpandDims:0", "pool_3:0", "softmax/logits/MatMul"


def open_inception(
    inception: str = "", config: Config | None = None, data_dir: str = "", cache_dir: str = ""
) -> FeatureNetwork:
    """The network of a file, whose checksum is that of the original.

    Args:
        inception: the file; empty is inception/classify_image_graph_def.pb in the cache.
        config, data_dir: not looked at.
        cache_dir: as in `cache.cache_folder`.

    Raises:
        UserError: there is no such file, or it is damaged or another one; one line.
    """
    usual = cache_folder(cache_dir) / "inception" / FILE
    path = user_path(inception) if inception else usual
    if not path.is_file():
        raise UserError(
            f"{path} is not a file: the features inception need {FILE} of {ARCHIVE}, which belongs "
            f"to {usual}, or where --inception says"
        )
    content, sha256 = _checked(path)
    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(content)
    # Shapes that are noted in it are those of one image, and TensorFlow would believe them.
    for node in graph.node:
        node.attr.pop("_output_shapes", None)

    def build(images):
        features, logits = tf.graph_util.import_graph_def(
            graph, {_IMAGES: images}, return_elements=[_FEATURES, _LOGITS], name=""
        )
        kernel = logits.inputs[1]  # [D, K]
        vectors = tf.reshape(features, [-1, kernel.shape[0]])
        return vectors, tf.nn.softmax(vectors @ kernel)

    compute = tf.compat.v1.wrap_function(build, [tf.TensorSpec([None, None, None, 3], tf.float32)])
    vectors, probabilities = compute.structured_outputs
    return FeatureNetwork(
        lambda pixels: tuple(
            part.numpy() for part in compute(tf.constant(pixels.astype(np.float32)))
        ),
        name="Inception2015",
        checksum=sha256[:16],
        resize="bilinear to 299x299, TensorFlow 1's",
        dimension=vectors.shape[1],
        num_classes=probabilities.shape[1],
        is_inception=True,
    )


def _checked(path: str | os.PathLike) -> tuple[bytes, str]:
    """(content, sha256) of the original file; a UserError for another one."""
    size = os.path.getsize(path)
    what = f"{FILE} of {ARCHIVE}"
    if size != SIZE:
        raise UserError(f"{path} has {size:,} bytes: it is not, or not all of, {what} ({SIZE:,})")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != SHA256:
        raise UserError(f"{path} is damaged, or not {what}: its sha256 is {sha256}, not {SHA256}")
    return content, sha256
