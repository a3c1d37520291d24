"""The toy experiments: what the figures claim, in numbers; the command."""

import sys

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from ncsn_tf.backend import random
from ncsn_tf.backend.random import Stream
from ncsn_tf.commands.console import run_command
from ncsn_tf.commands.toy import main
from ncsn_tf.toy import figures as toy_figures
from ncsn_tf.toy import mixture as toy_mixture


@pytest.fixture(scope="module")
def density():
    return toy_mixture.two_modes()


SAMPLES = 1000
CHANCE = np.sqrt(0.8 * 0.2 / SAMPLES)


@pytest.fixture(scope="module")
def seeds():
    return toy_mixture.chain_seeds(SAMPLES)


def test_draws_have_the_weights(density, seeds):
    first, second = toy_mixture.mode_weights(density, density.sample(seeds))
    assert first + second == 1
    assert abs(first - 0.8) < 4 * CHANCE


def test_a_step_is_the_papers(density, seeds, monkeypatch):
    """x + (a / 2) s + sqrt(a) z with a = 0.1."""
    monkeypatch.setattr(toy_mixture, "_STEPS", 1)
    start = toy_mixture.EXTENT * (2 * random.uniform(seeds, (2,), Stream.INITIAL_STATE) - 1)
    noise = random.normal(seeds, (2,), Stream.LANGEVIN, (0, 0))
    expected = start + 0.1 / 2 * density.score(start) + np.sqrt(0.1) * noise
    np.testing.assert_allclose(toy_mixture.langevin(density, seeds), expected, atol=1e-4)


def test_langevin_dynamics_loses_the_weights(density, seeds):
    """Each chain ends in the mode on whose side of the plane it started: half of them in each."""
    x = toy_mixture.langevin(density, seeds).numpy()
    first, _ = toy_mixture.mode_weights(density, x)
    assert abs(first - 0.5) < 4 * CHANCE
    # Within a mode all is well: the step's stationary variance is 1 / (1 - a / 2).
    mode = x[x.sum(1) > 0].astype(np.float64)
    assert np.all(np.abs(mode.mean(0) - 5) < 4 / np.sqrt(len(mode)))
    assert np.all(np.abs(mode.var(0) - 1 / (1 - 0.025)) < 4 * np.sqrt(2 / len(mode)))


def test_annealed_langevin_dynamics_finds_the_weights(density, seeds):
    """Measured with 20,000 chains: 0.783, so that the method's own error is 0.017."""
    x = toy_mixture.annealed_langevin(density, seeds).numpy()
    first, _ = toy_mixture.mode_weights(density, x, 1.0)
    assert abs(first - 0.8) < 0.017 + 4 * CHANCE
    mode = x[x.sum(1) > 0].astype(np.float64)
    assert np.all(np.abs(mode.mean(0) - 5) < 0.15)
    assert np.all(np.abs(mode.var(0) - 2 / (1 - 0.0125)) < 0.25)  # of the density perturbed with 1


def test_chains_of_two_seeds_share_none():
    first, second = (toy_mixture.chain_seeds(1000, seed).numpy() for seed in (0, 1))
    assert not np.intersect1d(first, second).size


def test_errors_are_weighted_by_region(density):
    """A score that is wrong by (1, 2) in one half of the plane, by nothing in the other."""

    def score_fn(x):
        return density.score(x).numpy() + (x[:, :1] > 0) * np.array([1.0, 2.0])

    errors = toy_mixture.errors_by_region(score_fn, density)
    (data_area, data_error, data_size), (rest_area, rest_error, rest_size) = errors.values()
    assert data_area + rest_area == pytest.approx(1)
    # Right of the middle is the disc around (5, 5), whose radius r solves the threshold's
    # 0.8 exp(-r^2 / 2) = 0.2 exp(-q^2 / 2) with the left one's q.
    assert 5 * 0.5 < data_error < 5 * 0.7
    assert data_area * data_error + rest_area * rest_error == pytest.approx(5 * 0.5, rel=1e-3)
    # The discs hold 95 % of the mass: 0.8 (1 - e^(-r^2/2)) + 0.2 (1 - e^(-q^2/2)) = 0.95, so that
    # e^(-r^2/2) = 1/32 and e^(-q^2/2) = 1/8.
    area = np.pi * 2 * (np.log(32) + np.log(8)) / 16**2
    assert data_area == pytest.approx(area, rel=0.02)
    assert data_size < 4 < 20 < rest_size


