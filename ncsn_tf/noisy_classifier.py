"""A classifier of images perturbed by noise of known level, and its file."""

import json
import zipfile
import zlib
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ncsn_tf.compat import raw_variables
from ncsn_tf.errors import UserError
from ncsn_tf.images import write_atomically
from ncsn_tf.layers import ConditionalInstanceNormPlus, Convolution, LayerTuple


@keras.saving.register_keras_serializable("ncsn_tf")
class NoisyClassifier(keras.Model):
    """A small convolutional classifier that knows the noise level by its normalisation.

    A convolution of x, then three times conditional instance normalisation++, ELU, convolution and
    2 x 2 mean pool, of g, 2 g and 4 g channels; after one more normalisation and ELU a dense layer.
    It is complete after construction.

    Args:
        image_shape: (H, W, C), H and W at least 8.
        features: g, at least 2.
        sigmas: [L], the noise levels, of which only the number matters to the network.
        num_classes: K.

    Shapes: x float32 [B, H, W, C], labels int32 [B] in [0, L) -> logits float32 [B, K].
    """

    norms = LayerTuple()
    convs = LayerTuple()

    def __init__(self, image_shape, features, sigmas, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.image_shape = tuple(image_shape)
        self.features = features
        self.sigmas = np.asarray(sigmas, np.float32)
        self.num_classes = num_classes
        self.build((None, *self.image_shape))

    def build(self, input_shape):
        height, width, channels = self.image_shape
        levels, widths = len(self.sigmas), [self.features * 2**stage for stage in range(3)]
        self.begin_conv = Convolution(self.features, name="begin_conv")
        self.begin_conv.build((None, height, width, channels))
        norms, convs, inputs = [], [], self.features
        for index, filters in enumerate(widths):
            norms.append(ConditionalInstanceNormPlus(levels, name=f"norm{index}"))
            convs.append(Convolution(filters, name=f"conv{index}"))
            norms[-1].build((None, height, width, inputs))
            convs[-1].build((None, height, width, inputs))
            height, width, inputs = height // 2, width // 2, filters
        norms.append(ConditionalInstanceNormPlus(levels, name="end_norm"))
        norms[-1].build((None, height, width, inputs))
        self.norms, self.convs = tuple(norms), tuple(convs)
        self.dense = keras.layers.Dense(self.num_classes, name="dense")
        self.dense.build((None, height * width * inputs))
        self.built = True

    def call(self, x, labels):
        h = self.begin_conv(2.0 * x - 1.0)
        *norms, end_norm = self.norms
        for norm, conv in zip(norms, self.convs, strict=True):
            h = tf.nn.avg_pool2d(conv(tf.nn.elu(norm(h, labels))), 2, 2, "VALID")
        h = tf.nn.elu(end_norm(h, labels))
        return self.dense(tf.reshape(h, [-1, h.shape[1] * h.shape[2] * h.shape[3]]))

    def get_config(self):
        return {"name": self.name, **self.settings}

    @property
    def settings(self):
        """The arguments of the constructor, as JSON can hold them."""
        return {
            "image_shape": [int(side) for side in self.image_shape],
            "features": self.features,
            "sigmas": self.sigmas.tolist(),
            "num_classes": self.num_classes,
        }


def save(path, classifier):
    """Write a `NoisyClassifier` with its settings as one .npz."""
    settings = json.dumps(classifier.settings)
    weights = [variable.numpy() for variable in raw_variables(classifier)]
    arrays = {f"weight{index:02d}": value for index, value in enumerate(weights)}

    def write(temporary):
        with open(temporary, "wb") as file:
            np.savez(file, settings=np.array(settings), **arrays)

    write_atomically(path, write)


def load(path):
    """The `NoisyClassifier` in a file that `save` wrote.

    Raises:
        UserError: the file cannot be read, or is something else.
    """
    path = Path(path).expanduser()
    try:
        with np.load(path) as arrays:
            settings = json.loads(str(arrays["settings"]))
            weights = [arrays[name] for name in sorted(set(arrays.files) - {"settings"})]
        classifier = NoisyClassifier(**settings)
        for variable, value in zip(raw_variables(classifier), weights, strict=True):
            variable.assign(value)
    except OSError as error:
        cause = error.strerror or "not an .npz"
        raise UserError(f"classifier {path} cannot be read: {cause}") from None
    except (
        *(AttributeError, EOFError, LookupError, TypeError, ValueError),
        *(zipfile.BadZipFile, zlib.error),
    ):
        raise UserError(
            f"{path} is not a classifier: make one with python -m ncsn_tf.classifier"
        ) from None
    return classifier
