"""What the buttons of the page of `ncsn app` do: wishes that wait, are drawn, and are stopped.

Nothing here needs Gradio: `app_page` shows what is told.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ncsn_tf.commands.app_sources import Source, Wish, command_of, commands_of_each
from ncsn_tf.commands.failures import explanation
from ncsn_tf.data.images import grid
from ncsn_tf.generation.playing import Shown, save_painted
from ncsn_tf.generation.turns import Line

SMALLEST = 448  # pixels: smaller pictures are enlarged to be seen and painted on
MOST_WAITING = 16  # wishes, beside the one that is drawn
KEEP = object()  # what stands on the page already


class Told(NamedTuple):
    """What the page shows from now on; `KEEP` is what stood there.

    Attributes:
        picture: of all images of a wish; None is an empty place.
        said: a line of Markdown.
        command: that draws it again.
        each: the commands of single images, one a line.
    """

    picture: Image.Image | None | object = KEEP
    said: str | object = KEEP
    command: str | object = KEEP
    each: str | object = KEEP


class Wishes:
    """Those of all visitors, of which one is drawn at a time.

    Args:
        source: what they are drawn from.
        painted: folder for pictures that are painted on.
    """

    def __init__(self, source: Source, painted: str | os.PathLike) -> None:
        self._source = source
        self._painted = painted
        self._line = Line(MOST_WAITING)

    def __len__(self) -> int:
        """Those that wait or are drawn."""
        return len(self._line)

    def close(self) -> None:
        """Stop what is drawn and what waits, and begin nothing any more."""
        self._line.close()

    def stop(self, visitor: str | None) -> Told:
        """Stop all wishes of a visitor, each of which tells of it itself."""
        return Told() if self._line.stop(visitor) else Told(said="Nothing is being drawn.")

    # What the buttons do. The arguments after the visitor are what stands in a tab's fields.

    def plain(self, visitor: str | None, *asked: Any) -> Iterator[Told]:
        """Draw; the arguments are those of `_wish`, as all tabs have them."""
        return self._draw(visitor, lambda: _wish(*asked))

    def fill(self, visitor: str | None, editor: dict | None, *asked: Any) -> Iterator[Told]:
        """Fill what is painted over in an editor of Gradio."""

        def wish():
            paths = save_painted(
                self._painted,
                *_painted(editor),
                self._source.image_shape,
                self._source.crop_size,
            )
            picture, mask = map(str, paths)
            return _wish(*asked, picture=picture, mask=mask)

        return self._draw(visitor, wish)

    def between(self, visitor: str | None, seed: Any, other: Any, *asked: Any) -> Iterator[Told]:
        """Interpolate two seeds."""
        return self._draw(visitor, lambda: _wish(seed, *asked, other_seed=int(other or 0)))

    def to_paint_on(self, visitor: str | None, seed: Any) -> Iterator[Told]:
        """The image of a seed, for the editor."""
        for told in self._draw(visitor, lambda: Wish(seed=int(seed or 0))):
            is_done = told.said is not KEEP and told.said.startswith("Done")
            yield told if is_done else told._replace(picture=KEEP)

    def _draw(self, visitor: str | None, make_wish: Callable[[], Wish]) -> Iterator[Told]:
        """What is to be shown, again and again; a closed generator stops its drawing."""
        try:
            with self._line.place(visitor) as place:
                if not place.has_turn:
                    yield Told(said="Waits for its turn ...")
                if not place.wait():
                    yield Told(said="Stopped before it began.")
                    return
                wish = make_wish()
                flags = wish.flags(self._source)
                command = command_of(flags)
                yield Told(None, "Begins ...", command, "")
                drawing = self._source.drawing(flags)
                place.begin(drawing)
                each = "\n".join(commands_of_each(wish, self._source))
                for shown in drawing.shown():
                    finished = each if shown.state == "done" else ""
                    said = _said(shown, wish)
                    yield Told(_seen(shown, wish), said, command, finished)
        except Exception as error:
            line = explanation(error, "app")
            told = line or f"a mistake of the program: {error!r}"
            yield Told(said=f"**error: {as_text(told)}**")
            if line is None:
                raise


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
        return KEEP
    columns = len(shown.pictures) if wish.other_seed is not None else None
    picture = shown.pictures[0] if len(shown.pictures) == 1 else grid(shown.pictures, columns)
    picture = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    factor = max(1, -(-SMALLEST // max(picture.size)))
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)


def _said(shown: Shown, wish: Wish) -> str:
    part = f"{100 * shown.done // max(shown.total, 1)} %"
    if shown.state == "stopped":
        return f"Stopped at {part}."
    if shown.state == "stopping":
        return f"Stopping at {part} ..."
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
