"""What a running job tells: as its client sees it, and as its worker gathers it."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PIECE = 64 << 10
"""Most characters of output that are sent at once, and that wait to be."""
_GOES_ON = {"approved", "deferred", "running", "unknown", "held"}


@dataclass(frozen=True)
class Progress:
    """One sign of a running job. Best effort: what is missing of the output shows in `at`."""

    number: int
    """Among the signs of this job; what is missing was dropped."""
    attempt: int
    """The attempt that said it; a new one begins anew."""
    fraction: float | None = None
    """How far it is, 0 to 1."""
    note: str = ""
    """A line for people."""
    at: int | None = None
    """Where `output` begins in all of this attempt's, in bytes of UTF-8; `None` when there is none."""
    output: str = ""
    """A piece of what it gives back, or of what it does."""


def signs(said: Mapping[str, Any]) -> list[Progress]:
    """The signs of a gateway's answer."""
    found = []
    for one in said.get("signs") or []:
        partial: Mapping[str, Any] = one.get("partial") or {}
        found.append(
            Progress(
                number=one["number"],
                attempt=one["attempt"],
                fraction=one.get("fraction"),
                note=one.get("note", ""),
                at=partial.get("at"),
                output=partial.get("text", ""),
            )
        )
    return found


def goes_on(said: Mapping[str, Any]) -> bool:
    """Whether the job of a gateway's answer may say more."""
    return said["job"].get("state") in _GOES_ON


def finite(fraction: Any) -> float | None:
    """As a number that JSON has; `None` for what is none."""
    try:
        number = float(fraction)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def text_of(said: object) -> str:
    """As text that UTF-8 has: half a surrogate pair is replaced by U+FFFD."""
    return str(said).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Gathered:
    """What a handler said and nobody has sent yet: bounded, and safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sign: dict[str, Any] = {}
        self._pieces: list[str] = []
        self._room = _PIECE

    def progress(self, fraction: float | None, note: str) -> bool:
        """The latest counts. Whether nothing was gathered before."""
        with self._lock:
            first = self._is_empty()
            self._sign = {"fraction": fraction, "note": note}
            return first

    def output(self, text: str) -> bool:
        """What has no room is dropped. Whether nothing was gathered before."""
        with self._lock:
            first = self._is_empty()
            text = text[: self._room]
            if text:
                self._room -= len(text)
                self._pieces.append(text)
            return first and bool(text)

    def take(self) -> dict[str, Any]:
        """All of it, as a body; empty when there is nothing."""
        with self._lock:
            body = self._sign
            if self._pieces:
                body = {**body, "partial": "".join(self._pieces)}
            self._sign, self._pieces, self._room = {}, [], _PIECE
            return body

    def _is_empty(self) -> bool:
        return not self._sign and not self._pieces
