"""Images from a checkpoint: the frames that are kept, the evaluations that are counted."""

import numpy as np
import pytest
import tensorflow as tf
from tqdm import tqdm

from ncsn_tf.backend.devices import mirrored_strategy
from ncsn_tf.generation.checkpoint_origin import MOVIE_IMAGES, Checkpoint, Opened
from ncsn_tf.training import checkpoints
from ncsn_tf.training.averages import open_weights
from ncsn_tf.training.run_network import build_network
from ncsn_tf.training.run_sampler import sampler_of


class Sampler:
    """Three pieces; the images are a number everywhere."""

    pieces = [(0, 1), (1, 2), (2, 3)]
    evaluations = None

    def draw(self, seeds, on_piece, condition):
        self.evaluations = np.asarray(seeds)
        for value in (-1.0, 0.25, 7.0):
            on_piece(lambda value=value: np.full([len(seeds), 4, 4, 1], value, np.float32))
        return np.full([len(seeds), 4, 4, 1], 0.5, np.float32)


def test_frames_are_bytes_of_the_first_images():
    origin = Checkpoint(Sampler(), batch_size=40, keep_frames=True)
    with tqdm(total=origin.amount(50), disable=True) as bar:
        parts = list(origin.images(np.arange(50), bar))
    assert (origin.amount(50), origin.inputs) == (6, None)
    assert [len(pictures) for _, pictures in parts] == [40, 10]
    assert all(pictures.dtype == np.uint8 and np.all(pictures == 128) for _, pictures in parts)
    # The states of the first batch, and at the end what is drawn.
    assert [frame.shape for frame in origin.frames] == 4 * [(MOVIE_IMAGES, 4, 4, 1)]
    assert [frame[0, 0, 0, 0] for frame in origin.frames] == [0, 64, 255, 128]


def test_no_frames_are_kept_unasked():
    origin = Checkpoint(Sampler(), batch_size=40)
    list(origin.images(np.arange(50), tqdm(disable=True)))
    assert origin.frames is None


def test_the_printed_mean_is_that_of_all_images(capsys):
    """Of every batch, without the fillers of the last one."""
    origin = Checkpoint(Sampler(), batch_size=2)
    seeds = np.array([10, 20, 60])  # the last batch is filled with another 60
    drawn = np.concatenate([batch for batch, _ in origin.images(seeds, tqdm(disable=True))])
    np.testing.assert_array_equal(drawn, seeds)
    assert capsys.readouterr().out == "30 network evaluations an image, on average\n"


@pytest.fixture
def eagerly():
    """Without graphs: the chains here are shorter than it takes to trace them."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def test_a_run_is_drawn_with_the_settings_given(tiny_config, tmp_path, capsys, eagerly):
    config = tiny_config(workdir=str(tmp_path / "run"))
    network = build_network(config)
    checkpoints.save_network(network, config, step=7)
    changes = {"num_steps_each": 1, "denoise": True, "step_lr": None}
    with mirrored_strategy(["CPU:0"]).scope():
        origin = Opened(open_weights(config.workdir)).origin(chain=changes, batch_size=3)
    assert capsys.readouterr().out == (
        f"Sampling from {config.workdir}, weights of step 7\n4 network evaluations an image\n"
    )
    ((seeds, images),) = origin.images(np.arange(2), tqdm(disable=True))
    config = tiny_config(num_steps_each=1, denoise=True)
    expected = sampler_of(network, config).draw(seeds)
    np.testing.assert_array_equal(images, np.round(expected * 255))
