"""A playground in the browser: one prompt, one slider per dimension, unsteered and steered text streamed side by side.

    lm-steer demo                                # the model and the steers of the last run, on 127.0.0.1

It shows evidence in a pasted text and the words of a steer's directions too. Nothing leaves the machine.
"""

import html
import math
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch

from lm_steer.analyse.calibrate import calibrate
from lm_steer.analyse.directions import directions
from lm_steer.analyse.evidence import Evidence, evidence
from lm_steer.core.attach import Handle
from lm_steer.core.steer import Steer, compose
from lm_steer.generation.decoder import LARGEST_LOGIT
from lm_steer.generation.nucleus import sample_tokens, tries
from lm_steer.model.chat import chat_prompt
from lm_steer.model.load import LoadedModel
from lm_steer.util.errors import LMSteerError, reason_of
from lm_steer.util.progress import say
from lm_steer.util.words import CORPUS

TITLE = "LM-Steer playground"
LIMIT = 10.0
# What the sliders' ends are measured on.
SENTENCES = (
    "The train was late again this morning, so we walked to the office along the river.",
    "I read the book over two evenings and talked about it with my sister on Sunday.",
    "The new restaurant on the corner serves soup, bread and a few dishes of the day.",
    "Nobody in the room said anything when the results were read out at the end.",
)
# What the buttons beside the sliders say, and which way they move them.
PRESETS = {"sentiment": {"more positive": 1, "more negative": -1}, "detox": {"less toxic": 1}}
EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Playground:
    """A model and the steer that sits on it; what the page does is done by these methods, without a page.

    `place` and `folders` are where they are from, as the Python that the page writes names them.
    """

    loaded: LoadedModel
    handle: Handle
    place: str = ""
    folders: Sequence[Path] = ()

    @torch.no_grad()
    def stream(
        self,
        prompt: str,
        values: Mapping[str, float],
        new_tokens: int = 40,
        seed: int = 0,
        top_p: float = 0.9,
        chat: bool = False,
    ) -> Iterator[tuple[str, str]]:
        """Yield the unsteered and the steered continuation, or with `chat` answer, a token longer each time.

        Both draw by the same random numbers, so that what differs between them is the steer's doing.
        """
        given = chat_prompt(self.loaded.tokenizer, prompt) if chat and prompt.strip() else prompt
        (ids,) = self.loaded.whole_ids([given])
        if not ids:
            raise LMSteerError("the prompt is empty: write some words")
        context = self.loaded.context
        if context and len(ids) + new_tokens > context:
            raise LMSteerError(f"{len(ids)} tokens and {new_tokens} more do not fit the model's context of {context}")
        random = np.random.default_rng(seed)
        rows = {name: [0.0, value] for name, value in values.items()}
        tokens = torch.tensor([ids, ids], device=self.loaded.device)
        texts, ended = [list(ids), list(ids)], [False, False]
        before = len(self.loaded.tokenizer.decode(ids, skip_special_tokens=True))
        cache_name, cache = self.loaded.cache_name, None
        for _ in range(new_tokens):
            # Set for this step alone: between two of them the page may be asked for something else.
            with self.handle.at(rows):
                out = self.loaded.model(input_ids=tokens, use_cache=True, **{cache_name: cache})
            logits = out.logits[:, -1]
            if not (logits.amax(-1).abs() < LARGEST_LOGIT).all():
                raise LMSteerError("the logits are not finite, or too large, at these values: choose lower ones")
            uniforms = torch.from_numpy(random.random((1, tries(top_p)))).to(tokens.device).expand(2, -1)
            drawn = sample_tokens(logits.float(), uniforms, top_p)
            cache, tokens = out[cache_name], drawn[:, None]
            for row, token in enumerate(drawn.tolist()):
                ended[row] |= token == self.loaded.tokenizer.eos_token_id
                texts[row] += [] if ended[row] else [token]
            plain, steered = (str(self.loaded.tokenizer.decode(row, skip_special_tokens=True)) for row in texts)
            yield plain[before:], steered[before:]
            if all(ended):
                return

    def reach(self, dimension: str) -> tuple[float, float, float]:
        """Return the lowest and the highest value of a dimension before quality breaks, and the recommended one."""
        try:
            curve = calibrate(self.handle.steer, self.loaded, SENTENCES, dimension)
        except LMSteerError:
            return -LIMIT, LIMIT, LIMIT / 2
        ends = ((curve.breaks(-1), curve.points[0].value), (curve.breaks(1), curve.points[-1].value))
        low, high = (last if math.isnan(broken) else broken for broken, last in ends)
        best = curve.recommended()
        low, high, best = (float(f"{value:.2g}") for value in (low, high, high / 2 if math.isnan(best) else best))
        return low, high, min(best, high)

    def python(
        self, prompt: str, values: Mapping[str, float], new_tokens: int = 40, seed: int = 0, chat: bool = False
    ) -> str:
        """Return the Python that continues a prompt at these values; its draws are others than the page's."""
        read = {steer_name(folder): f"lm_steer.Steer.from_pretrained({str(folder)!r})" for folder in self.folders}
        on_it = {dimension.partition(".")[0] for dimension in self.handle.steer.dimensions}
        steers = ", ".join(f"{name!r}: {code}" for name, code in read.items() if name in on_it)
        steer = f"lm_steer.compose({{{steers}}})" if len(read) > 1 else "".join(read.values())
        at = {name: value for name, value in values.items() if value}
        mode = ", chat=True" if chat else ""
        return (
            f"import lm_steer\n\nloaded = lm_steer.load_model({self.place!r})\nsteer = {steer}\n"
            f"texts = lm_steer.generate(\n    loaded.model, loaded.tokenizer, [{prompt!r}], steer, {at!r},\n"
            f"    samples=1, new_tokens={new_tokens}, seed={seed}{mode},\n)\nprint(texts[0][0])"
        )

    def evidence(self, text: str, values: Mapping[str, float]) -> Evidence:
        """Return where in a text the steer at these values shows."""
        if not any(values.values()):
            raise LMSteerError("every slider is at 0: move one to see evidence for it")
        return evidence(self.handle.steer, self.loaded, text, values)

    def words(self, dimension: str) -> list[list[str]]:
        """Return the first directions of a dimension: share in per cent, words raised, words lowered."""
        found = directions(self.handle.steer, self.loaded, dimension)
        return [
            [f"{100 * one.share:.1f}", *(", ".join(word for word, _ in side) for side in (one.raised, one.lowered))]
            for one in found
        ]


