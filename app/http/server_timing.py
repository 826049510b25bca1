"""The Server-Timing header of a computed reply. `app.routes.derivatives` and the fast path call it."""

from __future__ import annotations

from app.evaluation.evaluator import Answer


def server_timing(answer: Answer) -> str:
    """Return the header's value, with durations in milliseconds. Source: W3C Server Timing, section 2."""
    parse, plan, run, encode, kept = answer.timings
    phases = (
        f"parse;dur={parse * 1000:.3f}, plan;desc={'hit' if kept else 'miss'};dur={plan * 1000:.3f}, "
        f"run;dur={run * 1000:.3f}, encode;dur={encode * 1000:.3f}"
    )
    return phases if answer.elsewhere_s is None else f"{phases}, elsewhere;dur={answer.elsewhere_s * 1000:.3f}"
