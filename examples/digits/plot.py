"""The loss of every step as a picture."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure


def save(losses: list[float], title: str, path: Path) -> None:
    """Draw the losses, on a logarithmic scale, and write them to `path` as PNG."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(range(1, len(losses) + 1), losses, linewidth=0.8)
    axes.set(title=title, xlabel="step", ylabel="cross entropy of the batch")
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=150, format="png")
