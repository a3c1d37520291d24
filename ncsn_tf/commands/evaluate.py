"""`ncsn evaluate`: figures of quality, bits per dimension and test loss of a trained network."""

import dataclasses

from ncsn_tf.backend.choices import DIVERGENCES
from ncsn_tf.commands.quality_options import NEWEST, NUM_SAMPLES, OF_REQUESTS, QualityOptions
from ncsn_tf.commands.start import start_for_sampling
from ncsn_tf.commands.tuning_options import METRICS, TuningOptions
from ncsn_tf.commands.tuning_options import NUM_SAMPLES as TUNING_SAMPLES
from ncsn_tf.errors import ConfigError
from ncsn_tf.files import user_path
from ncsn_tf.generation.shards import Shard
from ncsn_tf.settings.chain import CHAIN_SETTINGS, ChainOptions
from ncsn_tf.settings.checkpoint import NEWEST as NEWEST_CHECKPOINT
from ncsn_tf.settings.checkpoint import checkpoint_option
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.options import option, show

SUMMARY = """\
Measure a trained network, on images of its data set or by its samples:

  ncsn evaluate --metrics=fid,kid,is,precision,recall --num_samples=50000
                                  how near its samples are to the training images
  ncsn evaluate --metrics --samples=FOLDER     the same of images that are there
  ncsn evaluate --every_checkpoint             ranks the run's checkpoints
  ncsn evaluate --sweep=step_lr=1e-6:1e-4:7    finds a setting of its chain
  ncsn evaluate --bits_per_dim    likelihood along the probability-flow ODE, in bits/dim
  ncsn evaluate --test_loss       the loss that it was trained with

The same command again continues where it was interrupted."""

_TOLERANCE = 1e-4
_LIKELIHOOD = (
    *("bits_per_dim", "test_loss", "workdir", "checkpoint", "average", "num_images", "data_dir"),
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
    checkpoint: str = checkpoint_option()
    average: bool = option(True, "the averaged weights, where the run has them", "source")
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
    def is_quality(self) -> bool:
        """Whether samples are measured."""
        return bool(self.metrics or self.is_tuning)

    def validate(self) -> None:
        """Raise a ConfigError for flags that contradict each other."""
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
        if not self.is_quality:
            return
        for field in dataclasses.fields(EvaluateOptions):
            value = getattr(self, field.name)
            is_likelihood = field.metadata["group"] == "likelihood"
            if is_likelihood and field.name != "ode_tolerance" and value != field.default:
                raise ConfigError(f"{show(field.name, value)} needs --bits_per_dim")


def main(argv: list[str]) -> None:
    """Measure what the flags ask for."""
    options = parse_options(argv, EvaluateOptions, SUMMARY)
    options.validate()
    strategy = start_for_sampling(options.batch_size)
    if not options.is_quality:
        from ncsn_tf.evaluation.measure import evaluate_run

        given = _values(options, _LIKELIHOOD)
        tolerance = options.ode_tolerance or _TOLERANCE
        evaluate_run(**given, split=options.split or "test", ode_tolerance=tolerance)
        return

    if options.is_tuning:
        from ncsn_tf.evaluation.tuning.run import tune

        tune(
            options.workdir,
            strategy,
            options.names if options.metrics else METRICS,
            options.num_samples or TUNING_SAMPLES,
            chain=_values(options, CHAIN_SETTINGS),
            split=options.split or "train",
            **_values(options, _TUNING),
        )
        return

    from ncsn_tf.evaluation.quality.measure import evaluate_quality, run_of_samples
    from ncsn_tf.evaluation.quality.sides import draw_shard
    from ncsn_tf.generation.drawing import Drawing, open_drawing
    from ncsn_tf.serving.export_origin import Export, newest_export, run_of_export
    from ncsn_tf.training.run_data import with_places

    drawing = None
    if options.samples:
        run_dir, config = run_of_samples(options.workdir, bool(options.reference))
    elif options.saved_model:
        is_newest = options.saved_model == NEWEST
        folder = newest_export(options.workdir) if is_newest else options.saved_model
        export = Export(folder, **_values(options, (*OF_REQUESTS, "batch_size")))
        run_dir = user_path(options.workdir) if options.workdir else run_of_export(export.path)
        if run_dir is None:
            raise ConfigError(
                f"{show('saved_model', options.saved_model)} lies in no run: name a folder for "
                "samples and figures with --workdir"
            )
        config, about = export.metadata.config, export.metadata
        known = {"sampler": export.chain(), "weights": about.weights, "step": about.training_step}
        drawing = Drawing(export, config, {**known, "source": str(export.path)})
    else:
        chain = _values(options, CHAIN_SETTINGS)
        with strategy.scope():
            drawing, run = open_drawing(
                **_values(options, ("workdir", "checkpoint", "average", "batch_size")), chain=chain
            )
        print(f"Evaluating {run.run_dir}, {run.origin}")
        run_dir, config = run.run_dir, drawing.config
    if config is not None:
        config = with_places(config, options.data_dir, options.cache_dir)
    num_samples = options.num_samples or (0 if options.samples else NUM_SAMPLES)
    if options.shard:
        shard = Shard.parse(options.shard)
        files = draw_shard(drawing, run_dir, shard, options.seed, options.seeds_in_all)
        print(f"Drew shard {shard.index} of {shard.count}: {len(files)} files")
        return
    evaluate_quality(
        options.names,
        run_dir=run_dir,
        config=config,
        drawing=drawing,
        num_samples=num_samples,
        split=options.split or "train",
        **_values(options, _QUALITY),
    )


def _values(options, names):
    return {name: getattr(options, name) for name in names}
