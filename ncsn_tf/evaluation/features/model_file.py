"""Feature networks by path: a classifier in a .keras file, or a SavedModel with named outputs."""

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.special import softmax

from ncsn_tf.errors import UserError
from ncsn_tf.evaluation.features.network import TILE, FeatureNetwork
from ncsn_tf.files import digest, plain_folder, user_path

_SAVED_MODEL = "saved_model.pb"
_PART = 2**22  # bytes that are read at a time
# Where the classes of a .keras file may come from, and which layers there run a program or read
# files that the file names.
_MODULES = re.compile(
    r"keras|keras\.(src\.)?(layers|ops|initializers|regularizers|constraints|models|engine|"
    r"dtype_policies|mixed_precision)(\..*)?"
)
_PROGRAMS = re.compile(
    r".*Lambda|function|__lambda__|.*Lookup|TextVectorization|TFSMLayer|TorchModuleWrapper|"
    r"FlaxLayer|JaxLayer"
)


def is_model(path: str | os.PathLike) -> bool:
    """Whether a path is named like a .keras file, or is a SavedModel's folder."""
    place = user_path(path)
    return place.suffix == ".keras" or (place / _SAVED_MODEL).is_file()


def open_model(path: str | os.PathLike) -> FeatureNetwork:
    """The network of a .keras file or a SavedModel.

    Of a .keras file the features are what goes into the last layer with weights, averaged over
    pixels where it has some; the probabilities are the model's output, or its softmax where it
    does not add up to 1. A SavedModel has the signature serving_default with one input, and an
    output `features` [B, D]; `probabilities` [B, K] may be another.

    Images are given as the input wants them: uint8, or float in [0, 1]; 1 or 3 channels; resized
    where it has a fixed size.

    Raises:
        UserError: it cannot be read, is of another kind, or would run a program of its own.
    """
    place = user_path(path)
    if place.suffix != ".keras":
        compute, spec = _saved_model(place)
    else:
        compute, spec = _keras_model(place)
    shape = spec.shape
    if shape.rank != 4 or shape[3] not in (1, 3):
        raise UserError(
            f"{path} takes {shape}: a feature network takes images [B, H, W, 1] or [B, H, W, 3]"
        )
    size = [shape[1], shape[2]]
    if (size[0] is None) != (size[1] is None):
        raise UserError(f"{path} takes {shape}: height and width must be both fixed, or neither")
    tile = shape[0] or TILE
    whole = _with_size(compute, spec.dtype, size, str(path))
    sides = size if size[0] else [64, 64]
    # What comes out tells how many numbers there are.
    pixels = np.random.RandomState(0).randint(0, 256, (tile, *sides, shape[3]), np.uint8)
    vectors, probabilities = whole(pixels)
    if probabilities is not None and not _adds_up(probabilities):
        if place.suffix != ".keras":
            raise UserError(f"{path} has `probabilities` whose rows do not add up to 1")
        from_logits = whole

        def whole(pixels):
            vectors, logits = from_logits(pixels)
            return vectors, softmax(logits, axis=1)

    return FeatureNetwork(
        whole,
        name=re.sub(r"[^\w.]+", "_", place.name.removesuffix(".keras")),
        checksum=digest(_contents(place)),
        resize="bilinear with antialiasing to {}x{}".format(*size) if size[0] else "none",
        dimension=vectors.shape[1],
        num_classes=0 if probabilities is None else probabilities.shape[1],
        channels=shape[3],
        tile=tile,
    )


def _with_size(compute, dtype, size, path):
    """uint8 [B, h, w, C] -> (vectors, probabilities or None), as numpy arrays."""

    @tf.function(autograph=False)
    def run(pixels):
        images = tf.cast(pixels, tf.float32)
        if size[0] is not None and list(images.shape[1:3]) != size:
            images = tf.clip_by_value(tf.image.resize(images, size, antialias=True), 0.0, 255.0)
        images = images / 255.0 if dtype.is_floating else tf.round(images)
        return compute(tf.cast(images, dtype))

    def whole(pixels):
        try:
            found = [np.asarray(part, np.float32) for part in run(tf.constant(pixels))]
        except (tf.errors.OpError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} cannot take images {list(pixels.shape)}: {_line(error)}"
            ) from None
        vectors, probabilities = (*found, None)[:2]
        if vectors.ndim != 2 or len(vectors) != len(pixels):
            raise UserError(f"{path} has features {list(vectors.shape)}, not [B, D]")
        if probabilities is not None and probabilities.shape[:-1] != vectors.shape[:1]:
            raise UserError(f"{path} has probabilities {list(probabilities.shape)}, not [B, K]")
        return vectors, probabilities

    return whole


