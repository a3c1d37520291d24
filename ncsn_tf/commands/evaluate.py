"""`ncsn evaluate`: figures of quality, bits per dimension and test loss of a trained network."""

import dataclasses
from pathlib import Path

from ncsn_tf.backend.choices import DIVERGENCES
from ncsn_tf.commands.quality_options import NEWEST, NUM_SAMPLES, OF_REQUESTS, QualityOptions
from ncsn_tf.commands.start import start_for_sampling
from ncsn_tf.commands.tuning_options import METRICS, TuningOptions
from ncsn_tf.commands.tuning_options import NUM_SAMPLES as TUNING_SAMPLES
from ncsn_tf.errors import ConfigError
from ncsn_tf.files import user_path
from ncsn_tf.generation.shards import Shard
from ncsn_tf.settings.averages import check_ema, lengths_of
from ncsn_tf.settings.chain import CHAIN_SETTINGS, ChainOptions
from ncsn_tf.settings.checkpoint import NEWEST as NEWEST_CHECKPOINT
from ncsn_tf.settings.checkpoint import checkpoint_option
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.options import option, show
from ncsn_tf.settings.pretrained import check_pretrained, pretrained_option, pretrained_run

SUMMARY = """\
Measure a trained network, on images of its data set or by its samples:

  ncsn evaluate --metrics=fid,kid,is,precision,recall --num_samples=50000
                                  how near its samples are to the training images
  ncsn evaluate --metrics --samples=FOLDER     the same of images that are there
  ncsn evaluate --every_checkpoint             ranks the run's checkpoints
  ncsn evaluate --sweep=step_lr=1e-6:1e-4:7    finds a setting of its chain
  ncsn evaluate --ema=0.05,0.1,0.15 --metrics  compares averages of these lengths
  ncsn evaluate --bits_per_dim    likelihood along the probability-flow ODE, in bits/dim
  ncsn evaluate --test_loss       the loss that it was trained with
  ncsn evaluate --pretrained=mnist --metrics   of a trained network that is here

The same command again continues where it was interrupted. What is measured of a trained network is
kept in runs/<its name>."""

