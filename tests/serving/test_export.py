"""Exports need none of our code, and draw exactly the images of the checkpoint."""

import contextlib
import dataclasses
import functools
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, message_factory, text_format, wrappers_pb2
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2
from tqdm import tqdm
from training_helpers import TinyNetwork

from ncsn_tf.backend.compat import raw_variables
from ncsn_tf.backend.devices import mirrored_strategy
from ncsn_tf.commands import sample as sample_command
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.sampling.samplers import SAMPLERS
from ncsn_tf.schedule import geometric_sigmas
from ncsn_tf.serving import export
from ncsn_tf.serving.export_origin import Export
from ncsn_tf.serving.versions import versions
from ncsn_tf.settings.chain import change_chain
from ncsn_tf.settings.config import Config
from ncsn_tf.training import checkpoint_choice, checkpoints
from ncsn_tf.training import state as state_module
from ncsn_tf.training.resume import RunCheckpoints
from ncsn_tf.training.run_sampler import sampler_of
from ncsn_tf.training.state import TrainingState

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Config(
    dataset="digits",
    image_size=8,
    channels=1,
    features=2,
    num_levels=3,
    step_lr=1e-4,
    num_steps_each=3,
    sampling_tile=2,
    ema_decay=0.5,
)
OTHER_CHAIN = {
    "sampler": "pc",
    "num_steps_each": 2,
    "step_lr": 5e-5,
    "denoise": True,
    "sampling_tile": 1,
}
FIRST_SEED, NUM_SEEDS = 2**40, 5
SEEDS = FIRST_SEED + np.arange(NUM_SEEDS)

# One call of every signature; the rows of `sample` ask for more, fewer and impossible steps.
INPUTS = {
    "serving_default": {"seed": SEEDS},
    "sample_uint8": {"seed": SEEDS},
    "sample": {
        "seed": SEEDS,
        "steps_per_level": np.array([0, 3, 1, -7, 2**31 - 1], np.int32),
        "step_lr": np.array([0.0, 1e-4, 5e-5, np.nan, -np.inf], np.float32),
    },
    "score": {
        "x": np.linspace(-1, 2, NUM_SEEDS * 64, dtype=np.float32).reshape(NUM_SEEDS, 8, 8, 1),
        "label": np.array([0, 1, 2, -1, 1000], np.int32),
    },
}

# This runs in a process of its own, in which neither our package nor Keras exists.
LOAD = """
import sys

for name in ("ncsn_tf", "keras", "tf_keras"):
    sys.modules[name] = None  # importing it is an ImportError
import numpy as np
import tensorflow as tf

folder, inputs, by_object, by_session = sys.argv[1:]
calls = {}
with np.load(inputs) as arrays:
    for key in arrays.files:
        signature, _, name = key.partition("/")
        calls.setdefault(signature, {})[name] = arrays[key]


def plain(value):
    return value.astype("S") if value.dtype == object else value


results = {}
signatures = tf.saved_model.load(folder).signatures
for signature, values in calls.items():
    tensors = {name: tf.constant(value) for name, value in values.items()}
    for name, value in signatures[signature](**tensors).items():
        results[f"{signature}/{name}"] = plain(value.numpy())
np.savez(by_object, **results)

results = {}
del calls["serving_default"]  # which `saved_model_cli` runs by the same loader
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    definitions = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def
    for signature, values in calls.items():
        inputs, fetched = definitions[signature].inputs, definitions[signature].outputs
        feeds = {inputs[name].name: value for name, value in values.items()}
        fetches = {name: info.name for name, info in fetched.items()}
        for name, value in session.run(fetches, feeds).items():
            results[f"{signature}/{name}"] = plain(value)
np.savez(by_session, **results)
"""


