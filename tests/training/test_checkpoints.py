"""Checkpoints hold everything, fit only their own run, and say so when they are damaged."""

import dataclasses
import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from training_helpers import TinyNetwork

from ncsn_tf.backend.compat import KERAS_3, raw_variable
from ncsn_tf.backend.devices import mirrored_strategy
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.settings.config import Config
from ncsn_tf.training import checkpoint_choice, checkpoint_files, checkpoint_reading, checkpoints
from ncsn_tf.training import state as state_module
from ncsn_tf.training.checkpoints import open_config, open_run
from ncsn_tf.training.resume import RunCheckpoints
from ncsn_tf.training.run_network import build_network
from ncsn_tf.training.state import TrainingState


@pytest.fixture(scope="module", autouse=True)
def _tiny_network():
    """In place of the real one, where a test does not say `real_network`."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (state_module, checkpoints):
            patch.setattr(module, "build_network", TinyNetwork)
        yield


@pytest.fixture
def real_network(monkeypatch):
    for module in (state_module, checkpoints):
        monkeypatch.setattr(module, "build_network", build_network)


@pytest.fixture(scope="module")
def settings(tiny_config):
    """Settings of a run with an average, changed by name."""
    return lambda **changes: tiny_config(**{"ema_decay": 0.5, **changes})


@pytest.fixture(scope="module")
def strategy():
    return mirrored_strategy(["CPU:0"])


def move(state):
    """Change everything that a checkpoint holds, as some steps of training would."""
    generator = np.random.default_rng(int(state.step.numpy()))
    for _ in range(2):
        gradient = generator.normal(size=state.weights.vector.shape).astype(np.float32)
        state.optimizer.apply_gradients([(tf.constant(gradient), state.weights.weight)])
        state.average.move_towards(state.weights, 0.5)
    state.weights.copy_to(state.network)
    state.step.assign_add(7)
    state.skipped_steps.assign_add(2)


def numbers(state):
    """{what: value} of all that training changes."""
    variables = {
        "weights": state.weights.vector,
        "average": state.average.vector,
        "step": state.step,
        "skipped_steps": state.skipped_steps,
    }
    for part in ("network", "evaluation_network", "optimizer"):
        for index, variable in enumerate(getattr(state, part).variables):
            variables[f"{part}/{index}"] = raw_variable(variable)
    return {name: variable.numpy() for name, variable in variables.items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)


def score(network):
    x = np.linspace(0, 1, 3 * 64, dtype=np.float32).reshape(3, 8, 8, 1)
    return network(x, tf.constant([0, 1, 2])).numpy()


@pytest.fixture(scope="module")
def state(settings, strategy):
    """A state that is not fresh; the tests do not change it."""
    state = TrainingState(settings(), strategy)
    move(state)
    return state


@pytest.fixture(scope="module")
def fresh(settings, strategy):
    """A state to restore into."""
    return TrainingState(settings(seed=99), strategy)


@pytest.fixture
def config(settings, tmp_path):
    return settings(workdir=str(tmp_path / "run"))


@pytest.fixture
def saved(state, config):
    """Path of a checkpoint of `state`."""
    return RunCheckpoints(state, config).save()


def test_every_variable_is_in_the_checkpoint(real_network, settings, strategy, config):
    """Nothing hides from tf.train.Checkpoint, which does not look into a Keras layer's lists."""
    state = TrainingState(settings(), strategy)
    move(state)
    saved = RunCheckpoints(state, config).save()
    stored = {}
    for name, shape in tf.train.list_variables(saved):
        part, _, rest = name.partition("/")
        if rest and part != "_CHECKPOINTABLE_OBJECT_GRAPH":
            stored.setdefault(part, []).append(tuple(shape))
    # Optimizers of Keras 3 list what they train among their variables, and those of Keras 2 do not
    # list their step size.
    more = state.weights.vector if KERAS_3 else state.optimizer.learning_rate
    for part, variables in [
        ("network", state.network.variables),
        ("average", state.evaluation_network.variables),
        ("optimizer", [*state.optimizer.variables, more]),
    ]:
        shapes = [tuple(variable.shape) for variable in variables]
        assert sorted(stored.pop(part)) == sorted(shapes), part
    assert stored == {"step": [()], "skipped_steps": [()], "config": [()], "save_counter": [()]}
    sizes = [variable.shape.num_elements() for variable in state.network.variables]
    assert sum(sizes) == state.network.count_params() == state.weights.vector.shape[0]
    other = TrainingState(settings(seed=99), strategy)
    assert RunCheckpoints(other, config).restore()
    assert_same(numbers(state), numbers(other))


