"""Weights of the reference PyTorch programs: names, layouts, and a converter of checkpoints."""

import dataclasses
from pathlib import Path

import numpy as np

from ncsn_tf.command_line import parse_config, run_command
from ncsn_tf.errors import ConfigError, UserError

_USAGE = """\
usage: python -m ncsn_tf.pytorch CHECKPOINT.pth OUT [--flag=value ...]

Turn a checkpoint of the reference PyTorch trainer into a run in the folder OUT, for sample.py and
ncsn_tf.export. Width, channels and number of levels are read from the weights; what they do not
show (noise levels, image size, sampling settings) comes from the experiment of the data set,
cifar10 for colour and mnist for grey, or from --dataset, --flagfile and the flags of train.py.
"""


def load_reference_weights(network, arrays):
    """Give an `NCSN` the weights of the reference network.

    Args:
        network: an `ncsn_tf.NCSN`.
        arrays: {reference parameter name: array}; kernels [out, in, height, width], normalisation
            tables [L, 3 C] split as (gamma, alpha, beta), names without the `module.` prefix of a
            data-parallel model.

    Raises:
        ValueError: naming the first parameter that is missing, is not the network's, or has another
            shape. The network is changed only when everything fits.
    """
    targets = _reference_variables(network)
    for name in targets:
        if name not in arrays:
            raise ValueError(f"the reference weights have no parameter {name!r}")
    values = {}
    for name, array in arrays.items():
        if name not in targets:
            raise ValueError(f"the network has no place for the reference parameter {name!r}")
        value = np.asarray(array)
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
        expected = tuple(targets[name].shape)
        if value.shape != expected:
            raise ValueError(
                f"the reference parameter {name!r} has shape {tuple(np.shape(array))}, which "
                f"becomes {value.shape}; the network needs {expected}"
            )
        if not np.isfinite(value).all():
            raise ValueError(f"the reference parameter {name!r} holds values that are not finite")
        values[name] = value
    from ncsn_tf.compat import raw_variable

    for name, value in values.items():
        raw_variable(targets[name]).assign(value)


def _reference_variables(network):
    """{reference name: the network's weight}."""
    names = {}

    def convolution(name, layer):
        names[f"{name}.weight"] = layer.kernel
        if layer.bias is not None:
            names[f"{name}.bias"] = layer.bias

    def norm(name, layer):
        names[f"{name}.embed.weight"] = layer.table

    def units(name, layer):
        for index, stage in enumerate(layer.stages):
            position = f"{name}.{index // 2 + 1}_{index % 2 + 1}"
            norm(f"{position}_norm", stage.norm)
            convolution(f"{position}_conv", stage.conv)

    convolution("begin_conv", network.begin_conv)
    norm("normalizer", network.end_conv.norm)
    convolution("end_conv", network.end_conv.conv)
    for index, block in enumerate(network.blocks):
        name = f"res{index // 2 + 1}.{index % 2}"
        pooled = ".conv" if block.pools else ""
        norm(f"{name}.normalize1", block.stage1.norm)
        convolution(f"{name}.conv1", block.stage1.conv)
        norm(f"{name}.normalize2", block.stage2.norm)
        convolution(f"{name}.conv2{pooled}", block.stage2.conv)
        if block.shortcut is not None:
            convolution(f"{name}.shortcut{pooled}", block.shortcut)
    for number, block in enumerate(network.refinements, 1):
        name = f"refine{number}"
        for index, adapter in enumerate(block.adapters):
            units(f"{name}.adapt_convs.{index}", adapter)
        units(f"{name}.output_convs", block.output_units)
        chains = {"crp": block.pooling}
        if block.fusion is not None:
            chains["msf"] = block.fusion
        for part, layer in chains.items():
            for index, (layer_norm, conv) in enumerate(zip(layer.norms, layer.convs, strict=True)):
                norm(f"{name}.{part}.norms.{index}", layer_norm)
                convolution(f"{name}.{part}.convs.{index}", conv)
    return names


def read_checkpoint(path):
    """The weights in a checkpoint of the reference trainer: {reference name: float32 array}.

    The file holds [state dict, optimizer state]; names may carry the `module.` prefix of a
    data-parallel model. Only tensors are unpickled (`weights_only=True`).

    Raises:
        UserError: no PyTorch, no such file, or another kind of file.
    """
    try:
        import torch
    except ImportError:
        raise UserError(
            "reading a .pth file needs PyTorch: pip install -r requirements-pytorch.txt"
        ) from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # torch raises whatever its unpickler and its zip reader raise
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} is not a checkpoint of tensors: {line}") from None
    state = content[0] if isinstance(content, (list, tuple)) and content else content
    if not isinstance(state, dict) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        raise UserError(f"{path} is not a checkpoint of the reference trainer: no state dict in it")
    return {
        name.removeprefix("module."): value.to(torch.float32).numpy()
        for name, value in state.items()
    }


def network_settings(arrays, path):
    """The sizes that the weights themselves show: features, channels, num_levels.

    Raises:
        UserError: the arrays are not those of an NCSN.
    """
    kernel, table = arrays.get("begin_conv.weight"), arrays.get("normalizer.embed.weight")
    if kernel is None or table is None or kernel.ndim != 4 or table.ndim != 2:
        raise UserError(f"{path} does not hold the weights of an NCSN")
    return {
        "features": kernel.shape[0],
        "channels": kernel.shape[1],
        "num_levels": table.shape[0],
    }


def main(argv):
    if any(arg in ("-h", "-help", "--help") for arg in argv[1:]):
        print(_USAGE, end="")
        return
    files = [arg for arg in argv[1:] if not arg.startswith("-")]
    if len(files) != 2:
        raise ConfigError("python -m ncsn_tf.pytorch needs CHECKPOINT.pth and OUT; see --help")
    source, out = files
    flags = [arg for arg in argv[1:] if arg.startswith("-")]
    if Path(out).exists() and any(Path(out).iterdir()):
        raise UserError(f"{out} exists and is not empty: name a new folder")
    arrays = read_checkpoint(source)
    sizes = network_settings(arrays, source)
    if not any(arg.startswith(("--dataset", "--flagfile")) for arg in flags):
        flags.insert(0, "--dataset=cifar10" if sizes["channels"] == 3 else "--dataset=mnist")
    config = parse_config([argv[0], *flags, f"--workdir={out}"])
    config = dataclasses.replace(config, **sizes)

    from ncsn_tf.runtime import start_tensorflow

    start_tensorflow()
    from ncsn_tf.checkpoints import save_network
    from ncsn_tf.state import build_network

    network = build_network(config)
    try:
        load_reference_weights(network, arrays)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None
    save_network(network, config)
    print(f"Wrote {out}: {network.count_params():,} weights; python sample.py --workdir={out}")


if __name__ == "__main__":
    run_command(main)
