"""The pictures of the toy experiments: scores, their error, samples."""

import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from PIL import Image

from ncsn_tf.files import write_atomically
from ncsn_tf.toy.densities import GaussianMixture
from ncsn_tf.toy.mixture import DATA_MASS, EXTENT, data_threshold, mode_weights, plane

_DPI = 80
_POINTS = 100  # a side, of density and error
_ARROWS = 20  # a side, of score fields


def save_scores(
    path: str | os.PathLike, density: GaussianMixture, score_fn: Callable[[np.ndarray], tf.Tensor]
) -> None:
    """True scores, estimated scores and the size of their difference, side by side.

    Args:
        path: of the PNG.
        density: a mixture in the plane.
        score_fn: x float32 [B, 2] -> the estimated score, [B, 2].
    """
    figure, axes = _figure(3, "Scores estimated from data: right only where there are data")
    arrows = plane(_ARROWS)
    fields = [("true scores", density.score(arrows)), ("estimated scores", score_fn(arrows))]
    # One scale for both fields.
    longest = np.linalg.norm(fields[0][1], axis=1).max()
    for axis, (title, field) in zip(axes, fields, strict=False):
        _show_density(axis, density)
        field = np.asarray(field)
        axis.quiver(*arrows.T, *field.T, color="black", width=0.004, scale=10 * longest)
        axis.set_title(title)

    x = plane(_POINTS)
    error = np.linalg.norm(np.asarray(score_fn(x)) - density.score(x).numpy(), axis=1)
    norm = LogNorm(*np.quantile(error, [0.01, 1.0]))
    picture = axes[2].imshow(_square(error), extent=_EXTENT, origin="lower", norm=norm)
    axes[2].contour(
        _square(density.log_prob(x).numpy()),
        levels=[data_threshold(density)],
        extent=_EXTENT,
        colors="white",
        linestyles="solid",
    )
    axes[2].set_title(f"error (inside the lines: {DATA_MASS:.0%} of the data)")
    figure.colorbar(picture, ax=axes[2], shrink=0.82, label="length of the difference")
    _save(figure, path)


def save_samples(
    path: str | os.PathLike,
    density: GaussianMixture,
    panels: Sequence[tuple[str, tf.Tensor, float]],
    heading: str,
) -> None:
    """Samples side by side, each with the share of its points that belongs to each mode.

    Args:
        path: of the PNG.
        density: a mixture in the plane.
        panels: (title, x [B, 2], sigma of x's density) for each.
        heading: the title above them.
    """
    figure, axes = _figure(len(panels), heading)
    for axis, (title, x, sigma) in zip(axes, panels, strict=True):
        axis.scatter(*np.asarray(x).T, s=3, color="#1f5fa8", linewidths=0)
        axis.set_title(title)
        weights = mode_weights(density, x, sigma)
        for mean, share in zip(density.means.numpy(), weights, strict=True):
            # On the side of the centre, where few points hide it.
            axis.text(*(0.25 * mean), f"{share:.0%}", ha="center", va="center", fontsize=16)
    _save(figure, path)


_EXTENT = (-EXTENT, EXTENT, -EXTENT, EXTENT)


def _figure(num_panels, heading):
    figure = Figure(figsize=(4.6 * num_panels, 5.0), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.12, w_pad=0.12)
    figure.suptitle(heading, fontsize=13)
    axes = figure.subplots(1, num_panels)
    for axis in axes:
        axis.set(xlim=_EXTENT[:2], ylim=_EXTENT[2:], aspect="equal")
    return figure, axes


def _show_density(axis, density):
    values = np.exp(density.log_prob(plane(_POINTS)).numpy())
    levels = np.linspace(0.0, values.max(), 10)
    axis.contourf(_square(values), levels, extent=_EXTENT, cmap="Blues")


def _square(values):
    """Values at the points of `plane` as rows and columns."""
    side = round(len(values) ** 0.5)
    return values.reshape(side, side)


def _save(figure, path):
    """Write a PNG of 256 colours: a third of the size of one of all colours."""
    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = (
        Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256, kmeans=1)
    )
    write_atomically(path, lambda file: picture.save(file, format="PNG", optimize=True))