def run_python(*args, cwd):
    """A Python process that sees no folder of ours: it must end well."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, *map(str, args)]
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module", autouse=True)
def _tiny_network():
    """Networks that are quickly traced and loaded, with enough weights for their place to count."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (state_module, checkpoints):
            patch.setattr(module, "build_network", functools.partial(TinyNetwork, width=256))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Settings of a run with a checkpoint whose average is not its weights."""
    config = dataclasses.replace(CONFIG, workdir=str(tmp_path_factory.mktemp("export") / "run"))
    state = TrainingState(config, mirrored_strategy(["CPU:0"]))
    state.average.vector.assign(state.average.vector * 1.25)
    state.step.assign(11)
    RunCheckpoints(state, config).save()
    return config


@pytest.fixture(scope="module")
def network(run):
    """The network of the averaged weights."""
    return checkpoints.load_network(checkpoint_choice.latest(run.run_dir))[0]


@pytest.fixture(scope="module")
def exported(run):
    """Paths of two exports: of the average, and of the weights with another chain."""
    raw = {"average": False, "max_steps_each": 4, "max_batch_size": 6, **OTHER_CHAIN}
    return export.export_run(run.run_dir), export.export_run(run.run_dir, **raw)


@pytest.fixture(scope="module")
def inputs_file(tmp_path_factory):
    """INPUTS as arrays named SIGNATURE/INPUT."""
    path = tmp_path_factory.mktemp("inputs") / "inputs.npz"
    arrays = {
        f"{signature}/{name}": value
        for signature, inputs in INPUTS.items()
        for name, value in inputs.items()
    }
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def images(run, tmp_path_factory):
    """What sample.py draws from the checkpoint."""
    images, printed = drawn_by_sample_py(run, tmp_path_factory.mktemp("drawn"))
    assert "averaged weights of step 11" in printed
    return images


def drawn_by_sample_py(run, folder, *flags):
    """(images, what it printed) of a checkpoint."""
    out = folder / "samples.npz"
    command = [f"--workdir={run.run_dir}", f"--num_samples={NUM_SEEDS}", f"--seed={FIRST_SEED}"]
    command += [*flags, "--format=npz", f"--out={out}"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        sample_command.main(["sample.py", *command])
    with np.load(out) as arrays:
        np.testing.assert_array_equal(arrays["seeds"], SEEDS)
        images = arrays["images"]
    assert images.shape == (NUM_SEEDS, 8, 8, 1)
    assert images.dtype == np.uint8
    assert len(np.unique(images)) > 20
    return images, said.getvalue()


def test_versions_count_up_and_are_complete(run, exported):
    folder = run.run_dir / "export"
    assert exported == (folder / "1", folder / "2")
    assert sorted(os.listdir(folder)) == ["1", "2"]
    for path in exported:
        files = {"saved_model.pb", "variables", "metadata.json", "batching_params.pbtxt"}
        assert files <= set(os.listdir(path))
    assert versions(folder) == [1, 2]


def test_metadata(run, exported):
    average, raw = (json.loads((path / "metadata.json").read_text()) for path in exported)
    assert Config.from_json(json.dumps(average["config"])) == dataclasses.replace(
        run, precision="float32"
    )
    assert (average["training_step"], raw["training_step"]) == (11, 11)
    assert (average["weights"], raw["weights"]) == ("average", "raw")
    assert (average["max_steps_each"], raw["max_steps_each"]) == (30, 4)
    assert average["versions"]["tensorflow"] == tf.__version__


def test_average_and_raw_weights(run, network, exported):
    raw, *_ = checkpoints.load_network(checkpoint_choice.latest(run.run_dir), use_average=False)
    for path, expected in zip(exported, (network, raw), strict=True):
        reader = tf.train.load_checkpoint(str(path / "variables" / "variables"))
        stored = [
            reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
            if name.startswith("weights/")
        ]
        assert sum(value.size for value in stored) == expected.count_params()
        total = sum(np.sum(value.numpy(), dtype=np.float64) for value in raw_variables(expected))
        assert sum(np.sum(value, dtype=np.float64) for value in stored) == pytest.approx(total)


def test_signatures(exported):
    loaded = tf.saved_model.load(str(exported[0])).signatures
    image = [None, 8, 8, 1]
    expected = {
        "serving_default": ({"seed": tf.int64}, {"image_bytes": (tf.string, [None])}),
        "sample_uint8": ({"seed": tf.int64}, {"image": (tf.uint8, image)}),
        "sample": (
            {"seed": tf.int64, "steps_per_level": tf.int32, "step_lr": tf.float32},
            {
                "image_bytes": (tf.string, [None]),
                "image": (tf.uint8, image),
                "samples": (tf.float32, image),
                "steps_per_level": (tf.int32, [None]),
            },
        ),
        "score": ({"x": tf.float32, "label": tf.int32}, {"score": (tf.float32, image)}),
    }
    assert set(loaded) == set(expected)
    for name, (inputs, outputs) in expected.items():
        ((), specs) = loaded[name].structured_input_signature
        assert {key: spec.dtype for key, spec in specs.items()} == inputs
        assert all(spec.shape[0] is None for spec in specs.values())
        tensors = loaded[name].structured_outputs
        assert {key: (t.dtype, t.shape.as_list()) for key, t in tensors.items()} == outputs


@pytest.fixture(scope="module")
def loaders(exported, inputs_file, tmp_path_factory):
    """Files of {SIGNATURE/OUTPUT: array}, by TensorFlow 2's loader and by a session of 1's."""
    folder = tmp_path_factory.mktemp("loaders")
    files = folder / "object.npz", folder / "session.npz"
    run_python("-I", "-c", LOAD, exported[0], inputs_file, *files, cwd=folder)
    return files


@pytest.fixture(scope="module")
def answers(loaders):
    """{SIGNATURE/OUTPUT: array} in a process without our code or Keras."""
    with np.load(loaders[0]) as arrays:
        return dict(arrays)


def decode(png):
    return np.asarray(PIL.Image.open(io.BytesIO(png)))[..., np.newaxis]


def test_a_process_without_our_code_draws_the_images_of_the_checkpoint(answers, images):
    for index, png in enumerate(answers["serving_default/image_bytes"]):
        np.testing.assert_array_equal(decode(png), images[index])
    np.testing.assert_array_equal(answers["sample_uint8/image"], images)
    rows = [0, 1, 3]  # the default chain in other words, and a clamped row
    np.testing.assert_array_equal(answers["sample/image"][rows], images[rows])
    assert not np.array_equal(answers["sample/image"][2], images[2])
    assert answers["sample/steps_per_level"].tolist() == [3, 3, 1, 3, 30]


def same(path, answers):
    """What a loader wrote is what the process without our code answered."""
    with np.load(path) as arrays:
        assert set(arrays.files) == set(answers)
        for name in arrays.files:
            np.testing.assert_array_equal(arrays[name], answers[name], err_msg=name)
    return True


def test_a_session_of_tensorflow_1_gives_the_same(loaders, answers):
    asked = {name for name in answers if not name.startswith("serving_default/")}
    assert same(loaders[1], {name: answers[name] for name in asked})


def test_the_loader_of_the_server_gives_the_same(exported, answers, inputs_file, tmp_path):
    """TensorFlow's C API in a process without Python's TensorFlow, XLA disabled."""
    out = tmp_path / "out.npz"
    run_python(ROOT / "tests" / "c_api.py", exported[0], inputs_file, out, cwd=tmp_path)
    assert same(out, answers)


@pytest.mark.slow
def test_saved_model_cli_draws_the_images_of_the_checkpoint(exported, images, tmp_path):
    np.save(tmp_path / "seeds.npy", SEEDS)
    command = ["-m", "tensorflow.python.tools.saved_model_cli", "run"]
    which = [f"--dir={exported[0]}", "--tag_set=serve", "--signature_def=serving_default"]
    files = [f"--inputs=seed={tmp_path}/seeds.npy", f"--outdir={tmp_path}"]
    run_python(*command, *which, *files, cwd=tmp_path)
    pngs = np.load(tmp_path / "image_bytes.npy", allow_pickle=True)
    np.testing.assert_array_equal(np.stack([decode(png) for png in pngs]), images)


def test_score_is_the_networks(network, answers):
    inputs = INPUTS["score"]
    expected = network(inputs["x"], np.clip(inputs["label"], 0, 2)).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(answers["score/score"], expected, atol=1e-5 * scale)


def test_weights_are_stored_once(network, exported):
    size = (exported[0] / "variables" / "variables.data-00000-of-00001").stat().st_size
    assert 1 <= size / (4 * network.count_params()) < 2  # beside them is the graph of the objects


def test_the_chain_of_the_export_can_be_chosen(run, exported):
    config = json.loads((exported[1] / "metadata.json").read_text())["config"]
    assert OTHER_CHAIN.items() <= config.items()
    with pytest.raises(ConfigError, match="--max_steps_each=1 must be at least .*_each=3"):
        export.export_run(run.run_dir, max_steps_each=1)


class Convolution:
    """A score function with weights that draws images and is quickly compiled."""

    def __init__(self):
        layer = keras.layers.Conv2D(
            1, 3, padding="same", kernel_initializer=keras.initializers.RandomNormal(0.0, 0.1, 0)
        )
        layer.build((None, 8, 8, 1))
        self.layer, self.weights = layer, layer.weights
        self.trainable_variables = layer.trainable_variables

    def __call__(self, x, levels):
        sigma = tf.gather(geometric_sigmas(1.0, 0.01, 3), levels)[:, None, None, None]
        return (tf.tanh(self.layer(x)) + 0.5 - x) / sigma**2


@pytest.mark.parametrize(
    "chain",
    [
        {"sampler": "cas"},
        {"sampler": "cas", "step_lr": 9e-5, "num_steps_each": 2},
        {"sampler": "pc", "corrector_steps": 2},
        {"sampler": "ode", "ode_rtol": 0.1, "ode_atol": 0.05},
        pytest.param(
            {"sampler": "heun", "num_evaluations": 6, "churn": 2.0}, marks=pytest.mark.slow
        ),
        {"sampler": "dpm_sde", "num_evaluations": 7, "schedule": "geometric"},
    ],
    ids=["cas", "cas with a step size", "pc", "ode", "heun", "dpm_sde"],
)
def test_other_samplers_draw_the_images_of_the_checkpoint(chain, tmp_path, capsys):
    config, network = change_chain(CONFIG, denoise=True, **chain), Convolution()
    folder = export.save_sampler(network, config, tmp_path, {})
    loaded = tf.saved_model.load(str(folder)).signatures
    sampler = sampler_of(network, config)
    images = np.round(sampler.draw(SEEDS) * 255)
    assert len(np.unique(images)) > 20
    np.testing.assert_array_equal(loaded["sample_uint8"](seed=SEEDS)["image"], images)
    inputs = {"steps_per_level": np.zeros(5, np.int32), "step_lr": np.zeros(5, np.float32)}
    np.testing.assert_array_equal(loaded["sample"](seed=SEEDS, **inputs)["image"], images)

    Export(folder)
    printed = capsys.readouterr().out.splitlines()[1:]
    count = sampler.num_evaluations
    assert printed == ([] if count is None else [f"{count} network evaluations an image"])

    if "num_evaluations" in SAMPLERS[config.sampler].settings:
        few, asked = loaded["sample_evaluations"], np.array([0, 7, 5, 999, 4], np.int32)
        answer = few(seed=SEEDS, num_evaluations=asked)
        own = config.num_evaluations
        assert answer["num_evaluations"].numpy().tolist() == [own, 7, 5, 100, 4]
        np.testing.assert_array_equal(answer["image"][0], images[0])
        short = sampler_of(network, change_chain(config, num_evaluations=5))
        expected = np.round(short.draw(SEEDS) * 255)
        np.testing.assert_array_equal(answer["image"][2], expected[2])
        chosen = Export(folder, num_evaluations=5)
        (_, pictures), *_ = chosen.images(np.asarray(SEEDS), tqdm(disable=True))
        np.testing.assert_array_equal(pictures, expected)
        assert "5 network evaluations an image" in capsys.readouterr().out
        for wrong, message in ((101, "more than the 100 that"), (1, "must be at least [23], the")):
            with pytest.raises(ConfigError, match=f"^--num_evaluations={wrong} .*{message}"):
                Export(folder, num_evaluations=wrong)
        capsys.readouterr()
    else:
        assert "sample_evaluations" not in loaded
        with pytest.raises(ConfigError, match="--num_evaluations cannot be chosen of "):
            Export(folder, num_evaluations=5)
        capsys.readouterr()

    # The probability flow cannot be asked for a short chain.
    assert (folder / "assets.extra").exists() == (chain["sampler"] != "ode")


def test_an_export_of_another_sampler_draws_what_sample_py_draws(run, exported, tmp_path):
    flags = [f"--{name}={value}" for name, value in OTHER_CHAIN.items()]
    images, printed = drawn_by_sample_py(run, tmp_path, "--noaverage", *flags)
    assert ", weights of step 11" in printed
    loaded = tf.saved_model.load(str(exported[1])).signatures["sample_uint8"]
    np.testing.assert_array_equal(loaded(seed=tf.constant(SEEDS))["image"], images)


def test_warm_up_is_one_short_request_of_sample(exported):
    path = exported[0] / "assets.extra" / "tf_serving_warmup_requests"
    (record,) = tf.data.TFRecordDataset(str(path))
    log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
    request = log.predict_log.request
    assert request.model_spec.signature_name == "sample"
    inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
    assert inputs["steps_per_level"].tolist() == [1]
    assert {name: (value.dtype, value.shape) for name, value in inputs.items()} == {
        "seed": (np.int64, (1,)),
        "steps_per_level": (np.int32, (1,)),
        "step_lr": (np.float32, (1,)),
    }


def message_type(name, **fields):
    """A message class with the (number, type, label) of its fields.

    The packages hold neither `BatchingParameters` (session_bundle_config.proto) nor
    `MonitoringConfig`; a type that is no scalar is a message's full name.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="test", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    message = file.message_type.add(name=name)
    for field, (number, kind, label) in fields.items():
        proto = message.field.add(name=field, number=number)
        proto.label = descriptor_pb2.FieldDescriptorProto.Label.Value(f"LABEL_{label}")
        if "." in kind:
            proto.type_name, proto.type = kind, proto.TYPE_MESSAGE
        else:
            proto.type = descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{kind}")
    wrappers = wrappers_pb2.DESCRIPTOR.serialized_pb
    return message_factory.GetMessages(
        [descriptor_pb2.FileDescriptorProto.FromString(wrappers), file]
    )[f"test.{name}"]


