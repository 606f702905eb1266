"""Run the benchmarks and write their tables into README.md beside this file.

`python tests/benchmarks/run_all.py [topic …]`
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"
TOPICS = ("training_loop", "start_up", "memory", "sweep", "input_pipeline", "large_pictures", "allocator")


def write_section(topic: str, lines: list[str]) -> None:
    """Put lines between README.md's two comments that name the topic."""
    text = README.read_text()
    start, end = f"<!-- {topic} -->\n", f"<!-- end of {topic} -->\n"
    before, found, rest = text.partition(start)
    if not found or end not in rest:
        raise SystemExit(f"{README}: expected a place between {start.strip()} and {end.strip()}")
    README.write_text(f"{before}{start}{chr(10).join(lines).strip()}\n{end}{rest.partition(end)[2]}")


def main() -> None:
    for topic in sys.argv[1:] or TOPICS:
        done = subprocess.run([sys.executable, str(FOLDER / f"{topic}.py")], stdout=subprocess.PIPE, text=True)
        done.check_returncode()
        print(done.stdout, flush=True)
        write_section(topic, [line for line in done.stdout.splitlines() if not line.startswith(("{", "###"))])


if __name__ == "__main__":
    main()
