"""`python -m tests.soak run --hours 1 FOLDER`, and `python -m tests.soak report FOLDER/soak.jsonl`."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from tests.soak.report import plot, table
from tests.soak.run import Plan, soak
from tests.soak.series import read_soak
from tests.soak.verdict import verdict

WARM_UP_S = 600.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run one; ends with status 1 if it is not passed")
    run.add_argument("folder", type=Path, help="where everything goes; must not exist")
    run.add_argument("--hours", type=float, default=1.0)
    run.add_argument("--cameras", type=int, default=8)
    run.add_argument("--fault-every", type=float, default=30.0, metavar="SECONDS")
    report = commands.add_parser(
        "report", help="the verdict, the table and the chart of one, also while it runs"
    )
    report.add_argument("file", type=Path)
    report.add_argument("--plot", type=Path, help="a .png or .svg to write")
    for command in (run, report):
        command.add_argument("--warm-up", type=float, default=WARM_UP_S, metavar="SECONDS")
    options = parser.parse_args()
    if options.command == "run":
        return _run(options)
    return _report(options.file, options.warm_up, options.plot)


def _run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    plan = Plan(3600 * options.hours, cameras=options.cameras, fault_every_s=options.fault_every)
    path = soak(plan, options.folder, stop)
    return _report(path, options.warm_up, path.with_suffix(".png"))


def _report(path: Path, warm_up_s: float, chart: Path | None) -> int:
    read = read_soak(path)
    print(table(read, warm_up_s))  # noqa: T201 - this is what was asked for
    if chart is not None:
        plot(read, chart, warm_up_s)
    return 0 if all(finding.passed for finding in verdict(read, warm_up_s)) else 1


if __name__ == "__main__":
    sys.exit(main())
