"""What differs between package sets and builds of TensorFlow: the only place that asks.

The part of it that is about optimizers is `compat_optimizers`.

The default set is TensorFlow 2.21 with Keras 3; the other, for TensorFlow Addons, is TensorFlow
2.15 with Keras 2.15.
"""

import contextlib
import functools
import itertools
import weakref
from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf
from tensorflow.python.distribute import collective_all_reduce_strategy
from tensorflow.python.framework.ops import gradient_registry
from tensorflow.python.ops import control_flow_util

from ncsn_tf.errors import ConfigError

KERAS_3 = int(keras.__version__.split(".")[0]) >= 3

# Commands choose these themselves; in a notebook, Keras may have been imported with others.
_KERAS = {"backend": "tensorflow", "floatx": "float32", "image_data_format": "channels_last"}


def _check_keras():
    """Raise a ConfigError where Keras is set to what the networks are not written for."""
    for name, value in _KERAS.items():
        found = getattr(keras.backend, name)()
        if found != value:
            raise ConfigError(
                f"Keras was imported with {name}={found}, and ncsn_tf needs {value}: see "
                "~/.keras/keras.json, and import ncsn_tf before keras"
            )


_check_keras()

# add_weight renamed the switch that keeps a weight in float32 under a mixed policy.
KEEP_FLOAT32 = {"autocast": False} if KERAS_3 else {"experimental_autocast": False}

# TensorFlow 2.15 takes over eight minutes to compile the network with XLA for a CPU.
XLA_ON_CPU = KERAS_3

# Whether `read_weights` can read weights ahead, so that the chains of several tiles run at once.
TILES_AT_ONCE = KERAS_3


@functools.cache
def has_dilated_gradients() -> bool:
    """Whether TensorFlow computes the gradients of dilated convolutions here.

    oneDNN does, and accelerators do. TensorFlow's own operations for CPUs do not, which are all
    there is on a Mac, with TF_ENABLE_ONEDNN_OPTS=0, and on x86 processors without AVX512-VNNI
    unless that is 1.
    """
    with tf.init_scope():
        pixels = tf.zeros([1, 4, 4, 1])
        try:
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=pixels.shape,
                filter=tf.zeros([3, 3, 1, 1]),
                out_backprop=pixels,
                strides=[1, 1, 1, 1],
                padding="SAME",
                dilations=[1, 2, 2, 1],
            )
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True


def raw_variable(variable: "keras.Variable | tf.Variable") -> tf.Variable:
    """The `tf.Variable` behind a layer's weight: Keras 3 wraps it in a class of its own.

    Example:
        >>> layer = keras.layers.Dense(2)
        >>> layer.build((None, 3))
        >>> isinstance(raw_variable(layer.kernel), tf.Variable)
        True
    """
    return variable.value if KERAS_3 else variable


def raw_variables(model: keras.layers.Layer) -> list[tf.Variable]:
    """The `tf.Variable`s of a model, in the order of `model.trainable_variables`.

    Example:
        >>> layer = keras.layers.Dense(2)
        >>> layer.build((None, 3))
        >>> [tuple(variable.shape) for variable in raw_variables(layer)]
        [(3, 2), (2,)]
    """
    return [raw_variable(variable) for variable in model.trainable_variables]


def read_weights(
    score_fn: Callable[..., tf.Tensor],
    stored: Sequence[tuple["keras.Variable | tf.Variable", tf.Variable]] = (),
) -> Callable[..., tf.Tensor]:
    """The score function, its networks' weights read here and not at each evaluation.

    To be called while a graph is built, outside its loops. A loop whose body reads variables never
    runs at the same time as another, so that the tiles of a batch would wait for each other. Keras
    2 has no way to do it: there they wait.

    Args:
        score_fn: a network, or a function with an attribute `models`: the networks it uses. Of
            any arguments.
        stored: weights with the variables of another type that are read in their place, and cast to
            the weights' own; also in Keras 2.

    Example:
        >>> score_fn = lambda x, levels: -x  # uses no network: it stays as it is
        >>> read_weights(score_fn) is score_fn
        True
    """
    networks = [model for model in models_of(score_fn) if isinstance(model, keras.Model)]
    values = [(weight, tf.cast(variable, weight.dtype)) for weight, variable in stored]
    if TILES_AT_ONCE:
        elsewhere = {id(weight) for weight, _ in stored}
        values += [
            (variable, tf.convert_to_tensor(raw_variable(variable)))
            for network in networks
            for variable in network.variables
            if id(variable) not in elsewhere
        ]
    if not values:
        return score_fn

    def reading(function):
        def read(*inputs):
            with _weights_as(values):
                return function(*inputs)

        return read

    score = reading(score_fn)
    if hasattr(score_fn, "at_sigma"):  # the score between noise levels, see `sampling.at_sigma`
        score.at_sigma = reading(score_fn.at_sigma)
    return score


