"""The table of signatures: what is in it, what can be drawn from, what requests look like."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ncsn_tf.data.images import to_uint8
from ncsn_tf.errors import ConfigError
from ncsn_tf.serving import contract, request
from ncsn_tf.serving.contract import EXPECTED, SIGNATURES, Signature, Tensor
from ncsn_tf.serving.specs import image_outputs
from ncsn_tf.settings.labels import Labels

ROOT = Path(__file__).resolve().parents[2]


def test_the_documentation_has_the_same_table():
    """docs/serving.md: a row for each signature, every input and output by name, types as here."""
    rows = re.findall(
        r"^\| `(\w+)`[^|]*\| (.*?) \| (.*?) \|$", (ROOT / "docs/serving.md").read_text(), re.M
    )
    assert [name for name, *_ in rows] == list(contract.ALL)
    known = {"seed": "int64", "image": "uint8", "image_bytes": "string"}
    for name, *sides in rows:
        signature = contract.ALL[name]
        for text, tensors in zip(sides, (signature.inputs, signature.outputs), strict=True):
            named = re.findall(r"`([a-z_]+)`:?(?: (u?int\d+|float32))?", text)
            found = {key: dtype or known.get(key, "") for key, dtype in named}
            for key, tensor in tensors.items():
                assert key in found, (name, key)
                assert found[key] in ("", tensor.dtype), (name, key)


def test_sizes_have_names_until_an_export_gives_them_numbers():
    sizes = contract.image_sizes((8, 12, 3), factor=4)
    small = SIGNATURES["super_resolve"].inputs["image"].sized(sizes)
    assert small == Tensor("uint8", (None, 2, 3, 3))
    assert SIGNATURES["inpaint"].inputs["mask"].sized(sizes) == Tensor("uint8", (None, 8, 12, 1))
    names = {size for signature in SIGNATURES.values() for size in _sizes(signature)}
    assert {name for name in names if isinstance(name, str)} == {"batch", *sizes}


def _sizes(signature):
    for tensor in (*signature.inputs.values(), *signature.outputs.values()):
        yield from tensor.shape


def test_every_signature_that_draws_can_be_drawn_from():
    assert all(contract.mismatch(name, SIGNATURES) is None for name in EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_older_export_that_tells_less(name):
    """Outputs that nobody asks for may be missing, no input may."""
    assert contract.mismatch(name, EXPECTED) is None
    wanted = EXPECTED[name]
    for output in wanted.outputs:
        left = {key: tensor for key, tensor in wanted.outputs.items() if key != output}
        found = {name: Signature(wanted.inputs, left)}
        assert contract.mismatch(name, found) == f"its signature {name} is {found[name]}, not " + (
            str(wanted)
        )
    more = Signature(wanted.inputs | {"other": Tensor("int32")}, wanted.outputs)
    assert "other int32" in contract.mismatch(name, {name: more})
    other = Signature({key: Tensor("float64") for key in wanted.inputs}, wanted.outputs)
    assert "seed float64" in contract.mismatch(name, {name: other})


@pytest.mark.parametrize("name", EXPECTED)
def test_requests_have_the_types_of_the_table(name):
    seeds = np.array([2**40, -1, -(2**63)])
    arrays = request.inputs(name, seeds)
    assert {key: (array.dtype.name, array.shape) for key, array in arrays.items()} == {
        key: (tensor.dtype, (3,)) for key, tensor in SIGNATURES[name].inputs.items()
    }
    assert arrays.pop("seed").tolist() == seeds.tolist()
    assert all(not array.any() for array in arrays.values())  # 0 is the export's own


def test_a_request_with_settings():
    arrays = request.inputs("sample", [5, 6], num_steps_each=2**31 - 1, step_lr=1e-5)
    assert arrays["steps_per_level"].tolist() == [2**31 - 1] * 2
    assert arrays["step_lr"].tolist() == [float(np.float32(1e-5))] * 2
    with pytest.raises(ConfigError, match="--step_lr=1e-50 would be 0 to an export"):
        request.inputs("sample", [1], step_lr=1e-50)


def test_a_request_with_a_number_of_evaluations():
    assert request.signature_of(None, None, 7) == contract.FEW
    assert request.signature_of(None, None, None, of_classes=True) == contract.OF_CLASSES
    asked = request.signature_of(None, None, 7, of_classes=True)
    assert asked == contract.FEW_OF_CLASSES
    labels = Labels((1,), ("cat", "dog"), 1.5)
    arrays = request.inputs(asked, [5, 6], labels=labels, num_evaluations=7)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "seed": [5, 6],
        "num_evaluations": [7, 7],
        "class_label": [1, 1],
        "guidance": [1.5, 1.5],
    }
    of_classes = {contract.OF_CLASSES: contract.ALL[contract.OF_CLASSES]}
    assert "no classes" in contract.mismatch(asked, {})
    assert "has no signature sample_ev" in contract.mismatch(asked, of_classes)
    arrays = request.inputs(contract.FEW, [5, 6], num_evaluations=7)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "seed": [5, 6],
        "num_evaluations": [7, 7],
    }
    with pytest.raises(ConfigError, match="^--step_lr=0.1 cannot be used with --num_evaluations=7"):
        request.signature_of(None, 0.1, 7)


@pytest.mark.parametrize(
    "name",
    [name for name, signature in SIGNATURES.items() if "score" not in signature.outputs],
)
def test_outputs_are_made_by_the_table(name):
    samples = np.linspace(0, 1, 2 * 3 * 4 * 3, dtype=np.float32).reshape(2, 3, 4, 3)
    taken = np.array([1, 2], np.int32)
    outputs = image_outputs(name, samples, steps_per_level=taken, num_evaluations=taken)
    assert list(outputs) == list(SIGNATURES[name].outputs)
    for key, tensor in SIGNATURES[name].outputs.items():
        sized = tensor.sized(contract.image_sizes((3, 4, 3)))
        assert np.asarray(outputs[key]).dtype == np.dtype(
            "O" if sized.dtype == "string" else sized.dtype
        )
        assert np.asarray(outputs[key]).shape == (2, *sized.shape[1:])
    if "image" in outputs:
        np.testing.assert_array_equal(outputs["image"], to_uint8(samples))


def test_the_client_and_its_contract_need_no_tensorflow():
    program = """
import sys
for name in ("tensorflow", "tensorflow_serving", "grpc", "keras"):
    sys.modules[name] = None  # importing it is an ImportError
import ncsn_tf.serving.client, ncsn_tf.serving.request, ncsn_tf.serving.in_flight
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
