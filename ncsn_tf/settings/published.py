"""What was published of the third generation: the settings of its networks on CIFAR-10.

Source: the released code of Song et al. 2021 (arXiv:2011.13456).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ncsn_tf.backend.choices import EQUATIONS, THIRD_MODELS
from ncsn_tf.settings.options import AUTO

if TYPE_CHECKING:
    from ncsn_tf.settings.experiment import Experiment

# Network settings whose default is that of the model: these values stand for it.
_UNSET = (AUTO, 0)
_NETWORK = (
    *("multipliers", "num_res_blocks", "attention_sizes", "embedding", "block", "fir"),
    *("progressive_input", "progressive", "progressive_combine", "skip_rescale"),
    *("scale_by_sigma", "centered", "reduce_mean"),
)


def published(model: str, sde: str = AUTO, continuous: bool = False) -> dict[str, Any]:
    """The settings of a network of the third generation on CIFAR-10, as they were published.

    Those of combinations that were not are the nearest ones'.

    Args:
        model: one of `choices.THIRD_MODELS`.
        sde: one of `choices.EQUATIONS`; "auto" is ve for ncsnpp, vp for the others.
        continuous: whether it is trained on all times; subvp always is.

    Returns:
        {setting: value}, what the data set decides left out.

    Example:
        >>> settings = published("ncsnpp", "ve", continuous=True)
        >>> settings["embedding"], settings["sigma_begin"], settings["corrector"]
        ('fourier', 50.0, 'langevin')
    """
    if sde == AUTO:
        sde = "ve" if model == "ncsnpp" else "vp"
    is_ve = sde == "ve"
    return {
        "sde": sde,
        **_network(model, is_ve, continuous),
        **_training(is_ve),
        **_sampling(is_ve, continuous or sde == "subvp"),
    }


def with_published(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by name, with those that were published for a model of the third generation.

    Example:
        >>> with_published({"features": 8})
        {'features': 8}
        >>> settings = with_published({"model": "ddpmpp", "num_levels": 100})
        >>> settings["num_levels"], settings["predictor"]
        (100, 'ancestral')
    """
    model = settings.get("model")
    if model not in THIRD_MODELS:
        return settings
    sde, continuous = settings.get("sde", AUTO), settings.get("continuous") is True
    return {**published(model, sde, continuous), **settings}


def settle_network(config: Experiment) -> dict[str, Any]:
    """{setting: value} of the equation and the network, for those that are "auto" of the model.

    Nothing for the first two generations, and for a model or an equation that there is not.

    Example:
        >>> from ncsn_tf.settings.config import Config
        >>> config = Config(model="ddpmpp", continuous=True, multipliers="1,2")
        >>> config.sde, config.centered, config.multipliers
        ('vp', True, '1,2')
    """
    if config.model not in THIRD_MODELS or config.sde not in (AUTO, *EQUATIONS):
        return {}
    values = published(config.model, config.sde, config.continuous is True)
    asked = {name: getattr(config, name) for name in ("sde", *_NETWORK)}
    # By type too: false is no 0, and is somebody's choice.
    unset = {name for name, value in asked.items() if _is_unset(value)}
    return {name: values[name] for name in asked if name in unset}


def _is_unset(value):
    return any(value == unset and type(value) is type(unset) for unset in _UNSET)


def _network(model, is_ve, continuous):
    """The network, and the reduction of its loss."""
    is_first = model == "ddpm"  # the network of Ho et al.
    is_of_sigma = is_ve and continuous and not is_first
    return {
        "multipliers": "1,2,2,2",
        "num_res_blocks": 2 if is_first else 4,
        "attention_sizes": "16",
        "embedding": "fourier" if is_of_sigma else "positional",
        "block": "ddpm" if is_first else "biggan",
        "fir": model == "ncsnpp",
        "progressive_input": "residual" if model == "ncsnpp" else "none",
        "progressive": "none",
        "progressive_combine": "sum",
        "skip_rescale": not is_first,
        "scale_by_sigma": is_ve,
        "centered": not is_ve,
        "reduce_mean": not is_ve,
    }


def _training(is_ve):
    """Noise, optimizer and average."""
    sigmas = {"sigma_begin": 50.0, "sigma_end": 0.01} if is_ve else {}
    return {
        **sigmas,
        "num_levels": 1000,
        "dequantize": False,
        "dropout": 0.1,
        "batch_size": 128,
        "learning_rate": 2e-4,
        "adam_beta_1": 0.9,
        "adam_beta_2": 0.999,
        "adam_epsilon": 1e-8,
        "ema_decay": 0.999 if is_ve else 0.9999,
        "average_ramp": True,
        "warmup_steps": 5000,
        "gradient_clip": 1.0,
        "num_steps": 1_300_001,
    }


def _sampling(is_ve, continuous):
    """The chain."""
    predictor = "reverse" if is_ve else "euler" if continuous else "ancestral"
    return {
        "sampler": "pc",
        "num_steps_each": 1,
        "predictor": predictor,
        "corrector": "langevin" if is_ve else "none",
        "corrector_steps": 1,
        "snr": 0.16,
        "denoise": True,
    }
