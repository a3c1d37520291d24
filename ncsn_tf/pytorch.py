"""Checkpoints of the reference PyTorch programs: what is in them, and their conversion to a run."""

import dataclasses
import typing
from pathlib import Path

import numpy as np

from ncsn_tf.command_line import parse_config, run_command
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.options import show
from ncsn_tf.reference_weights import load_reference_weights

__all__ = ["load_reference_weights", "network_settings", "read_checkpoint"]

_USAGE = """\
usage: python -m ncsn_tf.pytorch CHECKPOINT.pth OUT [--flag=value ...]

Turn a checkpoint of the reference PyTorch trainer, of NCSN or NCSNv2, into a run in the folder OUT,
for sample.py and ncsn_tf.export. Network, width, channels and number of levels are read from the
weights, NCSNv2's depth and noise levels too, and its averaged weights where there are any. What
they do not show (image size, sampling settings, noise levels of NCSN) comes from the experiment of
the data set: for NCSN cifar10 in colour and mnist in grey, for NCSNv2 the published experiment with
the same largest noise level, else cifar10_ncsnv2. The flags of train.py win over it; --flagfile
names another experiment, and for NCSN --dataset does too.
"""

_EMA_DECAY = 0.999  # of all of NCSNv2's experiments
_EXPERIMENTS = {  # flagfiles of NCSNv2's experiments, by the largest noise level
    50.0: "cifar10_ncsnv2",
    90.0: "celeb_a_64_ncsnv2",
    140.0: "lsun_church_ncsnv2",
    190.0: "lsun_bedroom_ncsnv2",
    348.0: "ffhq_256_ncsnv2",
}


class ReferenceCheckpoint(typing.NamedTuple):
    """What a file of the reference trainer holds.

    Attributes:
        weights: {reference name: float32 array}, NCSNv2's `sigmas` among them.
        average: the same with the averaged weights; None where the file has no average.
        step: training steps done; 0 where the file does not say.
    """

    weights: dict
    average: dict | None
    step: int


