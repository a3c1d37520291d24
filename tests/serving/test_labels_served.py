"""Classes, guidance and a number of evaluations, asked of a server by the command: over gRPC and
REST, bit for bit what the checkpoint's sampler draws."""

import numpy as np
import pytest
from labelled_network import NAMES, LabelledNetwork
from serving_server import ServingServer
from tensorflow.core.protobuf import saved_model_pb2

from ncsn_tf.commands import sample
from ncsn_tf.commands.console import run_command
from ncsn_tf.data.images import to_uint8
from ncsn_tf.sampling import Sampler
from ncsn_tf.serving.export import save_sampler
from ncsn_tf.serving.export_origin import Export
from ncsn_tf.settings.chain import change_chain
from ncsn_tf.settings.config import Config
from ncsn_tf.training.run_sampler import chain_of

CONFIG = Config(
    dataset="digits",
    image_size=8,
    channels=1,
    class_conditional=True,
    class_names=NAMES,
    num_levels=3,
    sampler="dpm_sde",
    num_evaluations=3,
    sampling_tile=2,
)
SEEDS = np.arange(3)
# Flags of a request, and (labels of the seeds, guidance, evaluations) that they mean.
REQUESTS = {
    "": (None, 1.0, 3),
    "--num_evaluations=2": (None, 1.0, 2),
    "--label=owl": ([2, 2, 2], 1.0, 3),
    "--label=each --guidance=1.5": ([0, 1, 2], 1.5, 3),
    "--label=each --guidance=1.5 --num_evaluations=2": ([0, 1, 2], 1.5, 2),
}


@pytest.fixture(scope="module")
def network():
    return LabelledNetwork()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    """A folder of versions."""
    return save_sampler(network, CONFIG, tmp_path_factory.mktemp("export"), {}).parent


@pytest.fixture(scope="module")
def served(folder):
    with ServingServer(folder) as server:
        yield server


@pytest.fixture(scope="module")
def local(network):
    """(labels, guidance, evaluations) -> the images of the checkpoint's sampler, uint8."""
    samplers = {
        count: Sampler(
            network,
            chain_of(change_chain(CONFIG, num_evaluations=count)),
            (8, 8, 1),
            step_lr=1e-3,
            num_steps_each=1,
            tile=2,
        )
        for count in (2, 3)
    }

    def draw(labels, guidance, count):
        given = {} if labels is None else {"labels": labels, "guidance": guidance}
        return to_uint8(samplers[count].draw(SEEDS, **given))

    return draw


def command(*flags):
    with pytest.raises(SystemExit) as end:
        run_command(sample.main, ["sample.py", *flags])
    return end.value.code


@pytest.mark.parametrize(
    "flags",
    [
        flags if flags.count("--") == 3 else pytest.param(flags, marks=pytest.mark.slow)
        for flags in REQUESTS
    ],
    ids=lambda flags: flags or "nothing",
)
@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_the_command_draws_from_a_server(protocol, flags, served, local, tmp_path):
    address = {"grpc": f"127.0.0.1:{served.grpc_port}"}
    address["rest"] = f"http://127.0.0.1:{served.rest_port}"
    count = 1 if "each" in flags else len(SEEDS)  # of each class
    out = tmp_path / "drawn.npz"
    given = [f"--server={address[protocol]}", f"--num_samples={count}", f"--out={out}"]
    assert command(*given, "--format=npz", *flags.split()) == 0
    with np.load(out) as arrays:
        np.testing.assert_array_equal(arrays["images"], local(*REQUESTS[flags]))


def test_what_cannot_be_asked_together(served, capsys):
    flags = ["--label=cat", "--num_evaluations=2"]
    address = f"--server=127.0.0.1:{served.grpc_port}"
    assert command(address, *flags, "--num_steps_each=3") == 2
    line = "error: --num_steps_each=3 cannot be used with --num_evaluations=2: no chain has both\n"
    assert capsys.readouterr().err == line
    assert command(address, "--label=cat", "--num_evaluations=101") == 1
    assert "takes 100 evaluations, not --num_evaluations=101" in capsys.readouterr().err


def test_both_signatures_share_one_chain(folder, capsys):
    Export(folder, label="cat", guidance=2.0, num_evaluations=2)
    assert "4 network evaluations an image" in capsys.readouterr().out
    message = saved_model_pb2.SavedModel()
    message.ParseFromString((folder / "1" / "saved_model.pb").read_bytes())
    names = [
        function.signature.name for function in message.meta_graphs[0].graph_def.library.function
    ]
    assert len([name for name in names if "_chosen_" in name]) == 1