@pytest.fixture(scope="module")
def parameters_type():
    """`tensorflow.serving.BatchingParameters`."""
    numbers = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches")
    fields = {
        name: (number, ".google.protobuf.Int64Value", "OPTIONAL")
        for number, name in enumerate([*numbers, "num_batch_threads"], 1)
    }
    return message_type(
        "BatchingParameters", **fields, allowed_batch_sizes=(6, "INT64", "REPEATED")
    )


def test_batching_parameters(exported, parameters_type):
    """In the version's own folder, where the server looks for them."""
    for path, sizes in zip(exported, ([2, 4, 8, 16, 32], [1, 2, 4, 6]), strict=True):
        text = (path / "batching_params.pbtxt").read_text()
        parameters = text_format.Parse(text, parameters_type())
        assert list(parameters.allowed_batch_sizes) == sizes
        assert parameters.max_batch_size.value == sizes[-1]
        assert parameters.batch_timeout_micros.value == 500_000
        # The threads are those of serving/batching.config, shared by all models.
        assert not parameters.HasField("num_batch_threads")


def test_the_servers_configuration(parameters_type):
    def read(name):
        return (ROOT / "serving" / name).read_text()

    parameters = text_format.Parse(read("batching.config"), parameters_type())
    assert parameters.num_batch_threads.value == 1
    models = text_format.Parse(read("models.config"), model_server_config_pb2.ModelServerConfig())
    (model,) = models.model_config_list.config
    assert (model.name, model.base_path) == ("ncsn", "/models/ncsn")
    assert model.model_version_policy.latest.num_versions == 1
    monitoring = re.sub(r"^prometheus_config \{|\}$", "", read("monitoring.config").strip())
    fields = {"enable": (1, "BOOL", "OPTIONAL"), "path": (2, "STRING", "OPTIONAL")}
    prometheus = text_format.Parse(monitoring, message_type("PrometheusConfig", **fields)())
    assert prometheus.enable
    assert f"metrics_path: {prometheus.path}\n" in read("prometheus.yml")
    compose = read("docker-compose.yml")
    for flag in ("enable_batching", "enable_per_model_batching_parameters"):
        assert f"- --{flag}=true\n" in compose
    for name in ("batching.config", "models.config", "monitoring.config", "prometheus.yml"):
        assert f'"./{name}:' in compose


