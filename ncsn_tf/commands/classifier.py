"""`ncsn classifier`: trains a classifier of noisy images, with which one class is drawn."""

import dataclasses

from tqdm import tqdm

from ncsn_tf.commands.start import start_tensorflow
from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.files import check_place, require_ending, user_path
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.option_paths import check_data_dir, check_run
from ncsn_tf.settings.options import option

SUMMARY = """\
Train a classifier on the images of a run's data set, perturbed over the run's noise levels:

  ncsn classifier --workdir=runs/mnist --out=mnist_classifier.npz
  ncsn sample --workdir=runs/mnist --classifier=mnist_classifier.npz --label=3"""


@dataclasses.dataclass(frozen=True)
class ClassifierOptions:
    """The flags of `ncsn classifier`."""

    workdir: str = option("", "the run; empty is the newest in runs/", "source", path=True)
    dataset: str = option("", "images with labels, as in ncsn train; empty is the run's", "source")
    data_dir: str = option("", "where the data are; empty is the run's", "source", path=True)
    cache_dir: str = option(
        "", "where decoded images are kept; empty is the run's --cache_dir", "source", path=True
    )
    out: str = option(
        "", "file to write; empty is classifier.npz in the run's folder", "output", path=True
    )
    features: int = option(32, "channels of the first stage", "classifier", least=2, below=2**14)
    num_steps: int = option(2000, "training steps", "classifier", least=1, below=2**62)
    batch_size: int = option(128, "images a step", "classifier", least=1, below=2**20)
    learning_rate: float = option(1e-3, "Adam's step size", "classifier", above=0)
    seed: int = option(
        0, "seed of weights, data order and noise", "classifier", least=0, below=2**31
    )


def main(argv: list[str]) -> None:
    options = parse_options(argv, ClassifierOptions, SUMMARY)
    check_run(options.workdir, "" if options.dataset else options.data_dir)
    if options.dataset:
        check_data_dir(options.dataset, options.data_dir)
    start_tensorflow()
    from ncsn_tf.data.sources import load_source
    from ncsn_tf.training import checkpoint_choice, checkpoints
    from ncsn_tf.training.classifier import accuracies, save_classifier, train_classifier
    from ncsn_tf.training.run_equation import ladder_of

    run_dir = checkpoint_choice.find_run(options.workdir)
    out = user_path(options.out) if options.out else run_dir / "classifier.npz"
    check_place(out)
    require_ending(out, [".npz"])
    config = checkpoints.open_config(run_dir)
    if min(config.image_shape[:2]) < 8:
        raise ConfigError(
            f"a classifier needs images of 8 pixels a side at least, not {config.image_size}"
        )
    dataset = options.dataset or config.dataset

    def load(split):
        source = load_source(
            dataset,
            split,
            data_dir=options.data_dir or config.data_dir,
            image_size=config.image_size,
            channels=config.channels,
            crop_size=config.crop_size,
            cache_dir=options.cache_dir or config.cache_dir,
        )
        if source.labels is None:
            raise UserError(f"data set {dataset!r} has no labels: name one that has with --dataset")
        return source

    source, test = load("train"), load("test")
    with tqdm(total=options.num_steps, disable=None, unit="step") as bar:

        def on_step(loss):
            bar.update()
            if bar.n % 100 == 0:
                bar.set_postfix(loss=f"{loss():.3f}")

        classifier = train_classifier(
            source,
            image_shape=config.image_shape,
            sigmas=ladder_of(config),
            dequantize=config.dequantize,
            random_flip=config.random_flip,
            features=options.features,
            num_steps=options.num_steps,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            seed=options.seed,
            on_step=on_step,
        )
    save_classifier(out, classifier)
    print(f"Wrote {out}")
    with tqdm(desc="testing", disable=None, unit="batch") as bar:

        def on_batch(total):
            bar.total = total
            bar.update()

        shares = accuracies(classifier, test, options.batch_size, on_batch=on_batch)
    listed = ", ".join(f"{share:.0%} at {sigma:.2g}" for sigma, share in shares.items())
    print(f"Test images classified right, by noise level: {listed}")
