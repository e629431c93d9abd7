"""A `tidegate dev` for all tests: the real binary, in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[3]

POLICY = """\
id: python
revision: 1
derivers:
  - { tag: large, topics: ["job.demo.pay"], field: /amount, test: gt, value: 100 }
rules:
  - { id: demo, match: { topics: ["job.demo.>"] }, decision: allow, reason: demo jobs may run }
  - id: not-so-much
    tier: job
    match: { topics: ["job.demo.pay"], risk_tags: [large] }
    decision: deny
    reason: too much
    remediations: [{ id: less, replacement_topic: job.demo.draft }]
  - id: ask
    tier: job
    match: { topics: ["job.demo.ask"] }
    decision: require_approval
    approval: { quorum: 1, ttl: 1h, on_timeout: deny }
    reason: somebody must look at it
  - id: short
    tier: job
    match: { topics: ["job.demo.short"] }
    decision: allow_with_constraints
    constraints: { budgets: { max_runtime_ms: 300 } }
    reason: not for long
"""

CAPABILITIES = [
    "greet", "count", "fail", "bytes", "slow", "stubborn", "drained", "pay", "pay-async", "approve", "unserved", "nan", "again", "tell", "outer", "inner",
    "nest", "nest-async", "repeated", "plan", "look", "lead", "follow", "sort", "leave",
]  # fmt: skip


@dataclass
class Dev:
    binary: Path
    data: Path
    url: str

    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
        return {**own, "TIDEGATE_DATA": str(self.data)}

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.binary, *arguments], env=self.environment(), cwd=self.data, capture_output=True, text=True, timeout=60
        )


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    binary = Path(os.environ.get("TIDEGATE_BINARY", ROOT / "target/debug/tidegate"))
    if not binary.exists():
        pytest.fail(f"{binary} is not there: build it with `cargo build -p tidegate-cli`, or name it in TIDEGATE_BINARY")
    home = tmp_path_factory.mktemp("dev")
    (home / "policy").mkdir()
    (home / "policy/python.yaml").write_text(POLICY)
    # Chains of jobs in these tests are longer than most.
    pool = json.dumps({"name": "default", "capabilities": CAPABILITIES})
    (home / "tidegate.yaml").write_text(f"pools: [{pool}]\ntickets: {{ max_depth: 64 }}\n")
    data = home / "data"
    command: list[str | Path] = [binary, "--config", home / "tidegate.yaml", "dev", "--data", data]
    command.extend(["--policy", home / "policy", "--listen", "127.0.0.1:0"])
    running = Dev(binary, data, "")
    with (home / "dev.log").open("w") as log:
        process = subprocess.Popen(command, env=running.environment(), cwd=home, stdout=subprocess.DEVNULL, stderr=log)
    try:
        until = time.monotonic() + 60
        address = data / "address"
        while not running.url:
            if process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"`tidegate dev` does not start:\n{(home / 'dev.log').read_text()}")
            try:
                url = address.read_text().strip()
                running.url = url if httpx.get(f"{url}/readyz").status_code == 200 else ""
            except (OSError, httpx.HTTPError):
                time.sleep(0.05)
        yield running
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(autouse=True)
def _at_dev(dev: Dev, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TIDEGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TIDEGATE_DATA", str(dev.data))
