"""The flags that change the chain of a trained network: of sample.py and of the export."""

import dataclasses
from typing import Optional

from ncsn_tf.config import Config
from ncsn_tf.options import option


def _setting(name, **bounds):
    """A flag that overrides the run's setting of that name."""
    (field,) = (field for field in dataclasses.fields(Config) if field.name == name)
    about = {key: field.metadata[key] for key in ("help", "choices", "least", "above", "below")}
    return option(None, group="chain (empty is the run's)", **{**about, **bounds})


@dataclasses.dataclass(frozen=True)
class ChainOptions:
    """Settings of a chain, None where the run's own is kept."""

    # `Optional[X]`, which the flag parser reads, and not `X | None`.
    sampler: Optional[str] = _setting("sampler")  # noqa: UP045
    step_lr: Optional[float] = _setting(  # noqa: UP045
        "step_lr",
        help="step size of ald or cas at the smallest noise level; each has its own in the run",
    )
    num_steps_each: Optional[int] = _setting("num_steps_each", below=2**31)  # noqa: UP045
    denoise: Optional[bool] = _setting("denoise")  # noqa: UP045
    snr: Optional[float] = _setting("snr")  # noqa: UP045
    corrector_steps: Optional[int] = _setting("corrector_steps")  # noqa: UP045
    predictor: Optional[str] = _setting("predictor")  # noqa: UP045
    corrector: Optional[str] = _setting("corrector")  # noqa: UP045
    ode_tolerance: Optional[float] = _setting("ode_tolerance")  # noqa: UP045
    ode_rtol: Optional[float] = _setting("ode_rtol")  # noqa: UP045
    ode_atol: Optional[float] = _setting("ode_atol")  # noqa: UP045
    sampling_tile: Optional[int] = _setting("sampling_tile")  # noqa: UP045

    def chain(self, config):
        """The run's `Config` with the settings that were given; a step size is the sampler's."""
        given = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(ChainOptions)
            if getattr(self, field.name) is not None
        }
        if given.get("sampler", config.sampler) == "cas" and "step_lr" in given:
            given["cas_step_lr"] = given.pop("step_lr")
        return dataclasses.replace(config, **given)


CHAIN_SETTINGS = tuple(field.name for field in dataclasses.fields(ChainOptions))