_TOLERANCE = 1e-4
_LIKELIHOOD = (
    *("bits_per_dim", "test_loss", "checkpoint", "average", "num_images", "data_dir"),
    *("cache_dir", "batch_size", "divergence", "num_probes", "num_dequantizations", "seed", "out"),
)
_TUNING = (
    *("sweep", "checkpoint", "average", "keep_best", "seed", "features", "inception"),
    *("num_images", "batch_size", "data_dir", "cache_dir"),
)
_QUALITY = (
    *("features", "inception", "seed", "num_seed_ranges", "num_images", "reference", "pairs"),
    *("copies", "cache_dir", "samples"),
)


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(ChainOptions, QualityOptions, TuningOptions):
    """The flags of evaluate.py."""

    bits_per_dim: bool = option(False, "likelihood, an upper bound on bits/dim", "what")
    test_loss: bool = option(False, "mean loss, as training reports it", "what")
    workdir: str = option("", "the run; empty is the newest in runs/", "source", path=True)
    pretrained: str = pretrained_option()
    checkpoint: str = checkpoint_option()
    average: bool = option(True, "the averaged weights, where the run has them", "source")
    ema: str = option(
        "", "averages of these lengths, as 0.05,0.1, of a run with --ema_power", "source"
    )
    split: str | None = option(
        None,
        "of the run's data set [test; of --metrics train]",
        "data",
        choices=("test", "train"),
    )
    num_images: int = option(
        0, "the first of a fixed shuffled order; 0 is all of them", "data", least=0, below=2**31
    )
    data_dir: str = option("", "where the data are; empty is the run's", "data", path=True)
    cache_dir: str = option(
        "", "where decoded images are kept; empty is the run's --cache_dir", "data", path=True
    )
    batch_size: int = option(64, "images at a time; changes no result", "run", least=1, below=2**20)
    seed: int = option(0, "image i has seed + i", "run", least=0)
    divergence: str = option(
        "rademacher",
        "probes of Hutchinson's estimator, or exact: tiny images",
        "likelihood",
        choices=DIVERGENCES,
    )
    num_probes: int = option(1, "probes an image", "likelihood", least=1, below=2**16)
    num_dequantizations: int = option(
        1, "times each image is dequantised and measured", "likelihood", least=1, below=2**16
    )
    ode_tolerance: float | None = option(
        None,
        "relative and absolute tolerance of the ODE [1e-4; of --metrics the run's]",
        "likelihood",
        above=0,
    )
    out: str = option(
        "",
        "file; empty is <workdir>/evaluation/bits_per_dim.json, beside it .npz",
        "likelihood",
        path=True,
    )

    @property
    def lengths(self) -> tuple[float, ...]:
        """The lengths of --ema."""
        return lengths_of("ema", self.ema)

    @property
    def is_quality(self) -> bool:
        """Whether samples are measured."""
        return bool(self.metrics or self.is_tuning)

    def validate(self) -> None:
        """Raise a ConfigError for flags that contradict each other."""
        self._validate_pretrained()
        self.validate_tuning()
        if not (self.bits_per_dim or self.test_loss or self.is_quality):
            raise ConfigError("say what to measure: --metrics, --bits_per_dim or --test_loss")
        if self.is_quality and (self.bits_per_dim or self.test_loss):
            what = "--metrics" if self.metrics else "--sweep or --every_checkpoint"
            raise ConfigError(f"{what} goes without --bits_per_dim and --test_loss: in two calls")
        if self.divergence == "exact" and self.num_probes > 1:
            raise ConfigError(
                f"{show('num_probes', self.num_probes)} must be 1: --divergence=exact has no probes"
            )
        if self.seed >= 2**62:
            raise ConfigError(f"{show('seed', self.seed)} must be below 2**62")
        if self.out and not self.out.endswith(".json"):
            raise ConfigError(f"{show('out', self.out)} must end in .json")
        self.validate_quality()
        for name in ("samples", "saved_model"):
            if getattr(self, name) and self.checkpoint != NEWEST_CHECKPOINT:
                raise ConfigError(
                    f"{show('checkpoint', self.checkpoint)} cannot be used with --{name}"
                )
        self._validate_ema()
        if not self.is_quality:
            return
        for field in dataclasses.fields(EvaluateOptions):
            value = getattr(self, field.name)
            is_likelihood = field.metadata["group"] == "likelihood"
            if is_likelihood and field.name != "ode_tolerance" and value != field.default:
                raise ConfigError(f"{show(field.name, value)} needs --bits_per_dim")

    def _validate_ema(self):
        for ema in self.lengths:
            check_ema(ema, self.average)
            for name in ("samples", "saved_model", "sweep", "every_checkpoint"):
                if getattr(self, name):
                    other = show(name, getattr(self, name))
                    raise ConfigError(f"{show('ema', self.ema)} cannot be used with {other}")
        if len(self.lengths) > 1 and self.bits_per_dim:
            raise ConfigError(
                f"{show('ema', self.ema)} must be one length with --bits_per_dim, whose file is of "
                "one network"
            )

    def _validate_pretrained(self):
        check_pretrained(
            self.pretrained, self.workdir, self.checkpoint, NEWEST_CHECKPOINT, self.average
        )
        for name in ("samples", "saved_model", "every_checkpoint", "keep_best"):
            if self.pretrained and getattr(self, name):
                raise ConfigError(
                    f"{show('pretrained', self.pretrained)} cannot be used with --{name}"
                )


