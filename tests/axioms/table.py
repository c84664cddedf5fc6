"""Writes docs/axioms.md: which explainer keeps which axiom, as the checks measure it. Run `python tests/axioms/table.py`."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import axioms

from xaibench.explaining import AXIOMS
from xaibench.problem import Explainer, Family

# Run as a script, this file sees only its own folder.
sys.path.append(str(Path(__file__).parents[1]))
import fewer

FILE = Path(__file__).parents[2] / "docs" / "axioms.md"

INTRODUCTION = """\
# Axioms

Which explainer keeps which axiom. This page is measured: `python tests/axioms/table.py` writes it, and a test fails when it differs from
what the explainers do. Features are pixels, or superpixels where a method works on these.

| axiom | meaning |
|---|---|
"""

LEGEND = """
- **claimed**: the explainer's class declares it in `claims`, and it holds on the classifiers of the check, to 1e-4 of the map's largest
  value; *on average* where random draws are right only in expectation, *in the limit* where an integral is replaced by a sum
  whose error shrinks, as it must, when the steps are multiplied by four (on a classifier with continuous derivatives).
- **holds**: it held on these classifiers, but is not claimed: there may be others that break it. Controls keep some axioms because they
  ignore the classifier.
- **violated**: at least one classifier of the check breaks it.
- **-**: the explainer explains none of the classifiers of the check.

Completeness is checked against the output's change from each reference that explainers use (black, white, the background, its mean, a
blurred image, nothing). The classifiers are small convolutional and dense networks in `tests/axioms/structures.py`: some ignore a
quarter of the image because features have no weight or because equal features, written differently, cancel out; some treat two
quarters alike, though they write them differently; one function is written in eight ways; one saturates.
"""


def cell(axiom: str, explainer: Explainer) -> str:
    found = axioms.verdict(axiom, explainer)
    if found.holds is None:
        return "-"
    if axiom not in explainer.claims:
        return "holds" if found.holds else "violated"
    if not found.holds:
        return "claimed, but violated"
    if found.holds == "in expectation":
        return "claimed, on average"
    return "claimed, in the limit" if axiom == "completeness" and axioms.quadrature_of(explainer) else "claimed"


def document() -> str:
    families = defaultdict(list)
    for name in fewer.names():
        explainer = fewer.load(name)
        families[explainer.family].append(f"| {name} | " + " | ".join(cell(axiom, explainer) for axiom in AXIOMS) + " |\n")
    text = INTRODUCTION + "".join(f"| {axiom} | {meaning} |\n" for axiom, meaning in AXIOMS.items()) + LEGEND
    for family in Family:
        if families[family]:
            header = f"| | {' | '.join(AXIOMS)} |\n|---|{'---|' * len(AXIOMS)}\n"
            text += f"\n## {family.value[0].upper()}{family.value[1:]}\n\n{header}{''.join(families[family])}"
    return text


if __name__ == "__main__":
    if set(fewer.EXTRAS) - set(fewer.names()):
        raise SystemExit(f"expected all of {fewer.EXTRAS} to be installed")
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(document())
