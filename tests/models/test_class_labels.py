"""Networks that know classes: at the start the network without, and labels that matter after."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ncsn_tf.errors import ConfigError
from ncsn_tf.models.ncsnpp import NCSNpp
from ncsn_tf.models.networks import NCSN, NCSNv2
from ncsn_tf.settings.config import Config, differences
from ncsn_tf.training.run_network import build_network

SHAPE = (8, 8, 1)
MAKERS = {
    "ncsn": lambda **more: NCSN(SHAPE, 2, 3, **more),
    "ncsnv2": lambda **more: NCSNv2(SHAPE, 2, [1.0, 0.5, 0.1], **more),
    "ncsnpp": lambda **more: NCSNpp(SHAPE, 8, (1, 1), 1, (), **more),
}


def made(kind, **more):
    keras.utils.set_random_seed(3)
    return MAKERS[kind](**more)


def inputs(kind):
    x = tf.random.stateless_uniform([3, *SHAPE], [1, 2])
    return x, tf.constant([0.1, 1.0, 2.0] if kind == "ncsnpp" else [0, 1, 2])


@pytest.mark.parametrize("kind", MAKERS)
def test_without_classes_weights_and_answers_are_those_of_before(kind):
    network, x = made(kind), inputs(kind)
    assert network.num_classes == 0
    assert not any("class" in (getattr(v, "path", "") or v.name) for v in network.weights)
    with pytest.raises(ValueError, match="knows no classes"):
        network(*x, tf.constant([0, 0, 0]))


@pytest.mark.parametrize("kind", ["ncsn", "ncsnv2"])
def test_a_network_of_classes_starts_as_the_one_without(kind):
    plain, labelled, x = made(kind), made(kind, num_classes=4), inputs(kind)
    expected = plain(*x).numpy()
    for labels in (None, tf.constant([0, 3, 4])):
        np.testing.assert_array_equal(labelled(*x, labels).numpy(), expected)


@pytest.mark.parametrize("kind", MAKERS)
def test_each_label_has_rows_of_its_own(kind):
    network, x = made(kind, num_classes=4), inputs(kind)
    tables = [v for v in network.trainable_variables if v.shape[0] == 5 and len(v.shape) == 2]
    assert tables
    rng = np.random.default_rng(0)
    for table in tables:  # all but the row of label 2 move
        step = rng.normal(size=table.shape).astype(np.float32)
        step[2] = 0.0
        table.assign(table + step)
    for variable in network.trainable_variables if kind == "ncsnpp" else ():
        if len(variable.shape) == 4:  # those that start near 0 would hide it
            noise = rng.normal(size=variable.shape) * 0.1
            variable.assign(variable + noise.astype(np.float32))
    x = x[0], tf.repeat(x[1][:1], 3)
    answers = [network(*x, tf.fill([3], label)).numpy() for label in range(5)]
    for one in range(5):
        for other in range(one):
            assert np.abs(answers[one] - answers[other]).max() > 1e-4
    np.testing.assert_array_equal(network(*x).numpy(), answers[4])  # none is the last row
    mixed = network(*x, tf.constant([1, 4, 0])).numpy()
    for row, label in enumerate([1, 4, 0]):
        np.testing.assert_allclose(mixed[row], answers[label][row], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MAKERS)
def test_gradients_reach_only_the_rows_in_use_and_recompute_changes_nothing(kind):
    x, labels = inputs(kind), tf.constant([1, 1, 4])
    found = []
    for recompute in (False, True):
        network = made(kind, num_classes=4, recompute=recompute)

        @tf.function(autograph=False)
        def gradients(network=network):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.square(network(*x, labels)))
            return tape.gradient(loss, network.trainable_variables)

        found.append([gradient.numpy() for gradient in gradients()])
    tables, again = ([g for g in each if g.shape[0] == 5 and g.ndim == 2] for each in found)
    largest = max(np.abs(g).max() for g in tables)
    for first, second in zip(tables, again, strict=True):
        np.testing.assert_allclose(first, second, atol=0.05 * largest)
    assert all(not g[[0, 2, 3]].any() for g in tables)
    assert any(g[1].any() and g[4].any() for g in tables)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_config_and_a_checkpoint_bring_all_tables_back(kind, tmp_path):
    network = made(kind, num_classes=2)
    for variable in network.weights:
        variable.assign(variable + 0.5)
    path = tf.train.Checkpoint(network=network).save(str(tmp_path / "a"))
    other = type(network).from_config(network.get_config())
    status = tf.train.Checkpoint(network=other).restore(path)
    status.assert_existing_objects_matched()
    for one, two in zip(network.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_settings_of_classes():
    config = Config(class_conditional=True, class_names=["cat", "dog"])
    assert config.class_names == ("cat", "dog") and config.num_classes == 2
    assert Config.from_json(config.to_json()) == config
    assert Config.from_dict({}).num_classes == 0
    other = Config(class_conditional=True, class_names=("cat", "eel"))
    assert differences(config, other) == [
        "class_names: the run has cat, dog, the data have cat, eel"
    ]
    with pytest.raises(ConfigError, match="not known yet"):
        build_network(Config(class_conditional=True))


@pytest.mark.parametrize("settings, message", [
    ({"class_names": ("a",)}, "class_names are for --class_conditional=true only"),
    ({"label_dropout": 0.2}, "--label_dropout=0.2 is for --class_conditional=true only"),
    ({"class_conditional": True, "label_dropout": 1.0}, "--label_dropout=1.0 must be below 1"),
    ({"class_conditional": True, "class_names": ("a", "a")}, "'a' is there twice"),
    ({"class_conditional": True, "class_names": "ab"}, "must be a tuple of names"),
    ({"class_conditional": True, "class_names": ("a", 1)}, "must be a tuple of names"),
])  # fmt: skip
def test_settings_that_classes_cannot_have(settings, message):
    with pytest.raises(ConfigError) as error:
        Config(**settings)
    assert message in str(error.value)
