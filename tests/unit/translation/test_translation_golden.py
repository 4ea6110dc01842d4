"""Golden pairs: testdata/NAME.in.yaml, objects and settings, gives testdata/NAME.out.yaml.

After a change that is meant, write the outputs anew and read the difference:

    ARGOSY_UPDATE_GOLDEN=1 .venv/bin/pytest tests/unit/translation/test_translation_golden.py
"""

import os
from pathlib import Path

import pytest

from argosy.decide.translation.translate import translate
from harness.translation_inputs import TESTDATA, dumped, read_input

NAMES = sorted(path.name.removesuffix(".in.yaml") for path in TESTDATA.glob("*.in.yaml"))
NOW = "2026-06-01T00:00:00Z"


@pytest.mark.parametrize("name", NAMES)
def test_translation_gives_the_golden_output(name: str) -> None:
    case = read_input(name)
    output = dumped(translate(case.observed, case.settings, case.proxies, NOW))
    golden = TESTDATA / f"{name}.out.yaml"
    if os.environ.get("ARGOSY_UPDATE_GOLDEN"):
        golden.write_text(output)
    assert output == golden.read_text()


def test_every_golden_output_has_its_input() -> None:
    assert sorted(path.name.removesuffix(".out.yaml") for path in Path(TESTDATA).glob("*.out.yaml")) == NAMES
