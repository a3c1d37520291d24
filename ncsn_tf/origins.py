"""Where sample.py's images come from: a checkpoint, an export, a server.

An origin has

    unit, amount(num_images)     what its progress bar counts, and up to how many
    images(seeds, bar)           yields (seeds, uint8 [N, H, W, C]) in any order until all are there
    inputs                       what is known of the pictures that are completed, or None

`bar` is a `tqdm`.
"""

import json
import math
from pathlib import Path

import numpy as np

from ncsn_tf import contract
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.options import show

MOVIE_IMAGES = 25


def open_origin(options, strategy=None):
    """The origin that `draw.SampleOptions` name; `strategy` is a checkpoint's."""
    if options.server:
        return Server(options)
    return Export(options) if options.saved_model else Checkpoint(options, strategy)


class _Local:
    """Draws batch after batch in this process."""

    unit = "piece"
    pieces_a_batch = 1
    inputs = None

    def __init__(self, batch_size):
        self._batch_size = batch_size

    def amount(self, num_images):
        return math.ceil(num_images / self._batch_size) * self.pieces_a_batch

    def images(self, seeds, bar):
        size = min(self._batch_size, len(seeds))
        for start in range(0, len(seeds), size):
            batch = seeds[start : start + size]
            bar.set_description(f"images {start} to {start + len(batch) - 1}")
            # The last batch is filled up: a graph is compiled for every size of batch.
            yield batch, self._draw(np.resize(batch, size), bar.update)[: len(batch)]


class Checkpoint(_Local):
    """Draws with the network of a checkpoint, piece by piece.

    `frames`, if not None, takes the chain of the first images, uint8 [N, H, W, C] a piece, and at
    its end these images as they are drawn: denoised, clipped, with what is known of them.
    """

    _condition = None

    def __init__(self, options, strategy):
        from ncsn_tf import checkpoints
        from ncsn_tf.conditions import guided, open_condition
        from ncsn_tf.sampler import Sampler

        super().__init__(options.batch_size)
        run_dir = _run_dir(options)
        with strategy.scope():
            network, config, step, is_average = checkpoints.load_network(
                checkpoints.latest(run_dir), options.average
            )
            config = options.chain(config)
            self._condition = open_condition(options, config)
            chain = self._condition and self._condition.chain
            self._sampler = Sampler(guided(network, options, config), config, chain)
        self.inputs = self._condition and self._condition.inputs
        self.pieces_a_batch = len(self._sampler.pieces)
        self.frames = [] if options.movie else None
        kind = "averaged weights" if is_average else "weights"
        print(f"Sampling from {run_dir}, {kind} of step {step}")
        if self._sampler.num_evaluations is not None:
            print(f"{self._sampler.num_evaluations} network evaluations an image")

    def images(self, seeds, bar):
        counts = []
        for batch, pictures in super().images(seeds, bar):
            if self._sampler.evaluations is not None:
                counts.extend(self._sampler.evaluations[: len(batch)])
            yield batch, pictures
        if counts:
            print(f"{np.mean(counts):.0f} network evaluations an image, on average")

    def _draw(self, seeds, advance):
        from ncsn_tf.images import to_uint8

        keep = self.frames == []  # only the first batch's

        def on_piece(state):
            advance()
            if keep:
                self.frames.append(to_uint8(state()[:MOVIE_IMAGES]))

        condition = ()
        if self._condition is not None:
            seeds, condition = self._condition.rows(seeds)
        pictures = to_uint8(self._sampler.draw(seeds, on_piece, condition))
        if keep:
            self.frames.append(pictures[:MOVIE_IMAGES])
        return pictures


