"""The first page is what it says it is."""

import re
import subprocess
import sys
from pathlib import Path

from conftest import Dev


def test_the_first_page_runs_as_it_stands_in_15_lines(dev: Dev, tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "README.md").read_text()
    found = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    program = found.group(1)
    assert len([line for line in program.splitlines() if line.strip()]) <= 15
    (tmp_path / "first.py").write_text(program)
    ran = subprocess.run(
        [sys.executable, "first.py"], cwd=tmp_path, env=dev.environment(), capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (0, "Hello, Ada!\n"), ran.stderr