def last_run(results: Path, model: str = "", folders: Sequence[Path] = ()) -> tuple[str, Sequence[Path]]:
    """Return which model to load and the folders of its steers: those of the last run, or those that are named.

    Of a run it is the first seed of each steer. Raises LMSteerError where there are none.
    """
    if folders:
        if not model:
            raise LMSteerError("say which model the steer is for: --model FOLDER, or owner/name of the hub")
        return model, folders
    runs = results / "steers"
    ran = sorted(place.name for place in runs.glob("*") if (results / "models" / place.name).is_dir())
    name = Path(model).name if model else next(iter(ran), "")
    found = [min(place.glob("seed*")) for place in sorted((runs / name).glob("*")) if any(place.glob("seed*"))]
    if not name or not found:
        raise LMSteerError(f"{runs / name} holds no steers: run a study first, or give --model and --steer")
    return model or str(results / "models" / name), found


def joined(folders: Sequence[Path]) -> Steer:
    """Return one steer of several folders; one alone keeps the names of its dimensions.

    Steers of another kind than the first's do not add up and are left out.
    """
    if len(folders) == 1:
        return Steer.from_pretrained(folders[0])
    steers = {steer_name(folder): Steer.from_pretrained(folder) for folder in folders}
    kind = next(iter(steers.values())).kind
    return compose({name: steer for name, steer in steers.items() if steer.kind == kind})


def steer_name(folder: Path) -> str:
    """Name a steer by its folder, or the one above that of a seed."""
    return folder.parent.name if folder.name.startswith("seed") else folder.name


