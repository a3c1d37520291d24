"""The file of a ranking's or a sweep's figures, from which it is continued."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ncsn_tf.errors import UserError
from ncsn_tf.evaluation.measure import FOLDER
from ncsn_tf.evaluation.quality.figure import Figure
from ncsn_tf.files import digest, write_atomically
from ncsn_tf.training.checkpoints import Run


class Trials:
    """Figures of what was tried, in <run>/evaluation/KIND-DIGEST.json, written after each trial.

    The digest is that of the settings: a file holds figures that can be compared.

    Args:
        run_dir: the run's folder.
        kind: the start of the file's name.
        settings: what decides the figures besides what is tried, as JSON can hold it.

    Attributes:
        path: the file.
        tried: {what was tried, in words: its figures, [] where the chains diverged}.

    Raises:
        UserError: the file cannot be read.

    Example:
        >>> trials = Trials(Path("/nowhere"), "sweep-snr", {"metrics": ["fid"]})
        >>> trials.path.name, trials.tried
        ('sweep-snr-5d14e20d.json', {})
    """

    def __init__(self, run_dir: Path, kind: str, settings: Mapping[str, object]):
        self._settings = dict(settings)
        text = json.dumps(self._settings, sort_keys=True)
        self.path = run_dir / FOLDER / f"{kind}-{digest([text.encode()])[:8]}.json"
        self.tried: dict[str, list[Figure]] = {}
        if self.path.exists():
            self._read()

    def _read(self):
        try:
            tried = json.loads(self.path.read_text(encoding="utf-8"))["tried"]
            self.tried = {
                name: [Figure.from_dict(values) for values in figures]
                for name, figures in tried.items()
            }
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{self.path} cannot be read: {error}; move it away to measure anew"
            ) from None

    def add(self, name: str, figures: Sequence[Figure]) -> None:
        """Take the figures of what was tried, and write the file."""
        self.tried[name] = list(figures)
        content = {
            "settings": self._settings,
            "tried": {
                name: [figure.to_dict() for figure in figures]
                for name, figures in self.tried.items()
            },
        }
        text = json.dumps(content, indent=2) + "\n"
        write_atomically(self.path, lambda path: path.write_text(text, encoding="utf-8"))


def weights_digest(run: Run) -> str:
    """A few digits that tell a run's weights from others."""
    return digest(array.tobytes() for array in run.network.get_weights())[:8]
