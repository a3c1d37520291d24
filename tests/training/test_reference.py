"""A checkpoint of the reference programs becomes a run: weights, their average, mistakes."""

import dataclasses

import numpy as np
import pytest

import ncsn_tf.pytorch
from ncsn_tf.commands import import_reference
from ncsn_tf.errors import UserError
from ncsn_tf.pytorch import ReferenceCheckpoint
from ncsn_tf.settings.flags import parse_config
from ncsn_tf.training import checkpoint_choice, checkpoints
from ncsn_tf.training.reference import import_weights

BASE = "ncsnv2_32px_ngf8"


@pytest.fixture
def checkpoint(golden, golden_params):
    """One whose averaged weights are the golden network's; the raw ones are half of them."""
    average = {**golden_params(BASE), "sigmas": golden(BASE)["sigmas"]}
    weights = {name: 0.5 * array for name, array in golden_params(BASE).items()}
    return ReferenceCheckpoint({**weights, "sigmas": average["sigmas"]}, average, 1234)


@pytest.fixture
def config(tmp_path):
    flags = ["--flagfile=cifar10_ncsnv2", "--features=8", f"--workdir={tmp_path / 'run'}"]
    return parse_config(["ncsn import", *flags])


def test_the_run_has_both_weights(checkpoint, config, golden_network):
    network = import_weights(*checkpoint, config, "a.pth")
    assert network.count_params() == golden_network(BASE).count_params()
    path = checkpoint_choice.latest(config.run_dir)
    averaged, saved, step, is_average = checkpoints.load_network(path)
    assert (saved, step, is_average) == (
        dataclasses.replace(config, precision="float32"),
        1234,
        True,
    )
    expected = golden_network(BASE).get_weights()
    for weight, other in zip(averaged.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weight, other)
    raw, *_ = checkpoints.load_network(path, use_average=False)
    np.testing.assert_array_equal(raw.begin_conv.kernel, 0.5 * averaged.begin_conv.kernel)


def test_weights_that_do_not_fit_are_one_line(checkpoint, config):
    del checkpoint.average["refine3.crp.convs.1.weight"]
    with pytest.raises(UserError, match="^a.pth: .*no parameter 'refine3.crp.convs.1.weight'"):
        import_weights(*checkpoint, config, "a.pth")
    assert not config.run_dir.exists()


def test_the_command(checkpoint, config, monkeypatch, capsys, tmp_path):
    """All but reading the file, for which PyTorch is needed."""
    monkeypatch.setattr(ncsn_tf.pytorch, "read_checkpoint", lambda path: checkpoint)
    monkeypatch.setattr(import_reference, "start_tensorflow", lambda: None)
    (tmp_path / "a.pth").touch()
    import_reference.main(["ncsn import", str(tmp_path / "a.pth"), str(config.run_dir)])
    saved = checkpoints.saved_config(checkpoint_choice.latest(config.run_dir))
    assert saved == dataclasses.replace(config, precision="float32")
    out = capsys.readouterr().out
    assert "117,323 weights and their average of ncsnv2, step 1234" in out
    assert out.endswith(f"ncsn sample --workdir={config.run_dir}\n")
