"""Images from TensorFlow Serving. Over REST, TensorFlow is not imported."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from ncsn_tf.serving import contract
from ncsn_tf.serving.client import Client, open_transport
from ncsn_tf.serving.in_flight import in_flight
from ncsn_tf.serving.transport import Address
from ncsn_tf.settings.labels import choose_labels, say_labels


class Server:
    """Draws by requests to TensorFlow Serving, several of them in flight: an `Origin`.

    Args:
        address: host:port for gRPC, http://host:port for REST.
        model: name of the model on the server.
        model_version: its version; 0 is the newest.
        num_steps_each, step_lr, num_evaluations: sampling settings; None is the model's own.
        label, guidance: the classes to draw, of a model that knows classes; see
            `settings.labels.choose_labels`.
        batch_size: most images in a request.
        in_flight: requests at the same time.
        deadline: seconds for a request, or for a model to load.
        retries: repetitions of a request that may yet succeed.
        backoff: seconds before the first repetition; doubles each time.

    Raises:
        ConfigError: an address that is none, a step size that is none in float32, or a class that
            the model does not have.
        UserError: the server cannot be reached, or runs no such model; one line.
    """

    unit = "image"
    inputs = None

    def __init__(
        self,
        address: str,
        *,
        model: str = "ncsn",
        model_version: int = 0,
        num_steps_each: int | None = None,
        step_lr: float | None = None,
        num_evaluations: int | None = None,
        label: str | int | Sequence[str | int] | None = None,
        guidance: float = 1.0,
        batch_size: int = 64,
        in_flight: int = 4,
        deadline: float = 600.0,
        retries: int = 3,
        backoff: float = 1.0,
    ):
        address = Address.parse(address)
        self._in_flight = in_flight
        self._settings = {"model": model, "num_steps_each": num_steps_each, "step_lr": step_lr}
        if num_evaluations is not None:  # shards from before it was there do not have it
            self._settings["num_evaluations"] = num_evaluations
        self._client = Client(
            open_transport(address, model, deadline),
            version=model_version,
            num_steps_each=num_steps_each,
            step_lr=step_lr,
            num_evaluations=num_evaluations,
            of_classes=label is not None,
            retries=retries,
            backoff=backoff,
        )
        self.labels = None
        if label is not None:
            names = self._client.class_names()
            self.labels = choose_labels(label, guidance, names, f"{model} at {address}")
        self._request_size = self._client.request_size(batch_size)
        print(f"Sampling from {address}, version {self._client.version} of {model}")
        say_labels(self.labels, ())

    def close(self) -> None:
        """Break off what is asked of the server; another thread may call it."""
        self._client.close()

    def class_names(self) -> list[str]:
        """The names of the classes that its model draws, in their order; [] where it has none."""
        has_classes = self._client.signatures >= {contract.NAMES, contract.OF_CLASSES}
        return self._client.class_names() if has_classes else []

    @property
    def takes_evaluations(self) -> bool:
        """Whether a request can choose the number of evaluations, and not the steps a level."""
        return contract.FEW in self._client.signatures

    def amount(self, num_images: int) -> int:
        """See `Origin`."""
        return num_images

    def about(self) -> dict[str, object]:
        """See `Origin`; a server says of its model only the name and the version."""
        labels = {} if self.labels is None else self.labels.about()
        return {"version": self._client.version, **self._settings, **labels}

    def images(self, seeds: np.ndarray, bar: tqdm) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """See `Origin`. The connection is closed at the end, or when no more are wanted."""
        client, size, labels = self._client, self._request_size, self.labels
        parts = [seeds[start : start + size] for start in range(0, len(seeds), size)]
        try:
            draw = functools.partial(client.images, labels=labels)
            for part, pictures in in_flight(draw, parts, self._in_flight, client.close):
                bar.update(len(part))
                if client.num_retried:
                    bar.set_postfix(retried=client.num_retried)
                yield part, pictures
        finally:
            client.close()
