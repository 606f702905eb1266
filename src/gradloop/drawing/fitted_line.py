"""A fitted line and its data as a picture."""

from __future__ import annotations

import io

import numpy as np

Points = tuple[np.ndarray, np.ndarray]  # x [N, 1] and y [N, 1]


def draw_fitted_line(data: dict[str, Points], line: Points) -> bytes:
    """Return a PNG: the points of each part of the data, and the network's outputs over x."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for part, (x, y) in data.items():
        axes.scatter(x, y, marker="o" if part == "train" else "x", label=f"{part} data")
    axes.plot(*line, color="#ee6677", label="fit")
    axes.set(xlabel="x", ylabel="y", title="data and fit")
    axes.legend(frameon=False)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()
