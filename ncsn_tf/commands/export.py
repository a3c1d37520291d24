"""`ncsn export`: a run's sampler as a SavedModel."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ncsn_tf.backend.choices import EXPORT_WEIGHTS, MOST_ROWS
from ncsn_tf.commands.start import start_tensorflow
from ncsn_tf.errors import ConfigError
from ncsn_tf.settings.averages import check_ema, ema_option
from ncsn_tf.settings.chain import ChainOptions
from ncsn_tf.settings.checkpoint import NEWEST, checkpoint_option
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.option_paths import check_inputs, check_run
from ncsn_tf.settings.options import option, show
from ncsn_tf.settings.pretrained import check_pretrained, pretrained_option, pretrained_run

_OF_CONDITIONAL = ("factor", "classifier", "classifier_scale")
SUMMARY = """\
Export a run's sampler as a SavedModel, which TensorFlow Serving runs:

  ncsn export --workdir=runs/cifar10                       with the run's own chain
  ncsn export --workdir=runs/cifar10 --num_steps_each=20   with fewer steps a level
  ncsn export --checkpoint=best                            of the best checkpoint, or a step's
  ncsn export --pretrained=mnist                           of a trained network that is here
  ncsn export --export_weights=float16                     of half the size
  ncsn export --conditional                                also inpaint, colorize and their like

Versions are numbered: each export is a new folder in <workdir>/export, of a trained network in
runs/<its name>/export."""


@dataclasses.dataclass(frozen=True)
class ExportOptions(ChainOptions):
    """The flags of `ncsn export`."""

    workdir: str = option("", "the run; empty is the newest in runs/", "source", path=True)
    pretrained: str = pretrained_option()
    checkpoint: str = checkpoint_option()
    average: bool = option(True, "the averaged weights, where the run has them", "source")
    ema: float | None = ema_option()
    max_steps_each: int = option(
        0,
        "most steps a level that a request may ask for; 0 is ten times the chain's",
        "serving",
        least=0,
        below=2**31,
    )
    conditional: bool = option(
        False, "also inpaint, colorize, super_resolve, interpolate: a larger export", "serving"
    )
    factor: int = option(4, "how much super_resolve enlarges", "serving", least=2, below=2**14)
    classifier: str = option(
        "",
        "with --conditional, also sample_class by this file's classifier",
        "serving",
        path=True,
        reads=(),
    )
    classifier_scale: float = option(1.0, "weight of the classifier", "serving", least=0, below=1e6)
    max_batch_size: int = option(
        32, "most images that a server merges into one run", "serving", least=1, below=MOST_ROWS + 1
    )
    export_weights: str = option(
        "float32",
        "how the weights are stored; float16 takes half the bytes, and computes in float32",
        "serving",
        choices=EXPORT_WEIGHTS,
    )

    def validate(self) -> None:
        """Raise a ConfigError for flags that contradict each other."""
        check_pretrained(self.pretrained, self.workdir, self.checkpoint, NEWEST, self.average)
        check_ema(self.ema, self.average, self.pretrained)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            is_given = field.name in _OF_CONDITIONAL and value != field.default
            if is_given and not self.conditional:
                raise ConfigError(f"{show(field.name, value)} needs --conditional")


def main(argv: Sequence[str]) -> None:
    """Export a run as the flags say."""
    options = parse_options(argv, ExportOptions, SUMMARY)
    options.validate()
    check_inputs(options)
    check_run(options.workdir)
    start_tensorflow()
    from ncsn_tf.serving.export import FOLDER, ConditionalSettings, export_run
    from ncsn_tf.training.checkpoint_choice import find_run

    settings = dataclasses.asdict(options)
    workdir, pretrained = settings.pop("workdir"), settings.pop("pretrained")
    if pretrained:
        run_dir = pretrained_run(pretrained)
        settings["folder"] = Path("runs", run_dir.name, FOLDER)
    else:
        run_dir = find_run(workdir)
    of_conditional = {name: settings.pop(name) for name in _OF_CONDITIONAL}
    if settings.pop("conditional"):
        settings["conditional"] = ConditionalSettings(denoise=options.denoise, **of_conditional)
    print(f"Exported {export_run(run_dir, **settings)}")
