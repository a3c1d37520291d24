"""The page of `ncsn app`, by Gradio: where it listens, and what stands on it."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ncsn_tf.commands.app_sources import MOST_IMAGES, Source
from ncsn_tf.commands.app_wishes import KEEP, SMALLEST, Told, Wishes, as_text
from ncsn_tf.errors import UserError
from ncsn_tf.settings.options import show

_LARGEST_FILE = "20mb"  # that can be uploaded
_MOST_EVENTS = 100  # that Gradio keeps: wishes have a line of their own, which is shorter
_NO_CLASS = "(none)"
_OWN = "(its own)"
# A page of this machine alone: the browser itself refuses what would come from another.
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob: ws: wss:; "
    "frame-ancestors 'self'"
)
_STYLE = "#picture img, #picture canvas {image-rendering: pixelated}"
_WORK = {
    "draw": "Draw",
    "complete": "Fill what is painted over",
    "between": "Interpolate two seeds",
}

_AT_ONCE = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
_IN_TURN = {
    "concurrency_limit": None,  # they wait in a line of their own
    "trigger_mode": "multiple",
    "show_progress": "hidden",
    "api_visibility": "private",
}


class _Policy:
    """Sends the policy with every answer."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope, receive, send):
        async def with_policy(message):
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"content-security-policy", _POLICY.encode()),
                ]
            await send(message)

        await self._app(scope, receive, with_policy)