def test_a_checkpoint_restores_everything(state, fresh, saved, config):
    expected = numbers(state)
    fresh.step.assign(0)
    fresh.weights.vector.assign(tf.zeros_like(fresh.weights.vector))
    fresh.weights.copy_to(fresh.network)
    assert np.any(score(fresh.network) != score(state.network))

    assert RunCheckpoints(fresh, config).restore()
    assert_same(expected, numbers(fresh))
    assert expected["step"] == 7
    assert expected["skipped_steps"] == 2
    assert int(fresh.optimizer.iterations.numpy()) == 2
    assert np.any(expected["average"] != expected["weights"])
    np.testing.assert_array_equal(score(fresh.network), score(state.network))
    averaged, expected_average = fresh.evaluation_network, state.evaluation_network
    np.testing.assert_array_equal(score(averaged), score(expected_average))
    assert np.any(score(averaged) != score(fresh.network))


def test_a_restored_state_trains_on_as_the_first(fresh, strategy, saved, config):
    first = TrainingState(config, strategy)
    assert RunCheckpoints(first, config).restore()
    assert RunCheckpoints(fresh, config).restore()
    move(first)
    move(fresh)
    first.refresh_average()
    fresh.refresh_average()
    assert_same(numbers(first), numbers(fresh))


def test_nothing_to_restore(fresh, config):
    before = numbers(fresh)
    assert not RunCheckpoints(fresh, config).restore()
    assert_same(before, numbers(fresh))


def test_other_settings_are_all_listed(fresh, saved, config):
    changed = dataclasses.replace(config, learning_rate=0.5, random_flip=True, num_steps=3)
    before = numbers(fresh)
    with pytest.raises(ConfigError) as error:
        RunCheckpoints(fresh, changed).restore()
    message = str(error.value)
    assert "\n" not in message
    assert config.workdir in message
    assert "--learning_rate: the run has 0.001, the command says 0.5" in message
    assert "--random_flip: the run has false, the command says true" in message
    assert "num_steps" not in message
    assert_same(before, numbers(fresh))


def test_settings_of_the_session_may_change_and_are_stored(fresh, saved, config):
    changed = dataclasses.replace(config, num_steps=3, step_lr=0.25, keep_checkpoints=2)
    run = RunCheckpoints(fresh, changed)
    assert run.restore()
    fresh.step.assign_add(1)
    assert checkpoints.saved_config(run.save()) == changed


def test_the_last_checkpoints_are_kept(state, config):
    config = dataclasses.replace(config, keep_checkpoints=2)
    step = int(state.step.numpy())
    try:
        run = RunCheckpoints(state, config)
        for number in (1, 2, 3, 3):
            state.step.assign(number)
            run.save()
        folder = Path(config.workdir) / "checkpoints"
        steps = [
            f"step-{number}.{part}"
            for number in (2, 3)
            for part in ("data-00000-of-00001", "index")
        ]
        assert sorted(os.listdir(folder)) == ["checkpoint", *steps]
        # For TensorBoard and others that look there.
        assert tf.train.latest_checkpoint(str(folder)) == str(folder / "step-3")
        assert run.save() == checkpoint_choice.latest(config.run_dir) == str(folder / "step-3")
    finally:
        state.step.assign(step)


