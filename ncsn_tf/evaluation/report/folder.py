"""What a report reads from a run's folder: settings, curves, sample grids, evaluations."""

import base64
import contextlib
import dataclasses
import json
import math
import os
import re
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray

from ncsn_tf.errors import ConfigError, UserError
from ncsn_tf.files import shipped
from ncsn_tf.settings.config import Config
from ncsn_tf.settings.flags import parse_config
from ncsn_tf.settings.options import show_value
from ncsn_tf.settings.third_rules import is_third
from ncsn_tf.training.run_equation import ladder_of

_FLAGS = shipped("flags")
_PLACES = ("workdir", "data_dir", "cache_dir", "inception")  # where a run is, not what it is
_MOST_PICTURES = 60
_MOST_BYTES = 2e7  # of them all
_LEVEL_TAG = re.compile(r"train/loss_levels?_(\d+)(?:_to_(\d+))?")
_TIME_TAG = re.compile(r"train/loss_t_(\d\.\d+)_to_(\d\.\d+)")


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as a data: URI.

    Args:
        content: of the picture's file.
        kind: "png", "gif" or "webp".

    Example:
        >>> data_uri(b"GIF89a", "gif")
        'data:image/gif;base64,R0lGODlh'
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def configuration(config: Config) -> dict:
    """The settings of a run beside those of the experiment in flags/ that it differs from least.

    Args:
        config: the run's `Config`.

    Returns:
        {"baseline": name of the experiment, "settings": [{group, name, help, value, expected,
        changed}]}. Where flags/ has no experiment on the data set, the baseline is the defaults.
    """
    same_data = {
        name: other for name, other in _experiments().items() if other.dataset == config.dataset
    }
    if same_data:
        baseline = min(same_data, key=lambda name: len(_changed(config, same_data[name])))
        expected = same_data[baseline]
    else:
        about_data = ("dataset", "data_dir", "image_size", "channels", "crop_size")
        own = {name: getattr(config, name) for name in about_data}
        baseline, expected = "the defaults", Config(**own)
    changed = _changed(config, expected)
    settings = [
        {
            "group": field.metadata["group"],
            "name": field.name,
            "help": field.metadata["help"],
            "value": show_value(getattr(config, field.name)),
            "expected": show_value(getattr(expected, field.name)),
            "changed": field.name in changed,
        }
        for field in dataclasses.fields(config)
    ]
    return {"baseline": baseline, "settings": settings}


def _experiments():
    """{"flags/NAME.flags": Config} of the flagfiles in flags/ that are for training."""
    experiments = {}
    for path in sorted(_FLAGS.glob("*.flags")):
        with contextlib.suppress(ConfigError):  # of sample.py, say
            experiments[f"flags/{path.name}"] = parse_config(["train.py", f"--flagfile={path}"])
    return experiments


def _changed(config, expected):
    config, expected = config.settled(), expected.settled()  # a run has no "auto" any more
    return [
        field.name
        for field in dataclasses.fields(config)
        if field.name not in _PLACES
        and getattr(config, field.name) != getattr(expected, field.name)
    ]