class Export(_Local):
    """Draws with an exported SavedModel, a batch in one call."""

    def __init__(self, options):
        import tensorflow as tf

        super().__init__(options.batch_size)
        self._settings = {"num_steps_each": options.num_steps_each, "step_lr": options.step_lr}
        has_settings = any(value is not None for value in self._settings.values())
        self._name = contract.SETTINGS if has_settings else contract.PIXELS
        folder = _export_folder(options)
        metadata = _metadata(folder)
        _check_cap(folder, metadata, options.num_steps_each)
        try:
            self._model = tf.saved_model.load(str(folder))
            wrong = contract.mismatch(self._name, _signatures(self._model))
            if wrong:
                raise ValueError(wrong)
        except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{folder} is not an exported sampler: {line}") from None
        print(f"Sampling from {folder}")
        count = _num_evaluations(metadata, options.num_steps_each)
        if count is not None:
            print(f"{count} network evaluations an image")

    def _draw(self, seeds, advance):
        import tensorflow as tf

        inputs = contract.inputs(self._name, seeds, **self._settings)
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        pictures = self._model.signatures[self._name](**tensors)["image"].numpy()
        advance()
        return pictures


class Server:
    """Draws by requests to TensorFlow Serving, several of them in flight."""

    unit = "image"
    inputs = None

    def __init__(self, options):
        from ncsn_tf.client import Client, open_transport
        from ncsn_tf.transport import Address

        address = Address.parse(options.server)
        self._in_flight = options.in_flight
        self._client = Client(
            open_transport(address, options.model, options.deadline),
            options.model_version,
            options.num_steps_each,
            options.step_lr,
            options.retries,
            options.backoff,
        )
        self._size = self._client.request_size(options.batch_size)
        print(f"Sampling from {address}, version {self._client.version} of {options.model}")

    def amount(self, num_images):
        return num_images

    def images(self, seeds, bar):
        from ncsn_tf.client import in_flight

        client, size = self._client, self._size
        parts = [seeds[start : start + size] for start in range(0, len(seeds), size)]
        try:
            for part, pictures in in_flight(client.images, parts, self._in_flight, client.close):
                bar.update(len(part))
                if client.num_retried:
                    bar.set_postfix(retried=client.num_retried)
                yield part, pictures
        finally:
            client.close()


def _run_dir(options):
    from ncsn_tf.checkpoints import newest_run

    return Path(options.workdir).expanduser() if options.workdir else newest_run()


def _export_folder(options):
    """The version to load: as given, or the newest below what was given, or the run's newest."""
    from ncsn_tf import export

    if options.newest_export:
        run_dir = _run_dir(options)
        base = run_dir / export.FOLDER
        if not export.versions(base):
            return export.export_run(run_dir)
    else:
        base = Path(options.saved_model).expanduser()
        if not base.is_dir():
            raise UserError(f"--saved_model={options.saved_model} is not a folder")
    numbers = export.versions(base)
    return base / str(numbers[-1]) if numbers else base


def _metadata(folder):
    """What an export says of itself, a dict; empty where it says nothing."""
    from ncsn_tf.export import METADATA

    path = folder / METADATA
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def _check_cap(folder, metadata, num_steps_each):
    """Raise a ConfigError for more steps than the export says that it takes."""
    most = metadata.get("max_steps_each")
    if num_steps_each is not None and most is not None and num_steps_each > most:
        raise ConfigError(
            f"{show('num_steps_each', num_steps_each)} is more than the {most} that {folder} takes"
        )


def _num_evaluations(metadata, num_steps_each):
    """Network evaluations of an image of an export; None where that is not known beforehand."""
    from ncsn_tf.config import Config
    from ncsn_tf.samplers import make_chain

    try:
        config = Config.from_json(json.dumps(metadata["config"]))
        chain = make_chain(config)
    except (KeyError, ConfigError):  # of a stranger's export, or another version's
        return None
    return chain.num_evaluations(num_steps_each or config.num_steps_each)


def _signatures(model):
    """{name: Signature} of a SavedModel that `tf.saved_model.load` returned."""

    def tensors(specs):
        return {name: contract.Tensor(spec.dtype.name) for name, spec in specs.items()}

    return {
        name: contract.Signature(
            tensors(function.structured_input_signature[1]), tensors(function.structured_outputs)
        )
        for name, function in model.signatures.items()
    }