def _adds_up(probabilities):
    return probabilities.min() >= 0 and np.allclose(probabilities.sum(1), 1.0, atol=1e-3)


def _keras_model(place: Path) -> tuple[Callable[[tf.Tensor], tuple], tf.TensorSpec]:
    _check_config(place)
    try:
        model = keras.models.load_model(place, compile=False, safe_mode=True)
        (images,) = model.inputs
        (output,) = model.outputs
        last = [layer for layer in model.layers if layer.weights][-1]
        inside = None if isinstance(last, keras.Model) else last.input
        extract = keras.Model(images, [inside, output]) if inside is not None else None
    except Exception as error:  # whatever Keras raises on a file that is damaged or foreign
        raise UserError(f"{place} is not a classifier that Keras reads: {_line(error)}") from None
    if extract is None:
        raise UserError(
            f"{place} ends with a model inside the model, whose last layer is not seen: save it as "
            "one, or as a SavedModel with outputs `features` and `probabilities`"
        )
    if len(inside.shape) not in (2, 4):
        raise UserError(f"{place} has {list(inside.shape)} before its last layer, not [B, D]")
    is_classifier = len(output.shape) == 2 and output.shape[1] > 1

    def compute(pixels):
        vectors, answers = extract(pixels, training=False)
        vectors = tf.cast(vectors, tf.float32)
        if vectors.shape.rank == 4:
            vectors = tf.reduce_mean(vectors, [1, 2])
        return (vectors, tf.cast(answers, tf.float32)) if is_classifier else (vectors,)

    return compute, tf.TensorSpec(tf.TensorShape(images.shape), tf.as_dtype(images.dtype))


def _check_config(place: Path) -> None:
    """Raise a UserError for a .keras file that holds more than layers of Keras."""
    try:
        with zipfile.ZipFile(place) as archive:
            config = json.loads(archive.read("config.json"))
    except OSError as error:
        raise UserError(f"{place} cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, EOFError, LookupError, RecursionError, ValueError) as error:
        raise UserError(f"{place} is not a .keras file: {_line(error)}") from None
    for item in _dicts(config):
        name, module = item.get("class_name"), item.get("module")
        if isinstance(name, str) and (
            _PROGRAMS.fullmatch(name) or not (module is None or _MODULES.fullmatch(str(module)))
        ):
            where = f" of {module}" if module else ""
            raise UserError(
                f"{place} holds {name}{where}: only layers of Keras itself are read, and none that "
                "runs a program of the file's, as Lambda does"
            )


def _dicts(value: Any) -> Iterator[dict]:
    """Every dict within a value of JSON; not how a model was trained, which is not read."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield item
            pending += [part for key, part in item.items() if key != "compile_config"]
        elif isinstance(item, list):
            pending += item


def _saved_model(place: Path) -> tuple[Callable[[tf.Tensor], tuple], tf.TensorSpec]:
    try:
        with plain_folder(place) as folder:
            model = tf.saved_model.load(folder)
    except Exception as error:  # whatever TensorFlow raises on a folder that is damaged
        raise UserError(f"{place} is not a SavedModel: {_line(error)}") from None
    signature = model.signatures.get("serving_default")
    inputs = [] if signature is None else list(signature.structured_input_signature[1].items())
    outputs = [] if signature is None else list(signature.structured_outputs)
    if len(inputs) != 1 or "features" not in outputs:
        raise UserError(
            f"{place} has the inputs {[name for name, _ in inputs]} and outputs {outputs}, not a "
            "signature serving_default with one input, images, and an output `features`"
        )
    ((name, spec),) = inputs
    names = [each for each in ("features", "probabilities") if each in outputs]

    def compute(pixels):
        answers = signature(**{name: pixels})
        return tuple(answers[each] for each in names)

    compute.model = model  # whose variables live as long as it
    return compute, spec


def _contents(place: Path) -> Iterator[bytes]:
    """The bytes of a file, or of all files in a folder with their names, in order."""
    files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
    for path in files:
        if path != place:
            yield f"{path.relative_to(place).as_posix()} {path.stat().st_size} ".encode()
        with open(path, "rb") as file:
            while part := file.read(_PART):
                yield part


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