def scalars(run_dir: str | os.PathLike) -> dict[str, tuple[list[int], list[float]]]:
    """The curves in a run's TensorBoard files: {tag: ([step, ...], [value, ...])}.

    Steps rise; of a step that a resumed run wrote again the later value counts. Values that are not
    finite are left out, and so is a half-written end of a file.
    """
    curves = {}
    for path in sorted((Path(run_dir) / "tensorboard").glob("*tfevents*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    number = float(make_ndarray(value.tensor))
                    curves.setdefault(value.tag, {})[event.step] = number
    finite = {
        tag: [(step, values[step]) for step in sorted(values) if math.isfinite(values[step])]
        for tag, values in curves.items()
    }
    return {
        tag: tuple(map(list, zip(*points, strict=True))) for tag, points in finite.items() if points
    }


def charts(curves: dict, config: Config) -> list[dict]:
    """The charts of a report: [{title, about, ramp, series: [{name, steps, values}]}].

    Args:
        curves: as from `scalars`.
        config: the run's `Config`, for its noise levels, and whether it goes by an equation.
    """
    sigmas = ladder_of(config).numpy()
    levels = sorted((int(m[1]), tag) for tag in curves if (m := _LEVEL_TAG.fullmatch(tag)))
    times = sorted((m[1], m[2], tag) for tag in curves if (m := _TIME_TAG.fullmatch(tag)))
    noises = "times of the equation" if is_third(config) else "noise levels"
    wanted = [
        (
            "Loss",
            f"the objective, averaged over {noises}; test images have the same noise each time",
            [("training", "train/loss"), ("test", "test/loss")],
        ),
        (
            "Training loss by noise level",
            "from the largest noise level to the smallest",
            [(_level_name(tag, sigmas), tag) for _, tag in levels],
        ),
        (
            "Training loss by time",
            "of the equation, from t = 1, noise, to images at t = 0",
            [(f"t = {first} to {last}", tag) for first, last, tag in reversed(times)],
        ),
        ("Gradient norm", "before the optimizer", [("gradient norm", "train/gradient_norm")]),
        (
            "Speed",
            "training images a second",
            [("images/s", "train/examples_per_second")],
        ),
    ]
    made = []
    for title, about, lines in wanted:
        series = [
            {"name": name, "steps": curves[tag][0], "values": _rounded(curves[tag][1])}
            for name, tag in lines
            if tag in curves
        ]
        if series:
            ramp = title.startswith("Training loss by")
            made.append({"title": title, "about": about, "ramp": ramp, "series": series})
    return made


def _level_name(tag, sigmas):
    first, last = _LEVEL_TAG.fullmatch(tag).groups()
    name = f"\u03c3 = {sigmas[int(first) - 1]:.3g}"
    return name if last is None else f"{name} to {sigmas[int(last) - 1]:.3g}"


def _rounded(values):
    return [float(f"{value:.6g}") for value in values]


def sample_grids(run_dir: str | os.PathLike) -> tuple[list[dict], int]:
    """The run's samples/step-*.png: [{step, uri}].

    Of many, 60 spread evenly are kept, the first and the last among them; fewer where 60 could take
    more than 20 MB.

    Returns:
        the list, and how many grids there are.
    """
    found = {}
    for path in (Path(run_dir) / "samples").glob("step-*.png"):
        if match := re.fullmatch(r"step-(\d+)", path.stem):
            found[int(match[1])] = path
    steps = sorted(found)
    chosen = steps
    if len(steps) > 2:
        largest = max(path.stat().st_size for path in found.values())
        most = max(2, min(len(steps), _MOST_PICTURES, int(_MOST_BYTES / max(largest, 1))))
        chosen = [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]
    grids = [{"step": step, "uri": data_uri(_read(found[step]), "png")} for step in chosen]
    return grids, len(steps)


def evaluations(run_dir: str | os.PathLike) -> list[dict]:
    """What evaluation/*.json of a run holds: [{name, rows: [[key, text]]}]."""
    tables = []
    for path in sorted((Path(run_dir) / "evaluation").glob("*.json")):
        try:
            rows = _rows(_shortened(json.loads(_read(path))))
        except ValueError as error:
            raise UserError(f"{path} is not valid JSON: {error}") from None
        except RecursionError:
            raise UserError(f"{path} is nested too deeply to be shown") from None
        tables.append({"name": path.stem.replace("_", " "), "rows": rows})
    return tables


def _shortened(content):
    """What a file holds; of the figures of a sweep or a ranking their names and values."""
    tried = content.get("tried") if isinstance(content, dict) else None
    if not isinstance(tried, dict) or not all(isinstance(part, list) for part in tried.values()):
        return content

    def words(figure):
        return f"{figure.get('name')} {figure.get('value')}" if isinstance(figure, dict) else "?"

    shown = {name: ", ".join(map(words, part)) or "diverged" for name, part in tried.items()}
    return {**content, "tried": shown}


def _rows(values, prefix=""):
    """Nested objects as rows of a dotted key and its value."""
    if not isinstance(values, dict):
        shown = f"{values:.6g}" if isinstance(values, float) else values
        shown = shown if isinstance(shown, str) else json.dumps(shown)
        return [[prefix or "value", shown]]
    return [
        row
        for key, value in values.items()
        for row in _rows(value, f"{prefix}.{key}" if prefix else key)
    ]


def _read(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
