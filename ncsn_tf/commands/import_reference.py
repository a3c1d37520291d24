"""`ncsn import`: a checkpoint of the reference PyTorch programs becomes a run."""

import dataclasses
import os
from collections.abc import Sequence

from ncsn_tf.backend.choices import THIRD_MODELS
from ncsn_tf.commands.start import start_tensorflow
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.files import user_path
from ncsn_tf.settings.flags import is_given, parse_config
from ncsn_tf.settings.help import is_help
from ncsn_tf.settings.options import show

SUMMARY = """\
Turn a checkpoint of the reference PyTorch trainers, of any of the three generations, into a run in
the folder OUT, for ncsn sample and ncsn export. Network, width, channels and number of levels are
read from the weights, NCSNv2's depth and noise levels too, and averaged weights where there are
any. What they do not show (image size, sampling settings, noise levels of NCSN) comes from the
experiment of the data set: for NCSN cifar10 in colour and mnist in grey, for NCSNv2 the published
experiment with the same largest noise level, else cifar10_ncsnv2. The flags of ncsn train win over
it; --flagfile names another experiment, and for NCSN --dataset does too.

Of an NCSN++, DDPM++ or DDPM (checkpoint_K.pth) the weights show the network, and the equation where
it is told sigma; else say it by --sde=vp, --sde=subvp --continuous and the like (without: ve for
NCSN++, vp for the others, of discrete steps). All else is that of CIFAR-10, or for NCSN++ of the
experiment with the same largest noise level; --image_size or another --flagfile says more.

  ncsn import checkpoint.pth runs/imported
  ncsn sample --workdir=runs/imported"""

_EMA_DECAY = 0.999  # of all experiments of NCSNv2, and of the variance-exploding SDE
_EXPERIMENTS = {  # flagfiles of NCSNv2's experiments, by the largest noise level
    50.0: "cifar10_ncsnv2",
    90.0: "celeb_a_64_ncsnv2",
    140.0: "lsun_church_ncsnv2",
    190.0: "lsun_bedroom_ncsnv2",
    348.0: "ffhq_256_ncsnv2",
}


_THIRD_EXPERIMENTS = {  # flagfiles of NCSN++'s, by the same
    90.0: "celeb_a_64_ncsnpp_ve",
    348.0: "ffhq_256_ncsnpp_ve_continuous",
    378.0: "lsun_bedroom_256_ncsnpp_ve_continuous",
    380.0: "lsun_church_256_ncsnpp_ve_continuous",
}


def _experiment(settings):
    """The flag that names where everything else comes from."""
    if settings["model"] == "ncsnv2":
        name = _EXPERIMENTS.get(settings.get("sigma_begin"), "cifar10_ncsnv2")
        return f"--flagfile={name}"
    return "--dataset=cifar10" if settings["channels"] == 3 else "--dataset=mnist"


def main(argv: Sequence[str]) -> None:
    """Read a checkpoint, and write it as a run."""
    if is_help(argv[1:]):
        print(f"usage: {argv[0]} CHECKPOINT.pth OUT [--flag=value ...]\n\n{SUMMARY}")
        return
    files = [arg for arg in argv[1:] if not arg.startswith("-")]
    if len(files) != 2:
        raise ConfigError(f"{argv[0]} needs CHECKPOINT.pth and OUT; see --help")
    source, out = map(user_path, files)
    if not source.exists():
        raise UserError(f"{source} is not a file")
    flags = [arg for arg in argv[1:] if arg.startswith("-")]
    if os.path.lexists(out) and not out.is_dir():
        raise UserError(f"{out} is not a folder: name a new one")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} exists and is not empty: name a new folder")
    _check_classes(is_given(flags, "class_conditional"))
    start_tensorflow()
    from ncsn_tf.pytorch import network_settings, read_checkpoint
    from ncsn_tf.training.reference import import_weights

    checkpoint = read_checkpoint(source)
    settings = network_settings(checkpoint.weights, source)
    own = [*flags, f"--workdir={out}"]
    if settings["model"] in THIRD_MODELS:
        config = _third_config([argv[0], *own], settings)
    else:
        config = dataclasses.replace(_config([argv[0], *own], settings), **settings)
    _check_classes(config.class_conditional)
    decay = 0.0 if checkpoint.average is None else config.ema_decay or _EMA_DECAY
    config = dataclasses.replace(config, ema_decay=decay)
    network = import_weights(*checkpoint, config, source)
    kind = "weights" if checkpoint.average is None else "weights and their average"
    print(
        f"Wrote {out}: {network.count_params():,} {kind} of {config.model}, step "
        f"{checkpoint.step}; ncsn sample --workdir={out}"
    )


def _check_classes(class_conditional):
    """Raise a ConfigError for a network of classes, which the weights are not of."""
    if class_conditional:
        raise ConfigError(
            f"{show('class_conditional', True)} cannot be used here: the networks of the reference "
            "trainers know no classes"
        )


def _config(argv, settings):
    """The settings that the flags and the experiment give, the flags first.

    Raises:
        ConfigError: besides wrong flags, NCSNv2's experiment with another data set whose image
            size nobody said.
    """
    program, *flags = argv
    # A data set's own flagfile is NCSN's experiment: it has the sampling settings of no NCSNv2.
    is_second = settings["model"] == "ncsnv2"
    names_dataset = is_given(flags, "dataset")
    if is_given(flags, "flagfile") or (names_dataset and not is_second):
        return parse_config(argv)
    experiment = _experiment(settings)
    config = parse_config([program, experiment, *flags])
    is_other = names_dataset and config.dataset != parse_config([program, experiment]).dataset
    if is_other and not is_given(flags, "image_size"):
        raise ConfigError(
            f"{show('dataset', config.dataset)} needs an explicit --image_size, for {experiment} "
            "has another data set"
        )
    return config


def _third_config(argv, settings):
    """The settings of a network of the third generation: those that its weights show as flags.

    They come after a flagfile and before the given flags, which win; what does not fit the weights
    is said when they are loaded.
    """
    program, *given = argv
    seen = dict(settings)
    levels = seen.pop("attention_levels")
    # The file holds noise levels whatever the equation.
    noise = {name: seen.pop(name) for name in ("sigma_begin", "sigma_end") if name in seen}
    files = [flag for flag in given if flag.startswith("--flagfile=")]
    flags = [flag for flag in given if flag not in files]
    name = _THIRD_EXPERIMENTS.get(noise.get("sigma_begin"))
    if name is not None and settings["model"] == "ncsnpp" and not files:
        files = [f"--flagfile={name}"]

    def parsed(**shown):
        shown = [show(name, value) for name, value in shown.items()]
        return parse_config([program, *files, *shown, *flags])

    config = parsed(**seen)
    if config.sde == "ve":
        config = parsed(**seen, **noise)
    if is_given(flags, "attention_sizes"):
        return config
    width = config.image_shape[1]
    sizes = ",".join(str(width >> level) for level in levels) or "none"
    return dataclasses.replace(config, attention_sizes=sizes)
