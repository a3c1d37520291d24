"""The file of a run's likelihoods, image by image, from which a measurement is continued."""

import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.files import read_arrays, save_arrays, write_atomically
from ncsn_tf.settings.options import show_value


class Record:
    """The likelihoods measured so far, in two files that are replaced after every batch.

    <name>.npz: bits_per_dim, float32 [N, dequantisations, probes]; evaluations, int32 [N,
    dequantisations]; images, uint32 [N], a checksum of each image; settings, JSON text. It is what
    is continued from. <name>.json: the settings and the summary.

    One process at a time writes a record: see `files.hold`.

    Args:
        target: path of the .json file.
        settings: what decides the numbers, a dict for JSON.
        check: called before anything is written; raises a UserError if nothing may be.

    Raises:
        ConfigError: the files hold the results of other settings.
        UserError: the files cannot be read.

    Example:
        >>> settings = {"num_dequantizations": 1, "num_probes": 1}
        >>> record = Record(Path("/nowhere/bits_per_dim.json"), settings)
        >>> record.bits = np.array([[[3.0]], [[5.0]]])
        >>> record.evaluations = np.array([[20], [30]])
        >>> sentence(record.summary(num_images=2))
        '4.0000 +- 1.0000 bits/dim over 2 images, 25 network evaluations an image'
    """

    def __init__(self, target: Path, settings: dict, check: Callable[[], None] = lambda: None):
        self.target = target
        self.settings = settings
        self._check = check
        self._arrays = target.with_suffix(".npz")
        shape = [settings["num_dequantizations"], settings["num_probes"]]
        self.bits = np.zeros([0, *shape], np.float32)
        self.evaluations = np.zeros([0, shape[0]], np.int32)
        self.images = np.zeros([0], np.uint32)
        if self._arrays.exists():
            self._continue()

    def _continue(self):
        content = read_arrays(self._arrays)
        missing = {"settings", "bits_per_dim", "evaluations"} - content.keys()
        if missing:
            raise UserError(f"{self._arrays} cannot be read: it has no {min(missing)}")
        try:
            old = dict(json.loads(str(content["settings"])))
        except (TypeError, ValueError, RecursionError) as error:
            raise UserError(f"{self._arrays} cannot be read: {error}") from None
        changed = [
            f"{name}: it has {show_value(old.get(name))}, this would be {show_value(value)}"
            for name, value in self.settings.items()
            if old.get(name) != value and not (name == "network" and name not in old)
        ]
        if changed:
            raise ConfigError(
                f"{self._arrays} holds other results ({'; '.join(changed)}): "
                "name another file with --out, or delete it"
            )
        bits, evaluations = content["bits_per_dim"], content["evaluations"]
        # Records from before there were checksums are continued without.
        images = content.get("images", np.zeros(bits.shape[:1], np.uint32))
        own_arrays = (self.bits, self.evaluations, self.images)
        for array, own in zip((bits, evaluations, images), own_arrays, strict=True):
            if (
                array.dtype.kind != own.dtype.kind
                or array.shape != (*bits.shape[:1], *own.shape[1:])
                or not np.isfinite(array).all()
            ):
                raise UserError(
                    f"{self._arrays} does not hold likelihoods that could be continued: name "
                    "another file with --out, or delete it"
                )
        self.bits, self.evaluations, self.images = bits, evaluations, images

    def check_images(self, pixels: np.ndarray) -> None:
        """Raise a ConfigError unless the likelihoods are those of these images.

        Args:
            pixels: uint8 [n, H, W, C], the first images; n may be more or fewer than were measured.
        """
        known = self.images[: len(pixels)]
        found = _checksums(pixels[: len(known)])
        if np.any((found != known) & (known != 0)):
            raise ConfigError(
                f"{self._arrays} holds the likelihoods of other images: name another file with "
                "--out, or delete it"
            )

    def add(self, bits: np.ndarray, evaluations: np.ndarray, pixels: np.ndarray) -> None:
        """Append a batch and write both files.

        Args:
            bits: float32 [B, dequantisations, probes].
            evaluations: int32 [B, dequantisations].
            pixels: uint8 [B, H, W, C], the images.
        """
        self.bits = np.concatenate([self.bits, bits])
        self.evaluations = np.concatenate([self.evaluations, evaluations])
        self.images = np.concatenate([self.images, _checksums(pixels)])
        arrays = {"bits_per_dim": self.bits, "evaluations": self.evaluations}
        arrays |= {"images": self.images, "settings": json.dumps(self.settings)}
        self._check()
        save_arrays(self._arrays, arrays)
        self.write_summary(len(self.bits))

    def write_summary(self, num_images: int) -> None:
        """Write the .json file, on the first images."""
        self._check()
        text = json.dumps({**self.summary(num_images), "settings": self.settings}, indent=2) + "\n"
        write_atomically(self.target, lambda path: path.write_text(text, encoding="utf-8"))

    def summary(self, num_images: int) -> dict:
        """Mean and standard errors over the first images.

        `standard_error` is that over images, all that is random together; `probe_error` is the
        part of it that more probes would take away, None for a single probe.
        """
        bits = self.bits[:num_images].astype(np.float64)
        count, repeats, num_probes = bits.shape
        means = bits.mean((1, 2))
        error = probe_error = None
        if count > 1:
            error = float(means.std(ddof=1) / math.sqrt(count))
        if num_probes > 1:
            variances = bits.var(2, ddof=1).mean(1) / (repeats * num_probes)
            probe_error = math.sqrt(variances.sum()) / count
        return {
            "bits_per_dim": float(means.mean()),
            "standard_error": error,
            "probe_error": probe_error,
            "num_images": count,
            "evaluations": float(self.evaluations[:num_images].mean()),
        }


def _checksums(pixels):
    """uint32 [N] of images, none of them 0."""
    return np.array([zlib.crc32(image.tobytes()) or 1 for image in pixels], np.uint32)


def sentence(summary: dict) -> str:
    """A `Record.summary` as people read it: '3.2104 +- 0.0213 bits/dim over 179 images, ...'"""
    error, probe_error = summary["standard_error"], summary["probe_error"]
    spread = "" if error is None else f" +- {error:.4f}"
    if error is not None and probe_error is not None:
        spread += f" (of which {probe_error:.4f} from the probes)"
    return (
        f"{summary['bits_per_dim']:.4f}{spread} bits/dim over {summary['num_images']} images, "
        f"{summary['evaluations']:.0f} network evaluations an image"
    )
