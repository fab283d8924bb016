"""The page of the playground, in gradio, and its server.

serve(playground, "127.0.0.1", None)
"""

import html
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from lm_steer.analyse.evidence import Evidence
from lm_steer.demo.playground import Playground
from lm_steer.util.errors import LMSteerError, reason_of
from lm_steer.util.progress import say
from lm_steer.util.words import CORPUS

TITLE = "LM-Steer playground"
# The buttons below the sliders, and the direction in which each moves its slider.
PRESETS = {"sentiment": {"more positive": 1, "more negative": -1}, "detox": {"less toxic": 1}}
EVERYWHERE = ("0.0.0.0", "::")


def highlighted(marked: Evidence) -> str:
    """Return a text as HTML, each token marked as strongly as it argues for the style (or, in blue, against it)."""
    text, top = marked.text, max((abs(score) for score in marked.scores), default=0) or 1
    inside = {index for span in marked.spans for index in range(span.start, span.stop)}
    parts, end = [], 0
    for index, ((start, stop), score) in enumerate(zip(marked.offsets, marked.scores, strict=True)):
        colour = "214, 106, 0" if score > 0 else "0, 106, 214"
        style = f"background: rgba({colour}, {0.6 * abs(score) / top:.2f})"
        style += "; border-bottom: 2px solid" if index in inside else ""
        parts.append(html.escape(text[end:start]))
        parts.append(f'<span style="{style}" title="{score:+.2f} nats">{html.escape(text[start:stop])}</span>')
        end = stop
    spans = "".join(
        f"<li>{html.escape(marked.piece(span))}: {span.score:+.2f} nats</li>"
        for span in sorted(marked.spans, key=lambda span: -span.score)
    )
    listed = f"<ol>{spans}</ol>" if spans else "<p>Nothing in it argues for the style.</p>"
    return f'<p style="line-height: 1.8">{"".join(parts)}</p>{listed}'


def label(dimension: str) -> str:
    """Return a dimension's name on the page: `detox` for `detox.detox`."""
    steer, _, name = dimension.partition(".")
    return steer if steer == name else dimension