def test_estimated_scores_are_wrong_where_there_are_no_data(density):
    network = toy_mixture.train_score_network(density, num_steps=1000)
    errors = toy_mixture.errors_by_region(network, density)
    _, inside, size = errors["data"]
    _, outside, _ = errors["rest"]
    assert inside < 0.1 * size
    assert outside > 20 * inside


def test_the_figure_shows_both_scores_and_their_difference(density, tmp_path, monkeypatch):
    arrows, pictures = [], []

    def catch(name, kept):
        plain = getattr(Axes, name)

        def method(self, *args, **options):
            kept.append((self, args, options))
            return plain(self, *args, **options)

        monkeypatch.setattr(Axes, name, method)

    catch("quiver", arrows)
    catch("imshow", pictures)
    offset = np.array([3.0, 4.0])

    def estimated(x):
        """Off by (3, 4) where x_1 > 0, by a tenth of that elsewhere."""
        return density.score(x).numpy() + np.where(x[:, :1] > 0, 1.0, 0.1) * offset

    toy_figures.save_scores(tmp_path / "scores.png", density, estimated)
    (left, true, _), (middle, estimate, _) = arrows
    assert (left.get_title(), middle.get_title()) == ("true scores", "estimated scores")
    places = np.stack(true[:2], -1)
    np.testing.assert_array_equal(np.stack(estimate[:2], -1), places)
    np.testing.assert_array_equal(places, toy_mixture.plane(20))
    np.testing.assert_allclose(np.stack(true[2:], -1), density.score(places), rtol=1e-5)
    np.testing.assert_allclose(np.stack(estimate[2:], -1), estimated(places), rtol=1e-5)
    assert arrows[0][2]["scale"] == arrows[1][2]["scale"]
    ((_, (error,), options),) = pictures
    # Rows are x_2 from below, columns x_1.
    assert (options["origin"], options["extent"]) == ("lower", (-8, 8, -8, 8))
    expected = np.where(np.arange(100) >= 50, 5.0, 0.5) * np.ones([100, 1])
    np.testing.assert_allclose(error, expected, rtol=1e-3)
    # The size of the difference, on a scale that reaches from its one value to the other.
    np.testing.assert_allclose([options["norm"].vmin, options["norm"].vmax], [0.5, 5], rtol=1e-3)


def test_the_command(tmp_path, capsys):
    out = tmp_path / "pictures"
    with pytest.raises(SystemExit) as end:
        run_command(main, ["ncsn toy", f"--out={out}", "--num_steps=3", "--num_samples=50"])
    printed = capsys.readouterr()
    assert end.value.code == 0, printed.err
    lines = printed.out.splitlines()
    assert lines[0].startswith("Score network trained for 3 steps in ")
    assert lines[2].startswith("95% of the data") and lines[3].startswith("the rest of [-8, 8]^2")
    plain, annealed = (float(line.split()[-2]) for line in lines[6:8])
    assert lines[6].startswith("Langevin") and lines[7].startswith("annealed Langevin")
    assert plain < 0.7 < annealed
    for name in ("scores", "langevin", "annealed_langevin"):
        with Image.open(out / f"{name}.png") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert pixels.shape[1] > pixels.shape[0] > 300
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_a_folder_that_cannot_be_written(tmp_path, capsys, monkeypatch):
    """Is said before the network is trained."""
    monkeypatch.setattr(toy_mixture, "train_score_network", None)
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as end:
        run_command(main, ["ncsn toy", f"--out={tmp_path}/file/x", "--num_steps=1"])
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert error == f"error: {tmp_path}/file/x/scores.png cannot be written: Not a directory\n"


def test_matplotlib_is_asked_for_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as end:
        run_command(main, ["ncsn toy", f"--out={tmp_path}"])
    assert end.value.code == 1
    assert "pip install matplotlib" in capsys.readouterr().err
