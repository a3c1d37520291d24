"""Images from a sampler that TensorFlow Serving runs, whatever the transport."""

import io
import math
import random
import re
import threading
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from ncsn_tf.backend.choices import MOST_ROWS
from ncsn_tf.errors import UserError
from ncsn_tf.serving import contract, request
from ncsn_tf.serving.retries import Retries
from ncsn_tf.serving.served_version import wait_for_version
from ncsn_tf.serving.transport import Address, Kind, RequestError, Transport
from ncsn_tf.serving.transport_grpc import GrpcTransport
from ncsn_tf.serving.transport_rest import RestTransport
from ncsn_tf.settings.labels import Labels
from ncsn_tf.settings.options import show

# Room for the rest of a message below 4 MB, gRPC's default limit, which a proxy may have kept.
_MESSAGE_BYTES = 4 * 2**20 - 2**16
# How the server's batching refuses a request above its max_batch_size.
_BATCH_LIMIT = re.compile(r"larger than maximum input batch size (\d+)")


def open_transport(address: Address, model: str, deadline: float) -> Transport:
    """The transport for an address.

    Args:
        address: of the server.
        model: name of the model.
        deadline: seconds within which a request must be answered.

    Example:
        >>> type(open_transport(Address.parse("http://host:8501"), "ncsn", 60.0)).__name__
        'RestTransport'
    """
    transport = GrpcTransport if address.scheme == "grpc" else RestTransport
    return transport(address, model, deadline)


