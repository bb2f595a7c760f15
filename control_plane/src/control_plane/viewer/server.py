"""Serves the page: on loopback in clear, beyond it over TLS to who shows a token. Asks nobody else."""

import os
import signal
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from control_plane.serving.tokens import TokenFile
from control_plane.serving.window_file import FILE_BYTES_MAX
from control_plane.viewer.style import CSS
from shared.errors import ConfigError
from shared.listen import is_loopback, listener, parse_endpoint

OPTION = "--listen"
STOP_DEADLINE_S = 3  # for open pages, when the viewer is told to end
UPLOAD_BYTES_MAX = 2 * FILE_BYTES_MAX  # what is between is refused in our own words
KEPT_S = 3600  # of an uploaded file; looked for as often

# Whatever the libraries of the page would like to fetch, the browser asks this server alone.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self'; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")

App = Callable[[Any, Any, Any], Awaitable[None]]


class ViewerSettings(NamedTuple):
    """Where it listens (HOST:PORT), and what it shows and asks for beyond loopback."""

    listen: str
    certificate: Path | None = None
    key: Path | None = None
    tokens: Path | None = None

    def check(self) -> None:
        """ConfigError where anybody on the network could use it."""
        missing = [
            option
            for option, given in (
                ("--tls-certificate", self.certificate), ("--tls-key", self.key), ("--tokens", self.tokens),
            )
            if given is None
        ]  # fmt: skip
        beyond = not is_loopback(parse_endpoint(self.listen, OPTION)[0])
        if missing and (beyond or self.certificate or self.key):
            raise ConfigError(OPTION, [
                f"found {self.listen!r}; beyond loopback the viewer speaks TLS to who shows a token: "
                f"give {', '.join(missing)}"
            ])  # fmt: skip


def serve(blocks: Callable[[], Any], settings: ViewerSettings, say: Callable[[str], None]) -> None:
    """Serve the page that `blocks` makes until SIGTERM or Ctrl-C; ConfigError when it may or can not."""
    import uvicorn

    settings.check()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(
            number, _end
        )  # uvicorn gives it back when it has stopped; the default would leave the folder
    tls, tokens = settings.certificate is not None, _tokens(settings)
    with (
        listener(settings.listen, OPTION, tls=tls) as taken,
        tempfile.TemporaryDirectory(prefix="pm-viewer-") as folder,
    ):
        os.environ["GRADIO_TEMP_DIR"] = folder  # uploads end with the viewer
        app = guarded(_mounted(blocks(), tokens), own_hosts=not tls)
        config = uvicorn.Config(
            app, log_level="warning", timeout_graceful_shutdown=STOP_DEADLINE_S, server_header=False,
            ssl_certfile=settings.certificate, ssl_keyfile=settings.key,
        )  # fmt: skip
        say(f"viewer  {'https' if tls else 'http'}://{settings.listen}/")
        uvicorn.Server(config).run(sockets=[taken])


def _end(*_: object) -> NoReturn:
    raise SystemExit(0)


def _tokens(settings: ViewerSettings) -> TokenFile | None:
    if settings.tokens is None:
        return None
    found = TokenFile(settings.tokens)
    found.read()
    return found


def _mounted(blocks: Any, tokens: TokenFile | None) -> Any:
    import gradio as gr
    from fastapi import FastAPI

    blocks.delete_cache = (KEPT_S, KEPT_S)
    return gr.mount_gradio_app(
        FastAPI(openapi_url=None), blocks, path="/",
        auth=None if tokens is None else lambda _, token: tokens.holds(token),
        auth_message="Any name, and a token of `control-plane token add` as the password.",
        theme=_theme(),
        css=CSS, footer_links=[], max_file_size=UPLOAD_BYTES_MAX,
        ssr_mode=False, enable_monitoring=False, pwa=False,
    )  # fmt: skip


def _theme() -> Any:
    """System fonts, and notes that can be read: Gradio's own are grey on grey."""
    import gradio as gr

    found = gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    notes = {"block_info_text_color": "*neutral_700", "block_info_text_color_dark": "*neutral_200"}
    return found.set(**notes, block_label_text_color="*neutral_800", input_placeholder_color="*neutral_600")


def guarded(inner: App, *, own_hosts: bool) -> App:
    """`inner` with headers that keep the page to itself. With `own_hosts` it answers to loopback's names
    alone, so that no page from elsewhere reaches it under a name of its own (DNS rebinding)."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await inner(scope, receive, send)
            return
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").rsplit(":", 1)[0]
        if own_hosts and host not in _LOCAL_HOSTS:
            await _refuse(send)
            return

        async def send_more(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await inner(scope, receive, send_more)

    return app


async def _refuse(send: Any) -> None:
    text = b"This viewer answers on 127.0.0.1 and localhost alone.\n"
    await send({"type": "http.response.start", "status": 421, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text})