class Page:
    """The page of a source.

    Args:
        source: what it draws from.
        painted: folder for pictures that are painted on.
    """

    def __init__(self, source: Source, painted: str | os.PathLike) -> None:
        self._source = source
        self._wishes = Wishes(source, painted)
        self._blocks = self._make()

    def open(self, host: str, port: int) -> str:
        """Listen; returns the address.

        Raises:
            UserError: nothing can listen there.
        """
        try:
            self._blocks.queue(max_size=_MOST_EVENTS).launch(
                server_name=host,
                server_port=port or None,
                share=False,
                quiet=True,
                show_error=True,
                prevent_thread_lock=True,
                max_file_size=_LARGEST_FILE,
                footer_links=[],
                ssr_mode=False,
                css=_STYLE,
                app_kwargs={"middleware": [Middleware(_Policy)]},
            )
        except OSError:
            raise UserError(
                f"{show('host', host)} {show('port', port)}: nothing can listen there; "
                "--port=0 takes a free one"
            ) from None
        return self._blocks.local_url

    def close(self) -> None:
        """Stop what is drawn, and listen no more."""
        self._wishes.close()
        self._blocks.close(verbose=False)

    # What stands on the page.

    def _make(self):
        source = self._source
        with gr.Blocks(
            title="ncsn app", analytics_enabled=False, delete_cache=(600, 3600)
        ) as blocks:
            gr.Markdown(f"## ncsn app\nDraws from {as_text(source.name)}")
            with gr.Row():
                with gr.Column(scale=2), gr.Tabs():
                    asked = {work: self._tab(work) for work in _WORK if source.samplers[work]}
                with gr.Column(scale=3):
                    picture = gr.Image(
                        label="Drawn",
                        format="png",
                        interactive=False,
                        elem_id="picture",
                        height=520,
                        buttons=["download", "fullscreen"],  # and none that sends it elsewhere
                    )
                    said = gr.Markdown("Nothing is drawn yet.", elem_id="said")
                    stop = gr.Button("Stop", variant="stop", elem_id="stop")
                    command = gr.Textbox(
                        label="The command that draws this again",
                        lines=2,
                        elem_id="command",
                        buttons=["copy"],
                    )
                    with gr.Accordion("The commands of single images", open=False):
                        each = gr.Textbox(show_label=False, lines=8, elem_id="each")
            if not source.shows_chain:
                gr.Markdown("A server shows no images on their way, only those that are drawn.")
            shown = {"picture": picture, "said": said, "command": command, "each": each}
            functions = {
                "draw": self._wishes.plain,
                "complete": self._wishes.fill,
                "between": self._wishes.between,
            }
            for work, (button, inputs, editor) in asked.items():
                _on_click(button, functions[work], inputs, shown)
                if editor is not None:
                    take, canvas, seed = editor
                    places = {"picture": canvas, "said": said, "command": command}
                    _on_click(take, self._wishes.to_paint_on, [seed], places)

            def stop_mine(request: gr.Request):
                return _shown(self._wishes.stop(request.session_hash).said)

            def leave(request: gr.Request):
                self._wishes.stop(request.session_hash)

            stop.click(stop_mine, None, said, **_AT_ONCE)
            blocks.unload(leave)
        return blocks

    def _tab(self, work):
        """(button, inputs, None or what puts an image into the editor) of one tab."""
        source, names, inputs, editor = self._source, self._source.samplers[work], [], None
        with gr.Tab(_WORK[work].split()[0], elem_id=f"tab-{work}"):
            if work == "complete":
                canvas = gr.ImageEditor(
                    label="Paint over what is to be filled",
                    type="pil",
                    format="png",
                    sources=("upload", "clipboard"),
                    transforms=(),
                    layers=False,
                    brush=gr.Brush(default_size=40, colors=["#ff4040"], color_mode="fixed"),
                    elem_id="canvas",
                    canvas_size=(SMALLEST, SMALLEST),
                )
                with gr.Row():
                    seed = gr.Number(0, label="Seed of the image", precision=0, elem_id="taken")
                    take = gr.Button("Draw one to paint on", elem_id="take")
                inputs, editor = [canvas], (take, canvas, seed)
            with gr.Row():
                inputs.append(gr.Number(0, label="Seed", precision=0, elem_id=f"seed-{work}"))
                if work == "between":
                    inputs.append(gr.Number(1, label="Other seed", precision=0))
                count = 16 if work == "draw" else 8 if work == "between" else 4
                inputs.append(
                    gr.Slider(
                        1, MOST_IMAGES, count, step=1, label="Images", elem_id=f"count-{work}"
                    )
                )
            with gr.Row(visible=len(names) > 1):
                choices = [(name or _OWN, name) for name in names]
                sampler = gr.Dropdown(
                    choices, value=names[0], label="Sampler", elem_id=f"sampler-{work}"
                )
            steps = gr.Number(
                0,
                precision=0,
                info="0: as the run or the model has it",
                elem_id=f"steps-{work}",
                **self._steps(names[0]),
            )
            sampler.change(lambda name: gr.update(**self._steps(name)), sampler, steps, **_AT_ONCE)
            inputs += [sampler, steps]
            if source.class_names:
                with gr.Row():
                    classes = [(_NO_CLASS, ""), *((name, name) for name in source.class_names)]
                    inputs.append(
                        gr.Dropdown(classes, value="", label="Class", elem_id=f"class-{work}")
                    )
                    inputs.append(gr.Slider(0, 10, 1.0, step=0.1, label="Guidance"))
            button = gr.Button(_WORK[work], variant="primary", elem_id=f"go-{work}")
        return button, inputs, editor

    def _steps(self, sampler):
        flag = self._source.steps_flag(sampler)
        labels = {
            "num_evaluations": "Network evaluations of an image",
            "num_steps_each": "Steps at each noise level",
        }
        return {"label": labels.get(flag, "Steps"), "visible": flag is not None}


def _on_click(
    button: gr.Button,
    function: Callable[..., Iterator[Told]],
    inputs: list,
    places: dict[str, Any],
) -> None:
    """Have a button show what a function of `Wishes` tells.

    Args:
        button: the button.
        function: of the visitor and the inputs' values.
        inputs: the page's fields.
        places: {attribute of `Told`: where it is shown}.
    """

    def tell(request: gr.Request, *values):
        for told in function(request.session_hash, *values):
            yield tuple(_shown(getattr(told, name)) for name in places)

    button.click(tell, inputs, list(places.values()), **_IN_TURN)


def _shown(news):
    return gr.skip() if news is KEEP else news