def read_checkpoint(path):
    """Read a checkpoint of the reference trainer.

    The file holds [state dict, optimizer state], for NCSNv2 [state dict, optimizer state, epoch,
    step, averaged parameters], the last of them only where there was an average; names may carry
    the `module.` prefix of a data-parallel model. Only tensors are unpickled (`weights_only=True`).

    Returns:
        a `ReferenceCheckpoint`.

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
    parts = content if isinstance(content, (list, tuple)) and content else [content]
    weights = _arrays(parts[0])
    if weights is None:
        raise UserError(f"{path} is not a checkpoint of the reference trainer: no state dict in it")
    step = parts[3] if len(parts) > 3 and isinstance(parts[3], int) else 0
    average = None
    if len(parts) > 4:
        average = _arrays(parts[4])
        if average is None:
            raise UserError(f"{path}: its fifth part is not the averaged weights")
        # The reference averages parameters only: the noise levels are not among them.
        average = {**average, **{name: weights[name] for name in weights if name == "sigmas"}}
    return ReferenceCheckpoint(weights, average, step)


def _arrays(state):
    """{name without prefix: float32 array}; None when it is not a dict of tensors."""
    import torch

    if not isinstance(state, dict) or not all(
        isinstance(value, torch.Tensor) for value in state.values()
    ):
        return None
    return {
        name.removeprefix("module."): value.to(torch.float32).numpy()
        for name, value in state.items()
    }


def network_settings(arrays, path):
    """The settings of a run that the weights themselves show.

    Returns:
        {setting: value}: model, features, channels and num_levels; for NCSNv2 depth too, and
        sigma_begin, sigma_end and num_levels only if `sigmas` is among the arrays.

    Raises:
        UserError: the arrays are not those of an NCSN or NCSNv2, or its noise levels are not a
            geometric sequence.
    """
    kernel, table = arrays.get("begin_conv.weight"), arrays.get("normalizer.embed.weight")
    if kernel is None or kernel.ndim != 4:
        raise UserError(f"{path} does not hold the weights of an NCSN or NCSNv2")
    sizes = {"features": kernel.shape[0], "channels": kernel.shape[1]}
    if table is not None and table.ndim == 2:
        return {"model": "ncsn", **sizes, "num_levels": table.shape[0]}
    if "normalizer.alpha" not in arrays:
        raise UserError(f"{path} does not hold the weights of an NCSN or NCSNv2")
    stages = {name.split(".")[0] for name in arrays}
    depth = "deepest" if "res31" in stages else "deeper" if "res5" in stages else "base"
    return {"model": "ncsnv2", "depth": depth, **sizes, **_noise_levels(arrays, path)}


def _noise_levels(arrays, path):
    if "sigmas" not in arrays:
        return {}
    from ncsn_tf.schedule import geometric_sigmas

    sigmas = arrays["sigmas"].ravel()
    # The shortest decimals of the float32 ends: 0.01, not 0.009999999776.
    begin, end = (float(str(sigma)) for sigma in sigmas[[0, -1]])
    try:
        expected = geometric_sigmas(begin, end, len(sigmas)).numpy()
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    if not np.allclose(sigmas, expected, rtol=1e-4, atol=0.0):
        raise UserError(f"{path}: its {len(sigmas)} noise levels are not a geometric sequence")
    return {"sigma_begin": begin, "sigma_end": end, "num_levels": len(sigmas)}


def _experiment(settings):
    """The flag that names where everything else comes from."""
    if settings["model"] == "ncsnv2":
        name = _EXPERIMENTS.get(settings.get("sigma_begin"), "cifar10_ncsnv2")
        return f"--flagfile={name}"
    return "--dataset=cifar10" if settings["channels"] == 3 else "--dataset=mnist"


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
    checkpoint = read_checkpoint(source)

    from ncsn_tf.runtime import start_tensorflow

    start_tensorflow()
    from ncsn_tf.checkpoints import save_network

    settings = network_settings(checkpoint.weights, source)
    config = _config([argv[0], *flags, f"--workdir={out}"], settings)
    decay = 0.0 if checkpoint.average is None else config.ema_decay or _EMA_DECAY
    config = dataclasses.replace(config, **settings, ema_decay=decay)

    network, average = (
        _network(config, arrays, source) for arrays in (checkpoint.weights, checkpoint.average)
    )
    save_network(network, config, checkpoint.step, average)
    kind = "weights" if average is None else "weights and their average"
    print(
        f"Wrote {out}: {network.count_params():,} {kind} of {config.model}, step "
        f"{checkpoint.step}; python sample.py --workdir={out}"
    )


def _config(argv, settings):
    """The settings that the flags and the experiment give, the flags first.

    Raises:
        ConfigError: besides wrong flags, NCSNv2's experiment with another data set whose image
            size nobody said.
    """
    program, *flags = argv

    def given(*names):
        return any(arg.lstrip("-").partition("=")[0] in names for arg in flags)

    # A data set's own flagfile is NCSN's experiment: it has the sampling settings of no NCSNv2.
    is_second = settings["model"] == "ncsnv2"
    if given("flagfile") or (given("dataset") and not is_second):
        return parse_config(argv)
    experiment = _experiment(settings)
    config = parse_config([program, experiment, *flags])
    is_other = given("dataset") and config.dataset != parse_config([program, experiment]).dataset
    if is_other and not given("image_size"):
        raise ConfigError(
            f"{show('dataset', config.dataset)} needs an explicit --image_size, for {experiment} "
            "has another data set"
        )
    return config


def _network(config, arrays, source):
    """A network with the reference's weights; None without any."""
    if arrays is None:
        return None
    from ncsn_tf.state import build_network

    network = build_network(config)
    try:
        load_reference_weights(network, arrays)
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None
    return network


if __name__ == "__main__":
    run_command(main)