def test_a_failed_export_leaves_nothing(run, exported, monkeypatch):
    def fail(module, path, *others):
        Path(path).mkdir(parents=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(UserError, match="export.3 cannot be written: .*No space left"):
        export.export_run(run.run_dir)
    assert sorted(os.listdir(run.run_dir / "export")) == ["1", "2"]


@pytest.mark.parametrize(
    "num_levels, chain, line",
    [
        (3, {"num_steps_each": 1_000_001}, "--num_steps_each=1000001 must be at most 1000000"),
        (3, {"max_steps_each": 1_000_001}, "--max_steps_each=1000001 must be at most 1000000"),
        (3000, {"max_steps_each": 715_828}, "--max_steps_each=715828 must be at most 715827"),
    ],
)
def test_more_steps_than_can_be_counted(num_levels, chain, line, tmp_path):
    most = {"max_steps_each": chain.pop("max_steps_each")} if "max_steps_each" in chain else {}
    config = dataclasses.replace(CONFIG, num_levels=num_levels, **chain)
    with pytest.raises(ConfigError) as error:
        export.save_sampler(Convolution(), config, tmp_path, {}, **most)
    assert str(error.value) == f"{line} in an export with --num_levels={num_levels}"
    assert os.listdir(tmp_path) == []


def test_the_most_steps_that_can_be_counted(tmp_path):
    """The default, ten times the chain's, ends there."""
    config = dataclasses.replace(CONFIG, num_steps_each=200_000)
    folder = export.save_sampler(Convolution(), config, tmp_path, {})
    assert json.loads((folder / "metadata.json").read_text())["max_steps_each"] == 1_000_000


def test_without_the_messages_of_the_server(tmp_path, monkeypatch):
    """They are looked for before the work."""
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    monkeypatch.setattr(tf.saved_model, "save", None)
    with pytest.raises(UserError) as error:
        export.save_sampler(Convolution(), CONFIG, tmp_path, {})
    assert re.fullmatch(
        r"an export needs tensorflow-serving-api \(.*\): pip install -r requirements.txt",
        str(error.value),
    )
    assert os.listdir(tmp_path) == []


def test_versions_are_those_of_the_packages_that_run(monkeypatch):
    """TensorFlow's distribution may be tensorflow-cpu."""
    monkeypatch.setattr("importlib.metadata.version", None)
    assert export._packages()["tensorflow"] == tf.__version__


def test_nothing_to_export(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"):
        export.export_run(tmp_path)