class Client:
    """One version of a served sampler; ready when constructed. Threads may share it.

    A failed request that can succeed later is sent again (see `Retries`). The version is chosen
    once, so that all images come from the same weights, even if the server loads a newer version
    meanwhile.

    Args:
        transport: the way to the server, as from `open_transport`.
        version: version of the model; 0 is the newest that is available.
        num_steps_each, step_lr, num_evaluations: sampling settings; None is the export's.
        of_classes: whether images of classes are asked for, see `contract.OF_CLASSES`.
        retries: how often a request is sent again.
        backoff: seconds before the first repetition.
        sleep, jitter: see `Retries`.
        clock: seconds, rising.

    Attributes:
        version: the version of the model.
        signatures: the names of those that it has.

    Raises:
        ConfigError: a step size that is none in float32.
        UserError: the server cannot be reached, has no such model or version, failed to load it,
            or its signatures are not those of a sampler; one line.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        version: int = 0,
        num_steps_each: int | None = None,
        step_lr: float | None = None,
        num_evaluations: int | None = None,
        of_classes: bool = False,
        retries: int = 3,
        backoff: float = 1.0,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ):
        self._transport = transport
        self._settings = {"num_steps_each": num_steps_each, "step_lr": step_lr}
        self._settings["num_evaluations"] = num_evaluations
        asked = request.signature_of(num_steps_each, step_lr, num_evaluations, of_classes)
        has_settings = asked is not None
        self._signature = asked if has_settings else transport.pixels_signature
        self._output = transport.settings_output if has_settings else transport.pixels_output
        if step_lr is not None:
            request.float32_step_lr(step_lr)
        self._closed = threading.Event()
        self._retries = Retries(retries, backoff, self._closed, sleep=sleep, jitter=jitter)
        self._server_limit = math.inf
        self.version = wait_for_version(transport, self._retries, version, clock)
        found = self._check_signatures()
        self.signatures = frozenset(found)
        self._image_shape = _image_shape(found)
        # Exports of before it was there do not tell the steps that they take.
        is_few = asked in (contract.FEW, contract.FEW_OF_CLASSES)
        told = contract.EVALUATIONS if is_few else contract.STEPS
        tells_steps = has_settings and told in found[self._signature].outputs
        self._outputs = (self._output, told) if tells_steps else (self._output,)

    @property
    def num_retried(self) -> int:
        """How many requests were sent again so far."""
        return self._retries.count

    def class_names(self) -> list[str]:
        """The names of the classes that the model knows, in their order."""
        count = int(self._names(np.zeros([1], np.int32))["num_classes"][0])
        names = self._names(np.arange(count, dtype=np.int32))["name_bytes"]
        return [name.decode() for name in names.ravel()]

    def images(self, seeds: np.ndarray, labels: Labels | None = None) -> np.ndarray:
        """uint8 [len(seeds), H, W, C] for int64 seeds, and the classes of their images, if any.

        It is one request, or several one after the other where the server takes fewer images at
        once: the limit of its batching is known only when it has refused more.
        """
        while True:
            size = min(self._server_limit, len(seeds))
            parts = [seeds[start : start + size] for start in range(0, len(seeds), size)]
            try:
                return np.concatenate([self._request(part, labels) for part in parts])
            except RequestError as error:
                limit = _BATCH_LIMIT.search(str(error))
                if limit is None or not 0 < int(limit[1]) < size:
                    raise
                self._server_limit = int(limit[1])

    def request_size(self, most: int) -> int:
        """How many images to ask for at once: at most `most`, and no message over 4 MB."""
        most = min(most, MOST_ROWS)
        if self._image_shape is None:
            return most
        signature = self._signature
        if signature in (contract.OF_CLASSES, contract.FEW_OF_CLASSES):  # outputs are as large
            signature = contract.SETTINGS
        size = self._transport.bytes_per_value[signature] * np.prod(self._image_shape)
        return int(np.clip(_MESSAGE_BYTES // size, 1, most))

    def close(self) -> None:
        """Break off all requests, also those that wait to be sent again."""
        self._closed.set()
        self._transport.close()

    def _names(self, labels):
        outputs = ("name_bytes", "num_classes")
        return self._predict(contract.NAMES, {"class_label": labels}, outputs)

    def _predict(self, signature, inputs, outputs):
        try:
            return self._retries.call(
                self._transport.predict, self.version, signature, inputs, outputs
            )
        except RequestError as error:
            if error.kind is Kind.NOT_FOUND:
                raise self._error(f"unloaded version {self.version} meanwhile: {error}") from None
            raise

    def _request(self, seeds, labels):
        inputs = request.inputs(self._signature, seeds, **self._settings, labels=labels)
        answers = self._predict(self._signature, inputs, self._outputs)
        if contract.STEPS in answers:
            self._check_steps(answers[contract.STEPS])
        if contract.EVALUATIONS in answers:
            self._check_evaluations(answers[contract.EVALUATIONS])
        answer = answers[self._output]
        if self._output == "image_bytes":
            answer = self._decoded(answer)
        expected = (len(seeds), *(self._image_shape or answer.shape[1:]))
        if answer.shape != expected or answer.ndim != 4 or answer.dtype != np.uint8:
            raise self._error(
                f"answered {answer.dtype} {list(answer.shape)} to a request for {len(seeds)} images"
            )
        return answer

    def _check_signatures(self):
        """{name: Signature} of the version, which can do what is asked of it."""
        found = self._retries.call(self._transport.signatures, self.version)
        wrong = contract.mismatch(self._signature, found)
        has_classes = self._signature == contract.FEW_OF_CLASSES and contract.OF_CLASSES in found
        if wrong and (self._signature == contract.FEW or has_classes):
            raise self._error(
                f"runs version {self.version}, of which --num_evaluations cannot be chosen: it "
                "is that of the export (ncsn export --num_evaluations=N makes another)"
            )
        if wrong:
            raise self._error(f"runs version {self.version}, which is no such sampler: {wrong}")
        return found

    def _check_steps(self, taken):
        asked = self._settings["num_steps_each"]
        if np.any(taken == 0):
            count = int(np.sum(taken == 0))
            raise self._error(f"says: {request.diverged(count, self._settings['step_lr'])}")
        for steps in np.unique(taken):
            if asked is not None and steps != asked:
                raise self._error(
                    f"takes {steps} steps a level, not {show('num_steps_each', asked)}: ask for no "
                    "more, or export with a larger --max_steps_each"
                )

    def _check_evaluations(self, taken):
        asked = self._settings["num_evaluations"]
        if np.any(taken == 0):
            raise self._error(f"says: the chains of {int(np.sum(taken == 0))} images diverged")
        if np.any(taken != asked):
            other = int(taken[taken != asked][0])
            raise self._error(f"takes {other} evaluations, not {show('num_evaluations', asked)}")

    def _decoded(self, files):
        pictures = []
        for file in files.ravel():
            try:
                with Image.open(io.BytesIO(file), formats=["PNG"]) as picture:
                    pictures.append(np.array(picture))
            except (TypeError, OSError, SyntaxError, Image.DecompressionBombError) as error:
                raise self._error(f"answered with a damaged PNG: {error}") from None
        shapes = {picture.shape for picture in pictures}
        if len(shapes) != 1:
            raise self._error(f"answered with images of sizes {sorted(shapes)}")
        stacked = np.stack(pictures)
        return stacked[..., None] if stacked.ndim == 3 else stacked

    def _error(self, what):
        return UserError(f"{self._transport.address} {what}")


def _image_shape(signatures):
    """The shape of an image, (H, W, C), where the metadata tell it, else None."""
    for signature in signatures.values():
        shape = signature.outputs["image"].shape if "image" in signature.outputs else None
        if shape is not None and len(shape) == 4 and None not in shape[1:]:
            return shape[1:]
    return None
