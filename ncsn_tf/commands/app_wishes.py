"""What the buttons of the page of `ncsn app` do: wishes that wait, are drawn, and are stopped."""

import itertools
import os
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from ncsn_tf.commands.app_sources import Source, Wish, command_of, commands_of_each
from ncsn_tf.commands.failures import explanation
from ncsn_tf.data.images import grid
from ncsn_tf.errors import UserError
from ncsn_tf.generation.playing import Drawing, Shown, save_painted

SMALLEST = 448  # pixels: smaller pictures are enlarged to be seen and painted on


class _Ticket:
    """A wish that waits or is drawn."""

    def __init__(self, visitor: str) -> None:
        self.visitor = visitor
        self.is_stopped = False
        self.drawing: Drawing | None = None

    def stop(self) -> None:
        """Stop it, whether it waits or is drawn."""
        self.is_stopped = True
        if self.drawing is not None:
            self.drawing.stop()


class Wishes:
    """Those of all visitors. One is drawn at a time, which the page's queue sees to.

    Args:
        source: what they are drawn from.
        painted: folder for pictures that are painted on.
    """

    def __init__(self, source: Source, painted: str | os.PathLike) -> None:
        self._source = source
        self._painted = painted
        self._tickets: dict[int, _Ticket] = {}
        self._numbers = itertools.count(1)

    def stop_all(self) -> None:
        """Stop what is drawn and what waits."""
        for ticket in list(self._tickets.values()):
            ticket.stop()

    # What the buttons do; Gradio tells whose request it is.

    def begin(self, request: gr.Request) -> tuple[int, str]:
        """The number of a new wish, and what is said of it."""
        number = next(self._numbers)
        self._tickets[number] = _Ticket(request.session_hash)
        return number, "Waits for its turn ..."

    def stop(self, request: gr.Request) -> str:
        """Stop all wishes of a visitor."""
        mine = [
            each for each in list(self._tickets.values()) if each.visitor == request.session_hash
        ]
        for ticket in mine:
            ticket.stop()
        return "Stopping ..." if mine else "Nothing is being drawn."

    def leave(self, request: gr.Request) -> None:
        """Stop all wishes of a visitor who is gone."""
        self.stop(request)

    def _draw(self, number: int, wish: Wish) -> Iterator[tuple]:
        """(picture, what is said of it, the command, those of single images), again and again."""
        ticket = self._tickets[number]
        try:
            flags = wish.flags(self._source)
            command = command_of(flags)
            if ticket.is_stopped:
                yield gr.skip(), "Stopped before it began.", gr.skip(), gr.skip()
                return
            yield None, "Begins ...", command, ""
            ticket.drawing = self._source.drawing(flags)
            if ticket.is_stopped:  # meanwhile
                ticket.drawing.stop()
            each = "\n".join(commands_of_each(wish, self._source))
            for shown in ticket.drawing.shown():
                finished = each if shown.state == "done" else ""
                yield _seen(shown, wish), _said(shown, wish, self._source), command, finished
        except Exception as error:
            line = explanation(error, "app")
            told = line or f"a mistake of the program: {error!r}"
            yield gr.skip(), f"**error: {as_text(told)}**", gr.skip(), gr.skip()
            if line is None:
                raise
        finally:
            del self._tickets[number]

    def plain(self, number: int, *asked: Any) -> Iterator[tuple]:
        """Draw; the arguments are those of `_wish`, as all tabs have them."""
        yield from self._draw(number, _wish(*asked))

    def fill(self, number: int, editor: dict | None, *asked: Any) -> Iterator[tuple]:
        """Fill what is painted over in an editor of Gradio."""
        try:
            paths = save_painted(
                self._painted,
                *_painted(editor),
                self._source.image_shape,
                self._source.crop_size,
            )
        except UserError as error:
            del self._tickets[number]
            yield gr.skip(), f"**error: {as_text(str(error))}**", gr.skip(), gr.skip()
            return
        picture, mask = map(str, paths)
        yield from self._draw(number, _wish(*asked, picture=picture, mask=mask))

    def between(self, number: int, seed: Any, other: Any, *asked: Any) -> Iterator[tuple]:
        """Interpolate two seeds."""
        yield from self._draw(number, _wish(seed, *asked, other_seed=int(other or 0)))

    def to_paint_on(self, number: int, seed: Any) -> Iterator[tuple]:
        """The image of a seed, for the editor."""
        for picture, said, command, _ in self._draw(number, Wish(seed=int(seed or 0))):
            yield (picture if said.startswith("Done") else gr.skip()), said, command


def _wish(seed, count, sampler, steps, label="", guidance=1.0, **more):
    return Wish(
        seed=int(seed or 0),
        count=int(count or 0),
        sampler=sampler or "",
        steps=int(steps or 0) or None,
        label=str(label or ""),
        guidance=float(1.0 if guidance is None else guidance),
        **more,
    )


def _painted(editor):
    """(picture, where it is painted over) of what the editor has."""
    if not editor or editor.get("background") is None:
        return None, None
    alphas = [np.asarray(layer.convert("RGBA"))[..., 3] for layer in editor["layers"]]
    return editor["background"], np.any([alpha > 0 for alpha in alphas], axis=0) if alphas else None


def _seen(shown: Shown, wish: Wish):
    """One picture of what there is, large enough to be seen."""
    if shown.pictures is None:
        return gr.skip()
    columns = len(shown.pictures) if wish.other_seed is not None else None
    picture = shown.pictures[0] if len(shown.pictures) == 1 else grid(shown.pictures, columns)
    picture = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    factor = max(1, -(-SMALLEST // max(picture.size)))
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)


def _said(shown: Shown, wish: Wish, source: Source) -> str:
    part = f"{100 * shown.done // max(shown.total, 1)} %"
    if shown.state == "stopped":
        return f"Stopped at {part}."
    if shown.state == "drawing":
        return f"Draws: {part}"
    if wish.other_seed is not None:
        return f"Done: from seed {wish.seed} to seed {wish.other_seed}."
    last = wish.seed + wish.count - 1
    seeds = f"seed {wish.seed}" if wish.count == 1 else f"seeds {wish.seed} to {last}, row by row"
    return f"Done: {seeds}."


def as_text(line: str) -> str:
    """A line as text of Markdown."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+!|<>~&$" else c for c in line)
