"""`ncsn evaluate --sweep`: which value of a chain's setting, or guidance, has the best figure."""

import dataclasses
import shlex
from collections.abc import Callable, Mapping

import tensorflow as tf

from ncsn_tf.errors import ConfigError, UserError, inform
from ncsn_tf.evaluation.quality.figure import Figure
from ncsn_tf.evaluation.quality.history import append
from ncsn_tf.evaluation.quality.online import DivergedError
from ncsn_tf.evaluation.tuning.bench import Bench
from ncsn_tf.evaluation.tuning.record import Trials, weights_digest
from ncsn_tf.evaluation.tuning.table import best_of, save_plot, table
from ncsn_tf.files import check_place, hold
from ncsn_tf.sampling.samplers import SAMPLERS
from ncsn_tf.settings.chain import change_chain
from ncsn_tf.settings.class_flags import GUIDANCE
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.labels import EACH
from ncsn_tf.settings.options import show
from ncsn_tf.settings.sampler_choice import tell_choice
from ncsn_tf.settings.sweep import Sweep
from ncsn_tf.training.checkpoints import Run
from ncsn_tf.training.run_sampler import (
    chain_of,
    chain_settings,
    goes_by_equation,
    sampler_of,
)

# What the table of samplers calls these settings.
_GUIDANCE = "guidance"
_NAMES = {"ode_tolerance": "rtol", "ode_rtol": "rtol", "ode_atol": "atol"}


def sweep_chain(
    run: Run,
    sweep: Sweep,
    make_bench: Callable[[], Bench],
    strategy: tf.distribute.Strategy,
    *,
    chain: Mapping[str, object],
    say: Callable[[str], object] = print,
) -> dict[str, list[Figure]]:
    """Draw and measure with each value of a sweep; say, write and plot the figures.

    Every value has the same seeds. What was measured is in <run>/evaluation/sweep-NAME-DIGEST.json,
    from which the same command goes on; beside it is a plot. The figures go to metrics.jsonl too,
    with the sweep among their details.

    Args:
        run: the run.
        sweep: the setting and its values.
        make_bench: called once the values are known to be possible.
        strategy: under which the run was opened.
        chain: other settings of the chain that replace the run's, see `change_chain`.
        say: called with each line.

    Returns:
        {value in words: its figures, [] where the chains diverged}.

    Raises:
        ConfigError: a setting that the sampler does not have, or a value that it cannot have.
        UserError: all chains diverged, or a place cannot be written.
    """
    configs = {str(value): _config(run.config, sweep, value, chain) for value in sweep.values}
    guidances = {str(value): value for value in sweep.values if sweep.name == _GUIDANCE}
    tell_choice(chain, next(iter(configs.values())))
    bench = make_bench()
    others = chain_settings(next(iter(configs.values())))
    changed = {sweep.name, "evaluations"}
    if sweep.name == "step_lr":
        changed.add("cas_step_lr")
    settings = {
        **bench.about(),
        "step": run.step,
        "weights": weights_digest(run),
        "chain": {name: value for name, value in others.items() if name not in changed},
    }
    trials = Trials(run.run_dir, f"sweep-{sweep.name}", settings)
    check_place(trials.path)
    lock = trials.path.with_name(f"{trials.path.name}.lock")
    with hold(lock, f"{trials.path} is being written", "let it end"):
        drawn_with = sampler = None
        for value, config in configs.items():
            if value in trials.tried:
                inform(f"{show(sweep.name, value)} is measured already, in {trials.path}")
                continue
            try:
                if config != drawn_with:  # one of guidance draws with one sampler
                    with strategy.scope():
                        drawn_with, sampler = config, sampler_of(run.network, config)
                given = (sampler, guidances.get(value))
                found = bench(run.network, config, run.step, run.is_average, *given)
            except DivergedError:
                found = []
            noted = [_noted(figure, sweep.name, value) for figure in found]
            if noted:
                append(run.run_dir, noted)
            trials.add(value, noted)
            said = ", ".join(map(str, noted)) or "the chains diverged"
            inform(f"{show(sweep.name, value)}: {said}")
    tried = {value: trials.tried[value] for value in configs}
    for line in table(sweep.name, tried):
        say(line)
    _conclude(sweep, tried, {**chain, **_classes(bench, sweep)}, trials, say)
    return tried


def _config(config, sweep, value, chain):
    """The settings of one value; a ConfigError where the chain cannot have it."""
    if sweep.name == _GUIDANCE:
        if not config.class_names:
            raise ConfigError(
                "--sweep=guidance=... needs a network that was trained with --class_conditional: "
                "this run knows no classes"
            )
        return change_chain(config, **chain)
    config = change_chain(config, **{**chain, sweep.name: value})
    if not _has(config, sweep.name):
        raise ConfigError(
            f"--sweep={sweep.name}=...: {show('sampler', config.sampler)} has no such setting; "
            "another one is chosen by --sampler"
        )
    try:
        chain_of(config)
    except ConfigError as error:
        raise ConfigError(f"--sweep={sweep.name}=...: {error}") from None
    return config


def _has(config: Config, name: str) -> bool:
    """Whether a setting changes anything of the run's sampler."""
    kind = SAMPLERS[config.sampler]
    if name == "step_lr":
        return kind.step_lr is not None
    if name == "num_steps_each":
        # The flow's solver chooses its steps, an equation has its own, and solvers of few steps
        # have a number of evaluations instead.
        has_another = {"rtol", "num_evaluations"} & set(kind.settings)
        return not has_another and not goes_by_equation(config)
    return name == "sampling_tile" or _NAMES.get(name, name) in kind.settings


def _noted(figure, name, value):
    """A figure of a sweep: it is no point of a curve over training."""
    return dataclasses.replace(figure, details={**figure.details, "sweep": f"{name}={value}"})


def _classes(bench, sweep):
    """The classes that were drawn, as flags of sample.py, where they are not its own."""
    labels = bench.labels
    if labels is None:
        return {}
    pairs = zip(labels.classes, labels.names, strict=True)
    some = ",".join(str(number) if "," in name else name for number, name in pairs)
    label = EACH if labels.are_each else some
    is_usual = sweep.name != _GUIDANCE and labels.guidance == GUIDANCE
    return {"label": label, **({} if is_usual else {"guidance": labels.guidance})}


def _conclude(sweep, tried, chain, trials, say):
    """The best value, as flags, and where the curve is."""
    best = best_of(tried)
    if best is None:
        raise UserError(
            f"the chains diverged with every value of {sweep.name}: try other ones, or a network "
            "that was trained for longer"
        )
    given = {name: value for name, value in chain.items() if value is not None}
    values = {**given, sweep.name: best}
    flags = shlex.join(show(name, value) for name, value in values.items())
    say(f"Best: {flags}  ({tried[best][0]})")
    ends = {str(value) for value in (min(sweep.values), max(sweep.values))}
    if len(tried) > 2 and best in ends:
        say("It is at an end of the values: a better one may lie beyond")
    plot = trials.path.with_suffix(".png")
    curve = {value: tried[str(value)] for value in sweep.values if tried[str(value)]}
    save_plot(plot, sweep.name, curve, sweep.by_ratio)
    say(f"Wrote {trials.path} and {plot}")