def main(argv: list[str]) -> None:
    """Measure what the flags ask for."""
    options = parse_options(argv, EvaluateOptions, SUMMARY)
    options.validate()
    # What is measured of a network that came with the package, whose folder is only read, is kept
    # beside the runs.
    workdir, place = options.workdir, None
    if options.pretrained:
        workdir = pretrained_run(options.pretrained)
        place = Path("runs", workdir.name)
    strategy = start_for_sampling(options.batch_size)
    if not options.is_quality:
        from ncsn_tf.evaluation.lengths import measure_lengths
        from ncsn_tf.evaluation.measure import evaluate_run
        from ncsn_tf.evaluation.tuning.table import table

        split = options.split or "test"
        if options.ema and options.test_loss:
            where = _values(options, ("checkpoint", "num_images", "data_dir", "cache_dir"))
            losses = measure_lengths(workdir, options.lengths, split=split, **where)
            tried = {f"{length:g}": [figure] for length, figure in losses.items()}
            print(*table("length", tried), sep="\n")
        if options.bits_per_dim or not options.ema:
            given = _values(options, _LIKELIHOOD)
            given["test_loss"] &= not options.ema
            given["ema"] = options.lengths[0] if options.ema else None
            tolerance = options.ode_tolerance or _TOLERANCE
            evaluate_run(workdir, place=place, **given, split=split, ode_tolerance=tolerance)
        return

    if options.is_tuning:
        from ncsn_tf.evaluation.tuning.run import tune

        tune(
            workdir,
            strategy,
            options.names if options.metrics else METRICS,
            options.num_samples or TUNING_SAMPLES,
            place=place,
            chain=_values(options, CHAIN_SETTINGS),
            split=options.split or "train",
            **_values(options, _TUNING),
        )
        return

    from ncsn_tf.evaluation.quality.measure import evaluate_quality, run_of_samples
    from ncsn_tf.evaluation.quality.sides import draw_shard
    from ncsn_tf.evaluation.tuning.table import table
    from ncsn_tf.generation.drawing import Drawing, open_drawing
    from ncsn_tf.serving.export_origin import Export, newest_export, run_of_export
    from ncsn_tf.training.run_data import with_places

    drawings = {None: None}
    if options.samples:
        run_dir, config = run_of_samples(options.workdir, bool(options.reference))
    elif options.saved_model:
        is_newest = options.saved_model == NEWEST
        folder = newest_export(options.workdir) if is_newest else options.saved_model
        given = _values(options, (*OF_REQUESTS, "batch_size"))
        export = Export(folder, **given, all_classes=True)
        run_dir = user_path(options.workdir) if options.workdir else run_of_export(export.path)
        if run_dir is None:
            raise ConfigError(
                f"{show('saved_model', options.saved_model)} lies in no run: name a folder for "
                "samples and figures with --workdir"
            )
        config, about = export.metadata.config, export.metadata
        known = {"sampler": export.chain(), "weights": about.weights, "step": about.training_step}
        drawings = {None: Drawing(export, config, {**known, "source": str(export.path)})}
    else:
        chain = _values(options, CHAIN_SETTINGS)
        given = _values(options, ("checkpoint", "average", "batch_size"))
        drawings = {}
        for ema in options.lengths or (None,):
            with strategy.scope():
                drawings[ema], run = open_drawing(workdir, **given, ema=ema, chain=chain)
            print(f"Evaluating {run.run_dir}, {run.origin}")
            run_dir, config = place or run.run_dir, drawings[ema].config
    if config is not None:
        config = with_places(config, options.data_dir, options.cache_dir)
    num_samples = options.num_samples or (0 if options.samples else NUM_SAMPLES)
    tried = {}
    for ema, drawing in drawings.items():
        if options.shard:
            shard = Shard.parse(options.shard)
            files = draw_shard(drawing, run_dir, shard, options.seed, options.seeds_in_all)
            print(f"Drew shard {shard.index} of {shard.count}: {len(files)} files")
            continue
        if ema is not None:
            print(f"Average of length {ema:g}:")
        figures = evaluate_quality(
            options.names,
            run_dir=run_dir,
            config=config,
            drawing=drawing,
            num_samples=num_samples,
            split=options.split or "train",
            **_values(options, _QUALITY),
        )
        if ema is not None:
            tried[f"{ema:g}"] = [figure for figure in figures if figure.metric != "copies"]
    if tried:
        print(*table("length", tried), sep="\n")


def _values(options, names):
    return {name: getattr(options, name) for name in names}
