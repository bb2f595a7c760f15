"""The page: load cycles, change values, predict, compare. Built of Gradio's blocks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from control_plane.viewer import words
from control_plane.viewer.explorer import Explorer, Result, Trouble, load_trouble
from control_plane.viewer.sources import Loaded, Sources
from control_plane.viewer.variation import AS_LOADED, Variation, changed, name_of, varied
from shared.errors import PmStackError

VARIATIONS_MAX = 8  # beside each other: more cannot be told apart in one plot
TAGS_MAX = 60  # with a field of their own; the others of a larger component stay as loaded
NAME_CHARS_MAX = 60
FORGOTTEN_AFTER_S = 3600.0  # of a page that nobody uses: bounds what its window and answers take

Parts = tuple[Any, ...]


class Page:
    """Gradio calls the methods on its threads; what somebody loaded and asked is kept for that page alone."""

    def __init__(self, sources: Sources, explorer: Explorer) -> None:
        self._sources, self._explorer = sources, explorer

    def blocks(self) -> gr.Blocks:
        """The whole page."""
        with gr.Blocks(title="pm-stack-smr viewer", analytics_enabled=False) as page:
            loaded = gr.State(None, time_to_live=FORGOTTEN_AFTER_S)
            results = gr.State([], time_to_live=FORGOTTEN_AFTER_S)
            told, answers, compared = (
                gr.HTML(render=False, elem_id=name) for name in ("told", "answers", "compared")
            )
            gr.HTML(f"<h1>What would the model say?</h1>{words.BANNER}")
            with gr.Row():
                with gr.Column(scale=4, min_width=320):
                    self._loading([loaded, results, told, answers, compared])
                    told.render()
                    self._form(loaded, results, answers, compared)
                with gr.Column(scale=7, min_width=420):
                    answers.render()
                    compared.render()
        return page

    def _loading(self, outputs: list[gr.components.Component]) -> None:
        gr.HTML("<h2>1. Load cycles</h2>")
        with gr.Tab("A component of the fleet"):
            component = gr.Dropdown(self._sources.components(), label="Component", value=None)
            gr.Button("Load its newest cycles").click(
                self.load_component, [component], outputs, api_visibility="private"
            )
        with gr.Tab("A CSV file"):
            kind = gr.Dropdown(self._sources.types(), label="Component type", value=None)
            file = gr.File(
                label="CSV: a header of tags, a row a cycle, oldest first", file_types=[".csv"], height=160
            )
            gr.Button("Load the file").click(self.load_file, [file, kind], outputs, api_visibility="private")

    def _form(self, loaded: gr.State, results: gr.State, *answers: gr.HTML) -> None:
        def form(found: Loaded | None) -> None:
            gr.HTML("<h2>2. Change values</h2>")
            if found is None:
                gr.HTML('<p class="quiet">Load cycles first; then each tag has a field here.</p>')
                return
            gr.HTML(
                '<p class="quiet">The newest value of each tag. An empty field: the sensor gave none.</p>'
            )
            fields = _fields(found)
            most = found.manifest.feature_spec.window_cycles
            cycles = gr.Slider(
                1, most, most, step=1, label="In how many of the last cycles",
                info="A changed tag is shifted there until its newest value is the given one.",
                interactive=True,
            )  # fmt: skip
            name = gr.Textbox(label="Name of the variation", placeholder="named by its changes if left empty",
                              max_length=NAME_CHARS_MAX, interactive=True)  # fmt: skip
            gr.HTML("<h2>3. Predict</h2>")
            with gr.Row():
                gr.Button("Predict", variant="primary").click(
                    self.predict, [loaded, results, name, cycles, *fields], [results, *answers],
                    api_visibility="private",
                )  # fmt: skip
                gr.Button("Start over").click(
                    lambda: ([], "", ""), None, [results, *answers], api_visibility="private"
                )

        gr.render(inputs=[loaded])(form)

    def load_component(self, key: str | None) -> Parts:
        """What is loaded, no results, what to say of it, and two empty panes."""
        if not key:
            return _nothing(Trouble("No component is chosen.", "Choose one above."))
        return _loaded(lambda: self._sources.of_component(key))

    def load_file(self, path: str | None, component_type: str | None) -> Parts:
        """As `load_component`, of an uploaded file."""
        if not path or not component_type:
            return _nothing(Trouble("A file and its component type are needed.", "Choose both above."))
        return _loaded(lambda: self._sources.of_file(Path(path), component_type))

    def predict(
        self, found: Loaded, results: Sequence[Result], name: str, cycles: float, *values: float | None
    ) -> Parts:
        """Ask about what is new; all results, the newest beside the first, and all side by side.

        What had no answer is forgotten, and asked again where it is still what the form says.
        """
        answered = [result for result in results if result.answer is not None]
        changes = changed(found.newest(), dict(zip(found.window.tags, values, strict=False)))
        asked = [] if answered else [Variation(AS_LOADED, found.window, {})]
        if changes:
            window = varied(found.window, changes, int(cycles))
            asked.append(Variation(_name(name or name_of(changes, found.tags), answered), window, changes))
        if not asked:
            gr.Warning("Change a value first: what was loaded is predicted already.")
        elif len(answered) + len(asked) > VARIATIONS_MAX:
            gr.Warning(f"There are {VARIATIONS_MAX} variations, which is all that fit: forget them first.")
            asked = []
        every = [*answered, *(self._explorer.ask(asked, found.manifest) if asked else ())]
        return every, _pair(every, found), words.comparison(every, found)


def _loaded(load: Callable[[], Loaded]) -> Parts:
    try:
        found = load()
    except PmStackError as error:
        return _nothing(load_trouble(error))
    return found, [], words.loaded(found), "", ""


def _nothing(found: Trouble) -> Parts:
    return None, [], words.trouble(found), "", ""


def _pair(results: Sequence[Result], found: Loaded) -> str:
    """The first and the newest beside each other; one trouble that both met is said once."""
    shown = [results[0], results[-1]] if len(results) > 1 else list(results)
    if len(shown) > 1 and shown[0].trouble and shown[0].trouble == shown[1].trouble:
        return words.trouble(shown[0].trouble)
    sections = "".join(f"<section>{words.answer(each, found)}</section>" for each in shown)
    return f'<div class="pair">{sections}</div>'


def _name(wanted: str, results: Sequence[Result]) -> str:
    """Another one where the name is taken."""
    wanted, taken = wanted[:NAME_CHARS_MAX], {AS_LOADED, *(result.variation.name for result in results)}
    numbered = (f"{wanted} ({n})" for n in range(2, VARIATIONS_MAX + 3))
    return next(name for name in (wanted, *numbered) if name not in taken)


def _fields(found: Loaded) -> list[gr.Number]:
    """Two beside each other."""
    tags, fields = found.window.tags[:TAGS_MAX], []
    for pair in range(0, len(tags), 2):
        with gr.Row():
            fields += [_field(tag, found) for tag in tags[pair : pair + 2]]
    return fields


def _field(tag: str, found: Loaded) -> gr.Number:
    reference = found.manifest.references.get(tag)
    return gr.Number(
        value=found.newest()[tag],
        label=words.tag_label(tag, found.tags, reference.unit if reference else ""),
        info=words.tag_info(tag, found),
        placeholder="no reading",
        interactive=True,
        min_width=140,
        elem_id=f"tag-{tag}",
    )