@contextlib.contextmanager
def _weights_as(values):
    """In this block layers have these tensors as the values of their weights."""
    if KERAS_3:
        with keras.StatelessScope(state_mapping=values):
            yield
        return
    # What TensorFlow itself takes for the value of a variable that has a caching device.
    before = [(weight, weight._cached_value) for weight, _ in values]
    try:
        for weight, value in values:
            weight._cached_value = value
        yield
    finally:
        for weight, value in before:
            weight._cached_value = value


def models_of(score_fn: Callable) -> list[Callable]:
    """The networks that a score function uses: its `models`, or itself.

    Example:
        >>> models_of(abs)
        [<built-in function abs>]
    """
    return getattr(score_fn, "models", [score_fn])


def custom_gradient(function: Callable[..., tuple]) -> Callable[..., tf.Tensor]:
    """`tf.custom_gradient`, whose gradients live as long as the graph in which they are traced.

    TensorFlow registers a gradient under a new name at each trace, for as long as the process runs,
    and keeps with it the tensors that it needs, and so the whole graph.

    Args:
        function: tensors -> (result, function from its gradient to those of the tensors).

    Example:
        >>> halved = custom_gradient(lambda x: (x, lambda upstream: upstream / 2))
        >>> x = tf.constant(3.0)
        >>> with tf.GradientTape() as tape:
        ...     tape.watch(x)
        ...     y = halved(x)
        >>> float(tape.gradient(y, x))
        0.5
    """
    decorated = tf.custom_gradient(function)

    @functools.wraps(function)
    def call(*tensors):
        with gradients_of_graph():
            return decorated(*tensors)

    return call


def for_xla() -> bool:
    """Whether what is traced now is traced for `jit_compile=True`, at any depth.

    Example:
        >>> found = []
        >>> ask = tf.function(lambda: found.append(for_xla()), jit_compile=True, autograph=False)
        >>> ask(); (found, for_xla())
        ([True], False)
    """
    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


@contextlib.contextmanager
def gradients_of_graph() -> Iterator[None]:
    """Custom gradients that are traced in this block live as long as their graph.

    See `custom_gradient`, for functions of others that have such gradients.
    """
    registered = gradient_registry._registry  # {name: {"type": function, ...}}, in order
    before = len(registered)
    yield
    if not tf.executing_eagerly():
        for name in list(itertools.islice(registered, before, None)):
            _keep_in(tf.compat.v1.get_default_graph(), registered[name])


def _keep_in(graph, entry):
    """Have a graph keep a gradient, in place of the registry."""
    if not hasattr(graph, "_ncsn_gradients"):
        graph._ncsn_gradients = []
    kept = graph._ncsn_gradients
    kept.append(entry["type"])
    index, graph_of = len(kept) - 1, weakref.ref(graph)
    entry["type"] = lambda op, *upstream: graph_of()._ncsn_gradients[index](op, *upstream)


@contextlib.contextmanager
def worker_of_cpus(count: int) -> Iterator[None]:
    """Strategies for several workers, made in this block, take `count` CPU devices of each.

    TensorFlow has them take one, whatever there are. 0 leaves it so.
    """
    extended = collective_all_reduce_strategy.CollectiveAllReduceExtended
    take = extended._initialize_local_devices

    def take_cpus(self, resolver, worker_device):
        return tuple(f"{worker_device}/device:CPU:{index}" for index in range(count)), "CPU"

    if count:
        extended._initialize_local_devices = take_cpus
    try:
        yield
    finally:
        extended._initialize_local_devices = take
