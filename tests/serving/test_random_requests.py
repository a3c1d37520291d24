"""Random requests to every signature of an export: right, or refused; never harm to another row.

A session feeds any shape, so that requests go through a function which knows none beforehand.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_network import Network

from ncsn_tf.backend.choices import MOST_ROWS
from ncsn_tf.serving import contract, export
from ncsn_tf.serving.conditional_signatures import conditional_functions
from ncsn_tf.serving.signatures import sampler_module
from ncsn_tf.settings.config import Config

CONFIG = Config(
    dataset="digits",
    image_size=8,
    channels=3,
    num_levels=3,
    step_lr=1e-4,
    num_steps_each=2,
    sampling_tile=2,
)
MAX_STEPS_EACH = 3
FACTOR = 2
SIZES = contract.image_sizes(CONFIG.image_shape, FACTOR)
NAMES = sorted(set(contract.SAMPLING | contract.CONDITIONAL) - {"sample_class"})
# Each is prepared by its first call, which takes seconds: the others are asked in the export alone.
QUICK = ("sample", "score")


FEW_EXAMPLES = {"derandomize": True, "deadline": None, "database": None}
FEW_EXAMPLES["suppress_health_check"] = [HealthCheck.function_scoped_fixture]

EXTREME = {
    "int64": [0, 1, -1, 2**63 - 1, -(2**63)],
    "int32": [0, 1, 2, 3, 4, -1, 2**31 - 1, -(2**31)],
    "float32": [0.0, 1e-4, 0.5, -1.0, 3e38, -3e38, 1e-45, np.nan, np.inf, -np.inf],
    "uint8": [0, 127, 128, 255],
}


def asker(functions):
    """(signature, {input: array}) -> {output: array}, by concrete functions, {signature: it}."""

    @functools.cache
    def on_any_shape(name):
        specs = contract.SIGNATURES[name].inputs
        unknown = [tf.TensorSpec(None, tensor.dtype) for tensor in specs.values()]
        function = functions(name)

        @tf.function(input_signature=unknown, autograph=False)
        def call(*tensors):
            return function(**dict(zip(specs, tensors, strict=True)))

        return call

    def ask(name, inputs):
        tensors = [tf.constant(inputs[key]) for key in contract.SIGNATURES[name].inputs]
        return {key: value.numpy() for key, value in on_any_shape(name)(*tensors).items()}

    ask.function = functions
    return ask


@pytest.fixture(scope="module")
def ask():
    """`asker` of the functions that an export is made of; each is traced when it is first asked."""
    network = Network(channels=3)
    module = sampler_module(network, CONFIG, MAX_STEPS_EACH)
    functions = {name: getattr(module, name) for name in contract.SAMPLING}
    functions |= conditional_functions(network, CONFIG, factor=FACTOR)
    return asker(lambda name: functions[name].get_concrete_function())


@pytest.fixture(scope="module")
def ask_export(tmp_path_factory):
    """`asker` of an export, loaded."""
    conditional = export.ConditionalSettings(factor=FACTOR)
    path = export.save_sampler(
        Network(channels=3),
        CONFIG,
        tmp_path_factory.mktemp("export"),
        {},
        max_steps_each=MAX_STEPS_EACH,
        conditional=conditional,
    )
    loaded = tf.saved_model.load(str(path))
    return asker(lambda name: loaded.signatures[name])


def shape_of(tensor, rows):
    return (rows, *tensor.sized(SIZES).shape[1:])


@st.composite
def requests(draw, name):
    """{input: array}: few rows of extreme values."""
    rows = draw(st.integers(0, 4))
    made = {}
    for key, tensor in contract.SIGNATURES[name].inputs.items():
        shape = shape_of(tensor, rows)
        values = draw(st.lists(st.sampled_from(EXTREME[tensor.dtype]), min_size=7, max_size=7))
        made[key] = np.resize(np.array(values, tensor.dtype), shape)
        if len(shape) > 1 and draw(st.booleans()):  # a row of its own kind beside the others
            made[key][: rows // 2] = values[0]
    return made


@st.composite
def broken(draw, name):
    """A request one input of which has another rank, size or number of rows."""
    made = draw(requests(name))
    key = draw(st.sampled_from(sorted(made)))
    array = made[key]
    ways = ["rank", "scalar"]
    ways += ["rows"] if len(made) > 1 else []
    ways += ["size"] if array.ndim > 1 else []
    way = draw(st.sampled_from(ways))
    if way == "rank":
        made[key] = array[None]
    elif way == "scalar":
        made[key] = np.zeros([], array.dtype)
    elif way == "rows":
        made[key] = np.zeros([draw(st.integers(0, 6)), *array.shape[1:]], array.dtype)
        if len(made[key]) == len(array):
            made[key] = np.zeros([len(array) + 1, *array.shape[1:]], array.dtype)
    else:
        shape = list(array.shape)
        axis = draw(st.integers(1, array.ndim - 1))
        shape[axis] = draw(st.sampled_from([0, 1, 2, 4, 7, 9, 16]))
        if shape == list(array.shape):
            shape[axis] += 1
        made[key] = np.zeros(shape, array.dtype)
    return made


def check(ask, name, request):
    """The answer is what the contract says, finite, in range, and each row that it is alone."""
    answer = ask(name, request)
    rows = len(request[min(request)])
    outputs = contract.SIGNATURES[name].outputs
    assert sorted(answer) == sorted(outputs)
    for key, tensor in outputs.items():
        assert answer[key].shape == shape_of(tensor, rows), key
        if tensor.dtype == "float32":
            assert np.isfinite(answer[key]).all(), key
    if "samples" in answer and rows:
        assert answer["samples"].min() >= 0.0 and answer["samples"].max() <= 1.0
    if contract.STEPS in answer:
        assert ((answer[contract.STEPS] >= 0) & (answer[contract.STEPS] <= MAX_STEPS_EACH)).all()
    if rows:
        alone = ask(name, {key: value[-1:] for key, value in request.items()})
        for key in outputs:
            np.testing.assert_array_equal(alone[key][0], answer[key][-1], key)


@pytest.mark.parametrize("name", QUICK)
def test_any_values_are_answered(name, ask):
    @settings(max_examples=15, **FEW_EXAMPLES)
    @given(requests(name))
    def run(request):
        check(ask, name, request)

    run()


@pytest.mark.parametrize("name", [*QUICK, "inpaint"])
def test_other_shapes_are_refused(name, ask):
    @settings(max_examples=30, **FEW_EXAMPLES)
    @given(broken(name))
    def run(request):
        with pytest.raises(tf.errors.InvalidArgumentError) as error:
            ask(name, request)
        assert "is not compatible with expected shape" in str(error.value) or (
            "must have as many rows as" in str(error.value)
        )

    run()


def check_other_types(ask, name):
    """Each input in turn has each other type that a request can have: one error, that says it."""
    specs = contract.SIGNATURES[name].inputs
    right = {key: np.zeros(shape_of(tensor, 2), tensor.dtype) for key, tensor in specs.items()}
    function, said_as = ask.function(name), {"float32": "float", "float64": "double"}
    for key, tensor in specs.items():
        for dtype in ("float64", "float32", "int64", "int32", "uint8", "bool", "complex64", "str"):
            if dtype != tensor.dtype:
                request = right | {key: right[key].astype(dtype)}
                tensors = {key: tf.constant(value) for key, value in request.items()}
                expected, found = (
                    said_as.get(dtype, dtype) for dtype in (tensor.dtype, tensors[key].dtype.name)
                )
                message = f"expected to be a {expected} tensor but is a {found} tensor"
                with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                    function(**tensors)


@pytest.mark.parametrize("name", QUICK)
def test_other_types_are_refused(name, ask):
    check_other_types(ask, name)


def test_too_many_rows_are_refused(ask):
    with pytest.raises(tf.errors.InvalidArgumentError, match="may have 16384 rows at most, but x"):
        shape = (MOST_ROWS + 1, *CONFIG.image_shape)
        ask("score", {"x": np.zeros(shape, "f4"), "label": np.zeros(len(range(shape[0])), "i4")})


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_random_requests_to_an_export(name, ask_export):
    @settings(max_examples=200, **FEW_EXAMPLES)
    @given(requests(name), broken(name))
    def run(request, other):
        check(ask_export, name, request)
        with pytest.raises(tf.errors.InvalidArgumentError):
            ask_export(name, other)

    run()
    check_other_types(ask_export, name)


@pytest.mark.slow
def test_ten_thousand_rows_are_bounded_by_the_tile(ask):
    seeds = np.arange(10_000)
    answer = ask("sample_uint8", {"seed": seeds})["image"]
    some = [0, 4_999, 9_999]
    np.testing.assert_array_equal(ask("sample_uint8", {"seed": seeds[some]})["image"], answer[some])
