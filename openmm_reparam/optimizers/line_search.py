"""What a descent ends with where it can go no further."""

from __future__ import annotations

__all__ = ["LineSearchError"]


class LineSearchError(RuntimeError):
    """No step along any direction tried lowers the energy: rounding has been reached."""
