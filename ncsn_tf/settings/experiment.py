"""The settings that decide what is trained: data, network, noise and objective.

The others of a run, in `config`, say how it is sampled and how it goes on.
"""

import dataclasses
import functools

from ncsn_tf.backend.choices import (
    BLOCKS,
    COMBINATIONS,
    DEPTHS,
    EMBEDDINGS,
    EQUATIONS,
    INPUT_PYRAMIDS,
    MODELS,
    OBJECTIVES,
    PRECISIONS,
    PYRAMIDS,
)
from ncsn_tf.backend.sizes import ImageSize
from ncsn_tf.settings.options import AUTO, Switch, option
from ncsn_tf.settings.rules import LARGEST_SIDE

_data = functools.partial(option, group="data")
_network = functools.partial(option, group="network")
_third = functools.partial(option, group="network of the third generation")
_noise = functools.partial(option, group="noise")
_equation = functools.partial(option, group="noise of the third generation")
_training = functools.partial(option, group="training")
_diffusion = functools.partial(option, group="training of the third generation")
_NUMBERS = r"[1-9][0-9]{0,3}(,[1-9][0-9]{0,3}){0,11}"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What is trained; a `Config` is this and how it is run."""

    dataset: str = _data("cifar10", "of TFDS, digits, robohash_cats, image_folder, arrays")
    image_size: ImageSize = _data(
        32,
        "side of square images, or height x width: 48x64; even",
        least=4,
        below=LARGEST_SIDE + 1,
    )
    channels: int = _data(3, "1 for grey, 3 for colour", choices=(1, 3))
    crop_size: int = _data(
        0, "shorter side of a centre crop before resizing; 0 is none", least=0, below=2**16
    )
    random_flip: bool = _data(True, "mirror half of the training images")
    dequantize: bool = _data(True, "add uniform noise of one grey level in 256")
    data_dir: str = _data(
        "",
        "folder of TFDS or of pictures, or a .zip, .tar, .npy, .npz",
        runtime=True,
        path=True,
    )

    cache_dir: str = _data(
        "",
        "where decoded images are kept; empty is $NCSN_CACHE",
        runtime=True,
        path=True,
    )

    class_conditional: bool = _network(False, "learn the classes of labelled images")
    class_names: tuple[str, ...] = _network(
        (), "classes of the images, which the data decide", flag=False
    )
    model: str = _network("ncsn", ", ".join(MODELS), choices=MODELS)
    depth: str = _network("base", "of ncsnv2: up to 64, 128, 256 pixels", choices=tuple(DEPTHS))
    features: int = _network(128, "channels of the first stage", least=2, below=2**14)
    multipliers: str = _third(
        AUTO,
        "channels of levels, in --features: 1,2,2,2",
        pattern=(f"{AUTO}|{_NUMBERS}", "whole numbers with commas, such as 1,2,2,2"),
    )
    num_res_blocks: int = _third(
        0, "residual blocks a level; 0 is the published", least=0, below=65
    )
    attention_sizes: str = _third(
        AUTO,
        "widths that get attention: 16, or 32,16, or none",
        pattern=(f"{AUTO}|none|{_NUMBERS}", "whole numbers with commas, or none"),
    )
    embedding: str = _third(
        AUTO, "of the noise: of sigma, or of steps", choices=(AUTO, *EMBEDDINGS)
    )
    block: str = _third(AUTO, "whether residual blocks resample", choices=(AUTO, *BLOCKS))
    fir: Switch = _third(AUTO, "a filter takes part in resampling")
    progressive_input: str = _third(
        AUTO, "smaller images: none, input_skip, residual", choices=(AUTO, *INPUT_PYRAMIDS)
    )
    progressive: str = _third(
        AUTO, "images of all sizes: none, output_skip, residual", choices=(AUTO, *PYRAMIDS)
    )
    progressive_combine: str = _third(
        AUTO, "how input_skip joins them: sum or cat", choices=(AUTO, *COMBINATIONS)
    )
    skip_rescale: Switch = _third(AUTO, "sums in blocks are divided by sqrt(2)")
    scale_by_sigma: Switch = _third(AUTO, "the result is divided by sigma")
    centered: Switch = _third(AUTO, "images are from -1 to 1 in the network")
    dropout: float = _third(0.0, "share that a block sets to 0 in training", least=0, below=1)
    precision: str = _network(
        AUTO, "arithmetic; auto suits the device", choices=(AUTO, *PRECISIONS)
    )

    sigma_begin: float = _noise(1.0, "largest noise level", above=0)
    sigma_end: float = _noise(0.01, "smallest noise level", above=0)
    num_levels: int = _noise(10, "noise levels, in a geometric sequence", least=1, below=2**16)
    anneal_power: float = _noise(2.0, "a level's loss is weighted by sigma to this power")

    sde: str = _equation(AUTO, "stochastic differential equation", choices=(AUTO, *EQUATIONS))
    continuous: bool = _equation(False, "train on all times, and not on num_levels steps")
    beta_min: float = _equation(0.1, "beta(0) of vp and subvp", above=0)
    beta_max: float = _equation(20.0, "beta(1) of vp and subvp", above=0)

    objective: str = _training("dsm", "dsm, sliced, or sm: exact, tiny images", choices=OBJECTIVES)
    num_projections: int = _training(
        1, "random projections an image, of ssm and ssm_vr", least=1, below=2**16
    )

    likelihood_weighting: bool = _diffusion(False, "weigh times for the likelihood, by g^2")
    reduce_mean: Switch = _diffusion(AUTO, "average an image's squares, not half their sum")

    label_dropout: float = _training(
        0.1, "share of examples without their label, if it has classes", least=0, below=1
    )
    batch_size: int = _training(128, "images a step, over all replicas", least=1, below=2**20)
    optimizer: str = _training("Adam", "one of Keras's, or Addons>NAME")
    learning_rate: float = _training(1e-3, "step size of the optimizer", above=0)
    adam_beta_1: float = _training(0.9, "beta_1 of Adam and its kin", least=0, below=1)
    adam_beta_2: float = _training(0.999, "beta_2 of Adam and its kin", least=0, below=1)
    adam_epsilon: float = _training(1e-8, "epsilon of Adam and its kin", above=0)
    ema_decay: float = _training(0.0, "decay of the averaged weights; 0 is off", least=0, below=1)
    average_ramp: bool = _training(False, "of n averages, decay at most (1 + n) / (10 + n)")
    ema_power: str = _training("", "lengths of averages for any --ema later, as 0.05,0.1")
    warmup_steps: int = _training(
        0, "updates until the step size is whole; 0 begins with it", least=0, below=2**31
    )
    gradient_clip: float = _training(0.0, "longest gradient of a step; 0 is any", least=0)
    seed: int = _training(1234, "seed of weights, data order and noise", least=0, below=2**31)
    num_steps: int = _training(200_000, "training steps", runtime=True, least=1, below=2**62)
    max_bad_steps: int = _training(
        10, "non-finite steps before giving up", runtime=True, least=1, below=2**31
    )
