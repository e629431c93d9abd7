"""Where the gateway is, and with which key: given, from the environment, or from the folder of a `tidegate dev`."""

from __future__ import annotations

import os
from pathlib import Path

from ._errors import TidegateError


def _data(data: str | os.PathLike[str] | None) -> Path:
    return Path(data or os.environ.get("TIDEGATE_DATA") or ".tidegate")


def _read(path: Path, what: str, variable: str) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise TidegateError(
            f"no {what} was given, neither as an argument nor as {variable}, and {path} cannot be read: {error.strerror}; "
            "is `tidegate dev` running in this folder?"
        ) from error


def address(url: str | None, data: str | os.PathLike[str] | None) -> str:
    """The gateway's URL: `url`, `TIDEGATE_URL`, or where the `tidegate dev` of the data folder listens."""
    given = url or os.environ.get("TIDEGATE_URL")
    return (given or _read(_data(data) / "address", "URL", "TIDEGATE_URL")).rstrip("/")


def client_key(key: str | None, data: str | os.PathLike[str] | None) -> str:
    """The key of clients: `key`, `TIDEGATE_KEY`, or the file `key`."""
    return key or os.environ.get("TIDEGATE_KEY") or _read(_data(data) / "key", "key", "TIDEGATE_KEY")


def worker_key(key: str | None, data: str | os.PathLike[str] | None) -> str:
    """The key of workers: `key`, `TIDEGATE_WORKER_KEY`, or the file `worker.key`."""
    return key or os.environ.get("TIDEGATE_WORKER_KEY") or _read(_data(data) / "worker.key", "worker's key", "TIDEGATE_WORKER_KEY")
