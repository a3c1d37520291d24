"""What the two transports to TensorFlow Serving share: addresses, failures, states of a version.

`Transport` says what a transport does; there are `transport_grpc.GrpcTransport` and
`transport_rest.RestTransport`.
"""

import dataclasses
import enum
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import quote, urlsplit

import numpy as np

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.serving.contract import Signature

_FORMS = "host:port for gRPC, or http://host:port for REST"
_OF_A_MODEL = re.compile(r"(https?://[^/]+.*?)/v1/models/([^/:]+).*")
_ALLOWED_IN_PATHS = "/%:@!$&'()*+,;=~"


@dataclasses.dataclass(frozen=True)
class Address:
    """A server. `scheme` is grpc, http or https; `prefix` is what comes before /v1."""

    scheme: str
    host: str
    port: int | None
    prefix: str = ""

    def __str__(self):
        host = f"[{self.host}]" if ":" in self.host else self.host
        place = host if self.port is None else f"{host}:{self.port}"
        return place if self.scheme == "grpc" else f"{self.scheme}://{place}{self.prefix}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """The Address in a --server flag; a ConfigError says what it should look like.

        Example:
            >>> Address.parse("localhost:8500").scheme
            'grpc'
            >>> Address.parse("https://host/tf/")
            Address(scheme='https', host='host', port=None, prefix='/tf')
        """
        shown = text if text.isprintable() else ascii(text)
        of_a_model = _OF_A_MODEL.fullmatch(text)
        if of_a_model and shown == text:
            server, model = of_a_model.groups()
            raise ConfigError(f"--server={text} must be {server}, with --model={model}")
        bare = re.fullmatch(r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s:/\[\]@?#]+):(\d{1,5})", text)
        try:
            parts = urlsplit(f"grpc://{text}" if bare else text)
            scheme, host, port = parts.scheme, parts.hostname, parts.port
            if host and ":" not in host:
                host.encode("idna")
        except ValueError:  # a UnicodeError is one
            scheme = host = port = None
        if scheme not in ("grpc", "http", "https") or (scheme == "grpc") != bool(bare):
            host = None
        if not text.isprintable() or " " in text:
            host = None
        if not host or port == 0 or parts.query or parts.fragment or "@" in parts.netloc:
            raise ConfigError(f"--server={shown} must be {_FORMS}")
        return cls(scheme, host, port, quote(parts.path.rstrip("/"), safe=_ALLOWED_IN_PATHS))


class Kind(enum.Enum):
    """Why a request failed; the value is the line that says so."""

    UNREACHABLE = "no server can be reached at {server}: {detail}"
    LOST = "{server} broke the connection: {detail}"
    UNAVAILABLE = "{server} is not available: {detail}"
    DEADLINE = (
        "{server} did not answer within --deadline={deadline:g} seconds: allow more, or ask for "
        "fewer images at once with --batch_size"
    )
    SERVER_TIME_LIMIT = (
        "{server} gave up: {detail}; start it with a longer --rest_api_timeout_in_ms (30000 when "
        "it is not given), or ask for fewer images at once with --batch_size"
    )
    TOO_LARGE = "a message was too large: {detail}; ask for fewer images at once with --batch_size"
    NOT_FOUND = "{server} has no such model: {detail}"
    REFUSED = "{server} refused the request: {detail}"
    NOT_SERVING = "{server} does not answer as TensorFlow Serving does: {detail}"
    NOT_GRPC = "{server} does not speak gRPC; if it is a REST port: --server=http://{server}"
    NOT_HTTP = "{server} does not speak HTTP; if it is a gRPC port: --server={place}"


CAN_PASS = frozenset({Kind.UNREACHABLE, Kind.LOST, Kind.UNAVAILABLE})


class RequestError(UserError):
    """A request that failed: a line for people, and `kind` for the one who may try again."""

    def __init__(self, kind: Kind, line: str):
        super().__init__(line)
        self.kind = kind


def failure(kind: Kind, address: Address, deadline: float, detail: str = "") -> RequestError:
    """The RequestError of a request to `address`; `detail` is what the other side said.

    Example:
        >>> print(failure(Kind.LOST, Address("grpc", "here", 8500), 60.0, "reset by peer"))
        here:8500 broke the connection: reset by peer
    """
    place = str(dataclasses.replace(address, scheme="grpc"))
    detail = textwrap.shorten(detail, 400) or "it gave no reason"
    line = kind.value.format(server=address, place=place, deadline=deadline, detail=detail)
    return RequestError(kind, line)


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """`state` is START, LOADING, AVAILABLE, UNLOADING or END; `error` is why loading failed."""

    state: str
    error: str = ""

    @property
    def is_coming(self) -> bool:
        """Whether the version will be available unless something goes wrong."""
        return self.state in ("START", "LOADING")


class Transport(Protocol):
    """What a `Client` asks of a way to a server. Threads may share it.

    Each method is one request, without retries, and raises `RequestError`.

    Attributes:
        address, deadline: the server; seconds within which a request must be answered.
        pixels_signature, pixels_output: the cheapest way to exact images.
        settings_output: the cheapest output of signature `sample` that holds them.
        bytes_per_value: {signature: most bytes that the value of a pixel takes in an answer}.
    """

    address: Address
    deadline: float
    pixels_signature: str
    pixels_output: str
    settings_output: str
    bytes_per_value: Mapping[str, int]

    def status(self) -> dict[int, VersionStatus]:
        """The state of each version of the model."""

    def signatures(self, version: int) -> dict[str, Signature]:
        """What the version can be asked for."""

    def predict(
        self,
        version: int,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
    ) -> dict[str, np.ndarray]:
        """The outputs that are asked for; strings are arrays of objects, bytes."""

    def close(self) -> None:
        """Break off what is in flight."""


def dtype_name(name: str) -> str:
    """'int64' for DT_INT64, 'float32' for DT_FLOAT, which is alone in not naming its size.

    Example:
        >>> [dtype_name(name) for name in ("DT_INT64", "DT_FLOAT", "DT_STRING")]
        ['int64', 'float32', 'string']
    """
    return "float32" if name == "DT_FLOAT" else name.removeprefix("DT_").lower()