def highlighted(found: Evidence) -> str:
    """Return a text as HTML, each token as strongly marked as it argues for the style (or, in blue, against it)."""
    top = max((abs(score) for score in found.scores), default=0) or 1
    inside = {index for span in found.spans for index in range(span.start, span.stop)}
    parts, end = [], 0
    for index, ((start, stop), score) in enumerate(zip(found.offsets, found.scores, strict=True)):
        colour = "214, 106, 0" if score > 0 else "0, 106, 214"
        style = f"background: rgba({colour}, {0.6 * abs(score) / top:.2f})"
        style += "; border-bottom: 2px solid" if index in inside else ""
        parts.append(html.escape(found.text[end:start]))
        parts.append(f'<span style="{style}" title="{score:+.2f} nats">{html.escape(found.text[start:stop])}</span>')
        end = stop
    spans = "".join(
        f"<li>{html.escape(found.piece(span))}: {span.score:+.2f} nats</li>"
        for span in sorted(found.spans, key=lambda span: -span.score)
    )
    listed = f"<ol>{spans}</ol>" if spans else "<p>Nothing in it argues for the style.</p>"
    return f'<p style="line-height: 1.8">{"".join(parts)}</p>{listed}'


def label(dimension: str) -> str:
    """Name a dimension for people: `detox` for the `detox` of a steer of that name."""
    steer, _, own = dimension.partition(".")
    return steer if steer == own else dimension


def build(playground: Playground) -> Any:
    """Return the page, a `gradio.Blocks`."""
    import gradio as gr

    names = playground.handle.steer.dimensions
    reach = {name: playground.reach(name) for name in names}
    styles = [name for name in names if name.split(".")[-1] != CORPUS] or list(names)
    # One thing at a time on the one model; who asks again while it works is heard afterwards.
    once: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model", "trigger_mode": "always_last"}
    once |= {"api_visibility": "private"}

    def errors_shown(function: Any) -> Any:
        """Turn an error for people into the page's own."""

        def inner(*given: Any) -> Any:
            try:
                yield from function(*given)
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
        # A page takes a list of one output for its value.
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
            placed = {name: slider(name) for name in styles}
        with gr.Row():
            buttons = [
                (gr.Button(text, size="sm"), partial(preset, name, side))
                for name in styles
                for text, side in PRESETS.get(name.split(".")[-1], {f"more {label(name)}": 1}).items()
            ]
        with gr.Accordion("Advanced", open=False):
            placed |= {name: slider(name) for name in names if name not in placed}
            with gr.Row():
                new_tokens = gr.Slider(5, 100, value=40, step=5, label="New tokens")
                seed = gr.Number(0, precision=0, label="Seed")
        sliders = [placed[name] for name in names]
        with gr.Tab("Continue"):
            prompt = gr.Textbox("The film was", label="Prompt", elem_id="prompt")
            template = bool(playground.loaded.tokenizer.chat_template)
            chat = gr.Checkbox(template, label="A message to be answered", visible=template, elem_id="chat")
            start = gr.Button("Continue it", variant="primary", elem_id="start")
            with gr.Row():
                plain = gr.Textbox(label="Unsteered", lines=8, elem_id="plain")
                steered = gr.Textbox(label="Steered", lines=8, elem_id="steered")
            given = [prompt, chat, new_tokens, seed, *sliders]
            code = gr.Code(language="python", label="The same in Python", interactive=False, elem_id="python")
            gr.on([page.load, start.click, prompt.submit], write, given, [plain, steered], **once)
            gr.on([page.load, *(part.change for part in given)], in_python, given, code, api_visibility="private")
            for button, values_of in buttons:
                pressed = button.click(values_of, None, sliders, api_visibility="private")
                pressed.then(write, given, [plain, steered], **once)
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
    """Serve the page until it is interrupted; a port of None is the first free one from 7860."""
    import gradio as gr
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    _check_address(host, port)
    # Another site's page may reach this machine under a name of its own (DNS rebinding).
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=_names(host))]
    # The default theme asks Google for its letters.
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
    say(f"the playground is at {address} until Ctrl+C ends it")
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
    """Return the names that this machine is asked by where it listens on `host`."""
    own = [socket.gethostname(), socket.getfqdn()] if host in EVERYWHERE else [host]
    with suppress(OSError):
        own += socket.gethostbyname_ex(socket.gethostname())[2] if host in EVERYWHERE else []
    # Older versions of the check cut an address of IPv6 at its first colon.
    return ["localhost", "127.0.0.1", "[::1]", "::1", "[", *own]
