"""Let an answer's code sit a test file: a script of its own, run within walls as `python -I -S exam.py`.

It reads {"code", "tests"} and prints the share of tests that pass. pytest runs in a process of its own and its
report is read afterwards: code that ends the process, with whatever status, has passed nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

PYTEST = ("-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", "-c", "empty.ini", "--rootdir=.")


def main() -> int:
    given = json.load(sys.stdin)
    Path("answer.py").write_text(given["code"], encoding="utf-8")
    Path("test_answer.py").write_text(given["tests"], encoding="utf-8")
    Path("empty.ini").touch()
    report = Path(tempfile.mkdtemp(dir=".")) / "report.xml"
    subprocess.run(
        [sys.executable, "-I", *PYTEST, f"--junitxml={report}", "test_answer.py"],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        check=False,
    )
    sys.stdout.write(f"{share(report)}\n")
    return 0


def share(report: Path) -> float:
    """Of the tests that were not skipped; a test file that could not be read has passed none."""
    try:
        suite = next(ElementTree.parse(report).iter("testsuite"))
    except (OSError, ElementTree.ParseError, StopIteration):
        return 0.0
    tests, skipped, failures, errors = (
        int(suite.get(name, 0)) for name in ("tests", "skipped", "failures", "errors")
    )
    sat = tests - skipped
    return max(0, sat - failures - errors) / sat if sat > 0 else 0.0


if __name__ == "__main__":
    sys.exit(main())