def cut(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def flip(path, place=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 0xFF
    path.write_bytes(bytes(content))


DAMAGES = {
    "half": lambda data, index: cut(data, 0.5),
    "empty": lambda data, index: cut(data, 0.0),
    "gone": lambda data, index: data.unlink(),
    "flipped": lambda data, index: flip(data),
    "half index": lambda data, index: cut(index, 0.5),
    "empty index": lambda data, index: cut(index, 0.0),
    "foreign index": lambda data, index: index.write_bytes(b"not a checkpoint, but longer" * 9),
}


def break_files(saved, how):
    DAMAGES[how](Path(saved + ".data-00000-of-00001"), Path(saved + ".index"))


def contents(folder):
    """{name: bytes} of a folder's files."""
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.mark.parametrize("how", DAMAGES)
def test_one_that_is_damaged_and_no_other(how, fresh, saved, config):
    """One line, and nothing is changed."""
    break_files(saved, how)
    before = contents(config.run_dir / "checkpoints")
    for read in (RunCheckpoints(fresh, config).restore, lambda: open_config(config.run_dir)):
        with pytest.raises(UserError) as error:
            read()
        assert not isinstance(error.value, ConfigError)
        assert f"checkpoint {saved} cannot be read (" in str(error.value)
        assert "there is no other" in str(error.value)
        assert "\n" not in str(error.value)
    assert contents(config.run_dir / "checkpoints") == before


@pytest.fixture
def two(state, saved, config):
    """Paths of a run's two checkpoints, the older first."""
    state.step.assign_add(5)
    newer = RunCheckpoints(state, config).save()
    state.step.assign_sub(5)
    return saved, newer


@pytest.mark.parametrize("how", DAMAGES)
def test_the_newest_intact_one_is_used_by_all(how, fresh, two, config, capsys):
    older, newer = two
    folder = config.run_dir / "checkpoints"
    break_files(newer, how)
    (folder / "damaged-step-12.index").write_text("of another time")
    before = contents(folder)

    assert open_config(config.run_dir) == config
    assert contents(folder) == before
    (first,) = capsys.readouterr().err.splitlines()
    if how == "flipped":  # what is read of it to draw samples
        run = open_run(config.run_dir)
        assert (run.path, run.step) == (older, 7)
        assert capsys.readouterr().err == f"{first}\n"
    assert first.startswith(f"warning: checkpoint {newer} is damaged (")
    assert first.endswith("): the one before is used")

    assert RunCheckpoints(fresh, config).restore()
    assert int(fresh.step.numpy()) == 7
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: checkpoint {newer} is damaged (")
    assert line.endswith("): set aside as damaged-step-12-2, the one before is used")
    renamed = {
        name.replace("damaged-step-12-2.", "step-12."): content
        for name, content in contents(folder).items()
    }
    assert renamed == before
    assert checkpoint_choice.latest(config.run_dir) == older
    open_config(config.run_dir)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", [None, b"", b"\0" * 99, b'model_checkpoint_path: "step-1"'])
def test_what_is_on_disk_counts_and_no_state_file(content, fresh, two, config):
    path = config.run_dir / "checkpoints" / "checkpoint"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert RunCheckpoints(fresh, config).restore()
    assert int(fresh.step.numpy()) == 12
    assert checkpoint_choice.latest(config.run_dir) == two[1]
    assert checkpoint_choice.newest_run(config.run_dir.parent) == config.run_dir


def test_every_flipped_byte_is_noticed(saved):
    """Or it changes nothing that is read."""
    expected = tensors(saved)
    for ending, step in ((".data-00000-of-00001", 97), (".index", 41)):
        path = Path(saved + ending)
        intact = path.read_bytes()
        noticed = 0
        for place in range(0, len(intact), max(1, len(intact) // step)):
            flip(path, place)
            if checkpoint_reading.damage(saved) is None:
                assert tensors(saved) == expected, (ending, place)
            else:
                noticed += 1
            path.write_bytes(intact)
        assert noticed > step // 2
    assert checkpoint_reading.damage(saved) is None


def tensors(path):
    reader = tf.train.load_checkpoint(path)
    return {
        name: np.asarray(reader.get_tensor(name)).tobytes()
        for name in reader.get_variable_to_shape_map()
    }


def test_what_the_system_does_not_let_be_read_is_no_damage(fresh, two, config, monkeypatch):
    _, newer = two
    break_files(newer, "flipped")
    before = contents(config.run_dir / "checkpoints")

    def no_open(path, mode):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(checkpoint_reading, "open", no_open, raising=False)
    for read in (RunCheckpoints(fresh, config).restore, lambda: open_config(config.run_dir)):
        with pytest.raises(UserError, match="step-12.* cannot be read: Input/output error"):
            read()
    assert contents(config.run_dir / "checkpoints") == before


def test_one_that_training_removes_while_it_is_read(two, config, capsys):
    older, newer = two

    def read(path):
        if path == newer:
            for file in Path(path).parent.glob("step-12.*"):
                file.unlink()
        with checkpoint_reading.readable(path) as plain:
            checkpoint_reading.read_tensors(plain)

    found = checkpoint_reading.newest_intact(config.run_dir, read)
    assert (found.path, found.damaged) == (older, {})


def test_what_killed_writers_left_is_removed(saved, config):
    folder = config.run_dir / "checkpoints"
    before = sorted(os.listdir(folder))
    (config.run_dir / "samples").mkdir()
    for name in ("writing-step-9_temp", "step-8_temp"):
        (folder / name).mkdir()
        (folder / name / "part-00000-of-00001.data-00000-of-00001").write_text("a")
    mine = ["damaged-step-3.index", "notes_temp", "step-7.txt", ".notes.999999999"]
    for name in [
        *("writing-step-9.index", "writing-step-9.data-00000-of-00001"),
        *("step-3.data-00000-of-00001", ".checkpoint.999999999.tmp", *mine),
    ]:
        (folder / name).write_text("a")
    (config.run_dir / ".config.json.999999999.tmp").write_text("a")
    (config.run_dir / "samples" / ".step-0000001.png.999999999.tmp").write_text("a")
    checkpoint_files.remove_remains(config.run_dir, config.keep_checkpoints)
    assert sorted(os.listdir(folder)) == sorted([*before, *mine])
    assert sorted(os.listdir(config.run_dir)) == ["checkpoints", "samples"]
    assert os.listdir(config.run_dir / "samples") == []


@pytest.mark.parametrize("call", ["write", "sync", "replace"])
def test_a_full_disk_leaves_the_earlier_ones(call, state, saved, config, monkeypatch):
    folder = config.run_dir / "checkpoints"
    before = contents(folder)

    def fail(*args, **kwargs):
        if call == "write":
            (folder / "writing-step-12_temp").mkdir()
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")
        raise OSError(28, "No space left on device")

    run = RunCheckpoints(state, config)
    place = {"write": run.checkpoint, "sync": checkpoint_files, "replace": checkpoint_files.os}
    monkeypatch.setattr(place[call], call, fail)
    state.step.assign_add(5)
    try:
        with pytest.raises(UserError, match="step 12 cannot be written to .*: No space left on"):
            run.save()
    finally:
        state.step.assign_sub(5)
    monkeypatch.undo()
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["exp[1]", "a\\b", "[[*?] {x}", "\u65e5\u672c 'a' \"b\""])
def test_every_name_that_a_folder_can_have(name, state, fresh, settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = settings(workdir=os.path.join("runs", name, name), keep_checkpoints=1)
    for number in (7, 12):
        state.step.assign(number)
        path = RunCheckpoints(state, config).save()
    state.step.assign(7)
    assert path == checkpoint_choice.latest(config.run_dir)
    names = sorted(os.listdir(config.run_dir / "checkpoints"))
    assert names == ["checkpoint", "step-12.data-00000-of-00001", "step-12.index"]
    assert RunCheckpoints(fresh, config).restore()
    assert int(fresh.step.numpy()) == 12
    assert open_config(config.run_dir) == config
    assert checkpoint_choice.newest_run(Path("runs", name)) == config.run_dir
    flip(Path(path + ".index"))
    with pytest.raises(UserError, match=re.escape(f"checkpoint {path} cannot be read")):
        open_config(config.run_dir)


def test_a_writer_that_may_not_write(state, saved, config):
    def check():
        raise UserError("taken over")

    before = contents(config.run_dir / "checkpoints")
    state.step.assign_add(5)
    try:
        with pytest.raises(UserError, match="taken over"):
            RunCheckpoints(state, config, check).save()
    finally:
        state.step.assign_sub(5)
    assert contents(config.run_dir / "checkpoints") == before


def test_a_network_of_a_damaged_checkpoint(state, saved):
    data = Path(saved + ".data-00000-of-00001")
    kernel = np.asarray(state.evaluation_network.begin.kernel)
    flip(data, data.read_bytes().index(kernel.tobytes()))
    with pytest.raises(UserError, match=re.escape(f"checkpoint {saved} cannot be read")):
        checkpoints.load_network(saved)


def test_a_checkpoint_of_something_else(fresh, config):
    folder = str(config.run_dir / "checkpoints")
    other = tf.train.Checkpoint(weight=tf.Variable(1.0))
    path = tf.train.CheckpointManager(other, folder, 1, checkpoint_name="step").save()
    for read in (RunCheckpoints(fresh, config).restore, lambda: checkpoints.load_network(path)):
        with pytest.raises(UserError, match=re.escape(f"checkpoint {path} cannot be read")):
            read()


def test_a_folder_that_cannot_be_written(state, config):
    config.run_dir.mkdir()
    (config.run_dir / "checkpoints").write_text("in the way")
    with pytest.raises(UserError, match="step 7 cannot be written to .*checkpoints") as error:
        RunCheckpoints(state, config).save()
    assert "\n" not in str(error.value)


def test_weights_alone_cannot_be_resumed(fresh, config):
    """Nor can the optimizer of the other package set: see test_package_sets.py."""
    path = checkpoints.save_network(fresh.network, config, step=3)
    with pytest.raises(UserError, match=re.escape(f"checkpoint {path} cannot be resumed here: ")):
        RunCheckpoints(fresh, config).restore()


def test_no_checkpoint(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoint_choice.latest(tmp_path)
    with pytest.raises(UserError, match="no run in"):
        checkpoint_choice.newest_run(tmp_path)


def test_newest_run_is_the_one_written_to_last(tmp_path):
    for age, name in [(30, "a"), (10, "b"), (20, "c")]:
        index = tmp_path / name / "checkpoints" / "step-3.index"
        index.parent.mkdir(parents=True)
        index.touch()
        os.utime(index, (10_000 - age, 10_000 - age))
    (tmp_path / "no run").mkdir()
    assert checkpoint_choice.newest_run(tmp_path) == tmp_path / "b"


def test_a_run_is_opened_at_its_newest_checkpoint(state, settings, tmp_path, monkeypatch):
    """The one that was named, or the newest in runs/."""
    monkeypatch.chdir(tmp_path)
    config = settings(workdir=str(Path("runs") / "newest"))
    path = RunCheckpoints(state, config).save()
    averaged, plain = open_run(""), open_run("runs/newest", average=False)
    for run in (averaged, plain):
        assert (run.run_dir, run.path, run.config, run.step) == (config.run_dir, path, config, 7)
    assert (averaged.is_average, averaged.weights) == (True, "averaged weights")
    assert (plain.is_average, plain.weights) == (False, "weights")
    np.testing.assert_array_equal(score(averaged.network), score(state.evaluation_network))
    np.testing.assert_array_equal(score(plain.network), score(state.network))
    assert np.any(score(state.evaluation_network) != score(state.network))
    with pytest.raises(UserError, match="runs/other holds no checkpoint"):
        open_run("runs/other")


def test_a_network_and_its_average_are_a_run_too(real_network, settings, tmp_path):
    """Of the second generation, whose noise levels are in the settings, not in the checkpoint."""
    config = settings(model="ncsnv2", workdir=str(tmp_path / "imported"))
    network, average = build_network(config), build_network(config)
    checkpoints.save_network(network, config, 5, average)
    path = checkpoint_choice.latest(config.run_dir)
    for use_average, expected in [(True, average), (False, network)]:
        loaded = checkpoints.load_network(path, use_average)
        network_again, *rest = loaded
        assert rest == [config, 5, use_average]
        assert rest == [loaded.config, loaded.step, loaded.is_average]
        assert network_again is loaded.network
        np.testing.assert_array_equal(score(loaded.network), score(expected))
    assert np.any(score(average) != score(network))


def test_a_network_alone_is_a_run_too(real_network, settings, tmp_path):
    config = settings(ema_decay=0.0, workdir=str(tmp_path / "imported"))
    keras.utils.set_random_seed(3)
    network = build_network(config)
    assert checkpoints.save_network(network, config, step=41) == checkpoint_choice.latest(
        config.run_dir
    )
    assert Config.load(config.run_dir / "config.json") == config
    loaded, stored, step, is_average = checkpoints.load_network(
        checkpoint_choice.latest(config.run_dir)
    )
    assert (stored, step, is_average) == (config, 41, False)
    np.testing.assert_array_equal(score(loaded), score(network))
