"""Run measurements by name, or all of them: ``python -m benchmarks [NAME …] [options of that one]``."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks


def names() -> list[str]:
    """Return every measurement of this folder."""
    return sorted(each.name for each in pkgutil.iter_modules(benchmarks.__path__) if not each.name.startswith("_"))


def main(arguments: list[str]) -> int:
    known = names()
    chosen = [each for each in arguments if each in known]
    options = [each for each in arguments if each not in known]
    if "-h" in options and not chosen:
        print(
            f"{__doc__}\n\nMeasurements: {', '.join(known)}.\nOption --write appends the rows to benchmarks/RESULTS.md."
        )
        return 0
    for name in chosen or [each for each in known if each != "make_volume"]:
        print(f"\n# {name}", flush=True)
        importlib.import_module(f"benchmarks.{name}").main(options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