def build(playground: Playground) -> Any:
    """Return the page, a `gradio.Blocks`."""
    import gradio as gr

    names = playground.handle.steer.dimensions
    reach = {name: playground.reach(name) for name in names}
    styles = [name for name in names if name.split(".")[-1] != CORPUS] or list(names)
    # The model does one thing at a time; a repeated click waits for its turn.
    once: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "trigger_mode": "always_last"}
    once |= {"api_visibility": "private"}

    def errors_shown(function: Any) -> Any:
        """Show an LMSteerError as the page's own error."""

        def inner(*arguments: Any) -> Any:
            try:
                yield from function(*arguments)
            except LMSteerError as error:
                raise gr.Error(str(error), print_exception=False) from None

        return inner

    def at(values: Sequence[float]) -> dict[str, float]:
        return dict(zip(names, values, strict=True))

    @errors_shown
    def write(prompt: str, chat: bool, new_tokens: int, seed: int, *values: float) -> Iterator[tuple[str, str]]:
        yield from playground.stream(prompt, at(values), int(new_tokens), int(seed), chat=chat)

    def in_python(prompt: str, chat: bool, new_tokens: int, seed: int, *values: float) -> str:
        return playground.python(prompt, at(values), int(new_tokens), int(seed), chat=chat)

    @errors_shown
    def mark(text: str, *values: float) -> Iterator[str]:
        yield highlighted(playground.evidence(text, at(values)))

    @errors_shown
    def list_words(dimension: str) -> Iterator[list[list[str]]]:
        yield playground.words(dimension)

    def preset(name: str, side: int) -> list[float] | float:
        low, _, recommended = reach[name]
        value = recommended if side > 0 else max(low, -recommended)
        values = [value if other == name else 0.0 for other in names]
        # gradio would take a list of one as the value of the only slider.
        return values if len(values) > 1 else value

    def slider(name: str) -> Any:
        low, high, recommended = reach[name]
        value = recommended if name == styles[0] else 0.0
        return gr.Slider(low, high, value=value, label=label(name), elem_id=f"at-{names.index(name)}")

    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(
            f"# {TITLE}\n{playground.loaded.name}, with {', '.join(map(label, names))}. At 0 it is the unsteered model."
        )
        with gr.Row():
            slider_of = {name: slider(name) for name in styles}
        with gr.Row():
            buttons = [
                (gr.Button(text, size="sm"), partial(preset, name, side))
                for name in styles
                for text, side in PRESETS.get(name.split(".")[-1], {f"more {label(name)}": 1}).items()
            ]
        with gr.Accordion("Advanced", open=False):
            slider_of |= {name: slider(name) for name in names if name not in slider_of}
            with gr.Row():
                new_tokens = gr.Slider(5, 100, value=40, step=5, label="New tokens")
                seed = gr.Number(0, precision=0, label="Seed")
        sliders = [slider_of[name] for name in names]
        with gr.Tab("Continue"):
            prompt = gr.Textbox("The film was", label="Prompt", elem_id="prompt")
            template = bool(playground.loaded.tokenizer.chat_template)
            chat = gr.Checkbox(template, label="A message to be answered", visible=template, elem_id="chat")
            start = gr.Button("Continue it", variant="primary", elem_id="start")
            with gr.Row():
                plain = gr.Textbox(label="Unsteered", lines=8, elem_id="plain")
                steered = gr.Textbox(label="Steered", lines=8, elem_id="steered")
            inputs = [prompt, chat, new_tokens, seed, *sliders]
            code = gr.Code(language="python", label="The same in Python", interactive=False, elem_id="python")
            gr.on([page.load, start.click, prompt.submit], write, inputs, [plain, steered], **once)
            gr.on([page.load, *(part.change for part in inputs)], in_python, inputs, code, api_visibility="private")
            for button, values_of in buttons:
                pressed = button.click(values_of, None, sliders, api_visibility="private")
                pressed.then(write, inputs, [plain, steered], **once)
        with gr.Tab("Evidence"):
            text = gr.Textbox("A warm and funny film that nobody should miss.", label="Text", lines=3, elem_id="text")
            show = gr.Button("Show where the style is", variant="primary", elem_id="show")
            marked = gr.HTML(elem_id="marked")
            show.click(mark, [text, *sliders], marked, **once)
        if playground.handle.steer.kind == "multiply":
            with gr.Tab("Words"):
                which = gr.Dropdown(
                    [(label(name), name) for name in names], value=names[0], label="Dimension", elem_id="which"
                )
                look = gr.Button("List its words", variant="primary", elem_id="look")
                headers = ["share, %", "made likelier", "made less likely"]
                layout: dict[str, Any] = {"column_widths": ["10%", "45%", "45%"], "wrap": True, "interactive": False}
                table = gr.Dataframe(headers=headers, elem_id="words", **layout)
                look.click(list_words, which, table, **once)
    return page


def serve(playground: Playground, host: str, port: int | None) -> None:
    """Serve the page until interrupted; a port of None is the first free one from 7860."""
    import gradio as gr
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    _check_address(host, port)
    # Against DNS rebinding: another site's page may reach this machine under the site's name.
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=_names(host))]
    # The default theme loads its fonts from Google.
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    options = {"share": False, "footer_links": [], "ssr_mode": False, "theme": theme, "quiet": True}
    options |= {"app_kwargs": {"middleware": middleware}}
    page = build(playground)
    try:
        _, address, _ = page.launch(server_name=host, server_port=port, prevent_thread_lock=True, **options)
    except OSError as error:
        raise LMSteerError(f"no page can be served on {host} ({reason_of(error)}): give another --port") from None
    if host in EVERYWHERE:
        say("warning: everyone on this network can use the playground")
        address = f"http://{socket.gethostname()}:{urlsplit(address).port}/"
    say(f"the playground is at {address}: press Ctrl+C to stop it")
    page.block_thread()


def _check_address(host: str, port: int | None) -> None:
    """Raise LMSteerError unless this machine can listen there."""
    try:
        family, _, _, _, (name, _, *rest) = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
        socket.create_server((name, port or 0, *rest), family=family).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise LMSteerError(
            f"a page cannot be served on {host}:{port or 7860} ({reason_of(error)}): give another --host or --port"
        ) from None


def _names(host: str) -> list[str]:
    """Return the host names of this machine under which the page is requested when it listens on `host`."""
    names = [socket.gethostname(), socket.getfqdn()] if host in EVERYWHERE else [host]
    with suppress(OSError):
        names += socket.gethostbyname_ex(socket.gethostname())[2] if host in EVERYWHERE else []
    # Older versions of starlette cut an IPv6 address at its first colon.
    return ["localhost", "127.0.0.1", "[::1]", "::1", "[", *names]
