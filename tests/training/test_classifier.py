"""The classifier of noisy images: its file, its training, its use by sample.py."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tqdm import tqdm

from ncsn_tf.backend.compat import raw_variables
from ncsn_tf.backend.devices import mirrored_strategy
from ncsn_tf.commands.sample import SampleOptions
from ncsn_tf.data.batches import Source
from ncsn_tf.data.decoding import PictureError
from ncsn_tf.data.encoded import EncodedImages
from ncsn_tf.data.source import ArrayImages
from ncsn_tf.data.sources import load_source
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.generation.checkpoint_origin import Opened
from ncsn_tf.models.noisy_classifier import NoisyClassifier
from ncsn_tf.training import checkpoints, classifier
from ncsn_tf.training.averages import open_weights
from ncsn_tf.training.classifier import read_classifier, save_classifier
from ncsn_tf.training.run_network import build_network

SIGMAS = [0.5, 0.0707106781, 0.01]


@pytest.fixture(scope="module")
def trained():
    """A classifier of digits, little trained, and its losses."""
    source = load_source("digits", "train", image_size=8, channels=1)
    losses = []
    network = classifier.train_classifier(
        source,
        image_shape=(8, 8, 1),
        sigmas=SIGMAS,
        dequantize=True,
        random_flip=False,
        features=8,
        num_steps=150,
        batch_size=64,
        learning_rate=5e-3,
        on_step=lambda loss: losses.append(loss()),
    )
    return network, losses


@pytest.fixture(scope="module")
def files(trained, tiny_config, tmp_path_factory):
    """Folder of the trained classifier and a run."""
    folder = tmp_path_factory.mktemp("classifier")
    save_classifier(folder / "digits.npz", trained[0])
    config = tiny_config(sigma_begin=0.5, step_lr=1e-5, workdir=str(folder / "run"))
    keras.utils.set_random_seed(1)
    checkpoints.save_network(build_network(config), config)
    return folder


def test_training_learns_the_classes(trained):
    network, losses = trained
    assert abs(losses[0] - np.log(10)) < 1.0
    test = load_source("digits", "test", image_size=8, channels=1)
    batches = []
    shares = classifier.accuracies(network, test, 64, num_images=130, on_batch=batches.append)
    assert batches == [6] * 6  # two batches at three levels
    assert list(shares) == pytest.approx(SIGMAS)
    first, _, last = shares.values()
    assert last > 0.8
    assert first < last


class Greys:
    """Takes a grey of k / 10 for class k, and at the last ten of thirty levels for k + 1."""

    sigmas = np.linspace(0.0, 0.029, 30, dtype=np.float32)[::-1]
    asked = []

    def __call__(self, x, levels):
        level = levels[0]
        tf.py_function(lambda value: self.asked.append(int(value)), [level], [])
        greys = (tf.range(10.0) - tf.cast(level >= 20, tf.float32)) / 10.0
        return -tf.abs(tf.reduce_mean(x, [1, 2, 3])[:, None] - greys)


def test_accuracy_at_ten_levels_of_many():
    classes = np.arange(70) % 9
    pixels = np.uint8(np.round(25.5 * classes))[:, None, None, None].repeat(8, 1).repeat(8, 2)
    source = Source(ArrayImages(pixels), "test", classes)
    levels = [0, 3, 6, 10, 13, 16, 19, 23, 26, 29]
    for batch_size, num_batches in ((16, 4), (1000, 1)):
        Greys.asked.clear()
        shares = classifier.accuracies(Greys(), source, batch_size)
        assert sorted(Greys.asked) == sorted(levels * num_batches)
        assert list(shares) == [float(Greys.sigmas[level]) for level in levels]
        assert list(shares.values()) == [1.0] * 7 + [0.0] * 3


class Same:
    """Takes every image for one of class 1."""

    sigmas = np.float32([0.1])

    def __call__(self, x, levels):
        return tf.one_hot(tf.ones_like(levels), 10)


@pytest.mark.parametrize("batch_size", [2, 3, 100])
def test_what_cannot_be_decoded_is_not_counted(batch_size, capsys):
    """Nor the pictures that stand in for it in training: of six that can, three are of class 1."""

    def decode(record):
        if record == b"damaged":
            raise PictureError("test", "damaged")
        return np.zeros([8, 8, 1], np.uint8)

    records = np.array([b"damaged", b"a", b"a", b"damaged", b"a", b"a", b"a", b"a"], object)
    labels = np.array([1, 1, 1, 1, 1, 2, 3, 4])
    source = Source(EncodedImages(records, decode, (8, 8, 1), "test"), "test", labels)
    assert list(classifier.accuracies(Same(), source, batch_size).values()) == [0.5]


def test_a_file_gives_the_same_network(trained, files):
    network = read_classifier(files / "digits.npz")
    x = tf.random.normal([4, 8, 8, 1], seed=0)
    levels = tf.constant([0, 1, 2, 0])
    np.testing.assert_array_equal(network(x, levels), trained[0](x, levels))
    assert network.settings == trained[0].settings
    again = NoisyClassifier.from_config(network.get_config())
    assert again.get_config() == network.get_config()
    assert len(raw_variables(network)) == 2 + 3 * 3 + 1 + 2
    assert np.abs(network(x, levels) - network(x, tf.constant([1, 2, 0, 1]))).max() > 1e-3


def test_gradients_are_those_of_small_differences(trained):
    network, _ = trained
    x = tf.constant(np.random.RandomState(0).uniform(size=(1, 8, 8, 1)), tf.float32)
    direction = tf.constant(np.random.RandomState(1).normal(size=(1, 8, 8, 1)), tf.float32)

    def log_posterior(x):
        return tf.nn.log_softmax(network(x, tf.constant([1])))[0, 3]

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = log_posterior(x)
    slope = float(tf.reduce_sum(tape.gradient(value, x) * direction))
    step = 1e-3
    difference = log_posterior(x + step * direction) - log_posterior(x - step * direction)
    assert slope == pytest.approx(float(difference) / (2 * step), rel=0.02)


def sample(files, **options):
    options = SampleOptions(workdir=str(files / "run"), **options)
    options.validate()
    with mirrored_strategy(["CPU:0"]).scope():
        origin = Opened(open_weights(options.workdir)).origin(
            chain={"num_steps_each": options.num_steps_each},
            condition=options.condition(options.seed, options.count(), options.denoise),
            **options.classes(),
        )
    ((_, images),) = origin.images(np.arange(options.num_samples), tqdm(disable=True))
    return images


@pytest.mark.slow
def test_sample_draws_what_the_classifier_takes_for_the_label(files, trained):
    options = {"classifier": str(files / "digits.npz"), "classifier_scale": 300.0}
    images = sample(files, num_samples=4, label="3", num_steps_each=20, **options)
    logits = trained[0](images / np.float32(255), tf.fill([4], 2)).numpy()
    plain = sample(files, num_samples=4, num_steps_each=20)
    before = trained[0](plain / np.float32(255), tf.fill([4], 2)).numpy()

    def share(logits):
        return tf.nn.softmax(logits)[:, 3].numpy()

    assert np.all(share(logits) > share(before))
    assert share(logits).mean() > 0.5


def test_the_command(files, command_server, tmp_path):
    command = ["-m", "ncsn_tf", "classifier"]
    flags = [f"--workdir={files / 'run'}", "--num_steps=2", "--features=2"]
    done = command_server.run([*command, *flags, "--out=new/digits.npz"], cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "Wrote new/digits.npz")
    assert re.fullmatch(
        r"Test images classified right, by noise level: \d+% at 0.5, \d+% at 0.071, \d+% at 0.01",
        done.stdout.splitlines()[1],
    )
    loaded = read_classifier(tmp_path / "new" / "digits.npz")
    assert (loaded.num_classes, tuple(loaded.image_shape)) == (10, (8, 8, 1))
    save_picture(tmp_path / "a.png")
    unlabelled = ["--dataset=image_folder", f"--data_dir={tmp_path}"]
    done = command_server.run([*command, *flags, *unlabelled], cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: data set 'image_folder' has no labels: name one that has with --dataset"
    )


def save_picture(path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)


def test_what_cannot_be_used(files, tmp_path):
    def error_of(kind, **options):
        with pytest.raises(kind) as error:
            sample(files, num_samples=1, **options)
        assert type(error.value) is kind
        assert "\n" not in str(error.value)
        return str(error.value)

    file = str(files / "digits.npz")
    assert "needs --label" in error_of(ConfigError, classifier=file)
    assert "--label=3 needs a network that was trained with" in error_of(ConfigError, label="3")
    assert "--classifier_scale=2.0 needs" in error_of(ConfigError, classifier_scale=2.0)
    assert "--label=10 must be below the classifier's 10" in error_of(
        ConfigError, classifier=file, label="10"
    )
    message = error_of(UserError, classifier=str(tmp_path / "no"), label="1")
    assert message.endswith("no cannot be read: No such file or directory")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    (tmp_path / "text.npz").write_text("text")
    for name in ("other.npz", "text.npz"):
        message = error_of(UserError, classifier=str(tmp_path / name), label="1")
        assert message.endswith("is not a classifier: make one with ncsn classifier")
    save_classifier(tmp_path / "levels.npz", NoisyClassifier((8, 8, 1), 2, SIGMAS[:2], 10))
    message = error_of(UserError, classifier=str(tmp_path / "levels.npz"), label="1")
    assert "is for images or noise levels other than the run's" in message
