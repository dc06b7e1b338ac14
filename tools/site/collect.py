"""Runs in a notebook's kernel, before its first cell; the cell that holds it is not in the site.

An explorer that is shown becomes a file, and what is shown is a frame with that file in it. A
figure brings a description for readers who cannot see it. All imports stand inside the functions,
so that the notebook finds its own names and no others.
"""


def _collect(folder: str, name: str, largest: int) -> None:
    """Write every panel that this kernel will show to ``folder``/``name``-1.html, -2, …

    Args:
        folder: an absolute path that ends in the folder's name within the site.
        name: the notebook's name.
        largest: bytes of frames in one file; more are reduced, and the file says so.
    """
    import html
    from itertools import count
    from pathlib import Path
    from typing import Any

    from IPython import get_ipython
    from matplotlib.figure import Figure

    from vizhelpers.view.live.panel import Panel

    numbers = count(1)

    def panel_bundle(panel: Panel) -> tuple[dict[str, Any], dict[str, Any]]:
        file = f"{name}-{next(numbers)}.html"
        panel.save_html(Path(folder) / file, largest=largest)
        address = f"{Path(folder).name}/{file}"
        bundle, _ = panel._repr_mimebundle_()
        kept = {kind: bundle[kind] for kind in ("text/plain", "image/png") if kind in bundle}
        frame = f'<iframe src="{address}" title="{html.escape(panel.title)}" loading="lazy">'
        about = {"text/html": {"page": address}, "image/png": {"alt": panel.title}}
        return {**kept, "text/html": f"{frame}</iframe>"}, about

    def figure_words(figure: Figure) -> tuple[dict[str, Any], dict[str, Any]]:
        texts = [figure.get_suptitle(), *(text.get_text() for text in figure.texts)]
        for axes in figure.axes:
            texts += [axes.get_title(), axes.get_title(loc="left")]
            texts += [text.get_text() for text in axes.texts]
        # dict: each once, in order. A figure of 64 tiles has 64 titles, often mere numbers; nobody
        # wants to hear all.
        lines = (" ".join(text.split()) for text in texts)
        words = list(dict.fromkeys(line for line in lines if line and not line.isdigit()))
        more = "; …" if len(words) > 9 else ""
        # No picture here: IPython asks the figure's own formatter for that, and keeps this text.
        return {}, {"image/png": {"alt": "; ".join(words[:9]) + more}}

    formatter = get_ipython().display_formatter.mimebundle_formatter
    formatter.for_type(Panel, panel_bundle)
    formatter.for_type(Figure, figure_words)
