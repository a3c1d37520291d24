"""`ncsn app`: a page in the browser on which images are drawn while one watches."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import time

from ncsn_tf.backend import signals
from ncsn_tf.commands.app_sources import MOST_IMAGES, ServedSource
from ncsn_tf.commands.start import start_for_sampling
from ncsn_tf.errors import ConfigError, UserError, warn
from ncsn_tf.serving.transport import Address
from ncsn_tf.settings.checkpoint import NEWEST, checkpoint_option
from ncsn_tf.settings.flags import parse_options
from ncsn_tf.settings.option_paths import check_run
from ncsn_tf.settings.options import option, show, values_of
from ncsn_tf.settings.pretrained import check_pretrained, pretrained_option, pretrained_run

SUMMARY = """\
Draw in the browser: the chain as it is drawn, parts of pictures filled, two seeds interpolated:

  ncsn app --pretrained=mnist         with a trained network that is here
  ncsn app --workdir=runs/mnist       with a run's newest checkpoint, or --checkpoint
  ncsn app --server=host:8500         with TensorFlow Serving, over gRPC
  ncsn app --server=http://host:8501  with TensorFlow Serving, over REST

Needs Gradio, in an environment of its own: in a clone make .venv-app/installed, then
.venv-app/bin/ncsn app; elsewhere pip install 'ncsn_tf[app]'. Every image comes with the command of
ncsn sample that draws it again."""

_NO_GRADIO = (
    "ncsn app needs Gradio, in an environment of its own: in a clone make .venv-app/installed, "
    "then .venv-app/bin/ncsn app; elsewhere pip install 'ncsn_tf[app]' in a new environment"
)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclasses.dataclass(frozen=True)
class AppOptions:
    """The flags of `ncsn app`."""

    workdir: str = option("", "the run", "source", path=True)
    pretrained: str = pretrained_option()
    server: str = option(
        "", "draw from TensorFlow Serving: host:port (gRPC), http://host:port (REST)", "source"
    )
    checkpoint: str = checkpoint_option()
    model: str = option("ncsn", "name of the model on the server", "source")
    painted: str = option(
        "painted", "folder for pictures that are painted on, and their masks", "page", path=True
    )
    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 is every one", "page")
    port: int = option(7860, "port to listen on; 0 is a free one", "page", least=0, below=2**16)

    def validate(self) -> None:
        """Raise a ConfigError for flags that contradict each other."""
        given = [name for name in ("workdir", "pretrained", "server") if getattr(self, name)]
        if len(given) != 1:
            found = " and ".join(f"--{name}" for name in given) or "none"
            raise ConfigError(
                f"one of --workdir, --pretrained and --server must be given, not {found}"
            )
        check_pretrained(self.pretrained, self.workdir, self.checkpoint, NEWEST, True)
        if self.server:
            Address.parse(self.server)
            if self.checkpoint != NEWEST:
                raise ConfigError(
                    f"{show('checkpoint', self.checkpoint)} cannot be used with --server: its "
                    "model is what it is"
                )
            if not self.model:
                raise ConfigError("--model= must name a model of the server")
        elif self.model != AppOptions.model:
            raise ConfigError(f"{show('model', self.model)} needs --server")
        if not self.host:
            raise ConfigError("--host= must be an address of this machine")

    def source_flags(self) -> list[str]:
        """The flags of `ncsn sample` that name what is drawn from."""
        names = ("workdir", "pretrained", "server", "checkpoint", "model")
        values = values_of(self, names)
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return [show(name, value) for name, value in values.items() if value != defaults[name]]


def main(argv: list[str]) -> None:
    """Show the page until an end is asked for."""
    options = parse_options(argv, AppOptions, SUMMARY)
    options.validate()
    if options.host not in _LOOPBACK:
        warn(
            f"{show('host', options.host)} lets anyone who reaches this machine draw with it; "
            "there are no passwords"
        )
    start_gradio()
    flags = options.source_flags()
    if options.server:
        source = ServedSource(flags, options.server, options.model)
    else:
        check_run(options.workdir)
        strategy = start_for_sampling(MOST_IMAGES)
        from ncsn_tf.commands.app_runs import RunSource

        workdir = pretrained_run(options.pretrained) if options.pretrained else options.workdir
        source = RunSource(flags, workdir, options.checkpoint, strategy)
    from ncsn_tf.commands.app_page import Page

    page = Page(source, options.painted)
    try:
        with signals.outcome("closed", 0):
            address = page.open(options.host, options.port)
            print(f"Listening on {address} (Ctrl-C ends it)", flush=True)
            while True:
                signals.check()
                time.sleep(0.2)
    finally:
        page.close()


def start_gradio() -> None:
    """Have Gradio send nothing to anyone, before it is imported.

    Raises:
        UserError: it is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise UserError(_NO_GRADIO)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
