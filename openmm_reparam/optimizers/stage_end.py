"""What a stage ends with."""

from __future__ import annotations

__all__ = ["StageEnd"]


class StageEnd(Exception):  # noqa: N818 - an end, not an error
    """Ends a stage; the message says why."""
