"""The settings that change the chain of a trained network: in sampling and in an export."""

import dataclasses
from typing import Any

from ncsn_tf.settings.config import Config
from ncsn_tf.settings.options import check_given, option, values_of
from ncsn_tf.settings.sampler_choice import check_choice


def _setting(name, **bounds):
    """A flag that overrides the run's setting of that name."""
    (field,) = (field for field in dataclasses.fields(Config) if field.name == name)
    bounds_of_the_run = ("choices", "least", "above", "below", "given_below")
    about = {key: field.metadata[key] for key in ("help", *bounds_of_the_run)}
    return option(None, group="chain (empty is the run's)", **{**about, **bounds})


@dataclasses.dataclass(frozen=True)
class ChainOptions:
    """Settings of a chain, None where the run's own is kept."""

    sampler: str | None = _setting("sampler")
    step_lr: float | None = _setting(
        "step_lr",
        help="step size of ald or cas at the smallest noise level; each has its own in the run",
    )
    num_steps_each: int | None = _setting("num_steps_each")
    denoise: bool | None = _setting("denoise")
    snr: float | None = _setting("snr")
    corrector_steps: int | None = _setting("corrector_steps")
    predictor: str | None = _setting("predictor")
    corrector: str | None = _setting("corrector")
    probability_flow: bool | None = _setting("probability_flow")
    ode_tolerance: float | None = _setting("ode_tolerance")
    ode_rtol: float | None = _setting("ode_rtol")
    ode_atol: float | None = _setting("ode_atol")
    num_evaluations: int | None = _setting("num_evaluations")
    schedule: str | None = _setting("schedule")
    rho: float | None = _setting("rho")
    first_level_steps: int | None = _setting("first_level_steps")
    churn: float | None = _setting("churn")
    churn_min: float | None = _setting("churn_min")
    churn_max: float | None = _setting("churn_max")
    churn_noise: float | None = _setting("churn_noise")
    sampling_tile: int | None = _setting("sampling_tile")

    def chain(self, config: Config) -> Config:
        """`change_chain` with these settings."""
        return change_chain(config, **values_of(self, CHAIN_SETTINGS))


def change_chain(config: Config, **given: Any) -> Config:
    """The run's `Config` with the settings of a chain that are not None.

    Args:
        config: a `Config`.
        **given: the fields of `ChainOptions`. `step_lr` is that of the sampler that is then set;
            the sampler "auto" is decided, see `sampler_choice.tell_choice`.

    Raises:
        ConfigError: settings that cannot be, or not together.

    Example:
        >>> change_chain(Config(), num_steps_each=20, denoise=None).num_steps_each
        20
        >>> change_chain(Config(), sampler="cas", step_lr=5.6e-6).cas_step_lr
        5.6e-06
    """
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("sampler", config.sampler) == "cas" and "step_lr" in given:
        given["cas_step_lr"] = given.pop("step_lr")
    check_given(Config, given)
    check_choice(given)
    return dataclasses.replace(config, **given)


CHAIN_SETTINGS = tuple(field.name for field in dataclasses.fields(ChainOptions))
