"""docs/reference/ says what the code says, and links lead somewhere."""

import re
import runpy
from pathlib import Path

import pytest

from harness.laptop import ROOT

PAGES = runpy.run_path(str(ROOT / "scripts" / "reference.py"))["pages"]()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


@pytest.mark.parametrize("name", PAGES)
def test_the_page_that_is_checked_in_is_what_the_code_says(name: str) -> None:
    """To make it anew: .venv/bin/python scripts/reference.py."""
    assert (ROOT / "docs" / "reference" / name).read_text() == PAGES[name]


def test_every_page_of_the_reference_is_made() -> None:
    assert {path.name for path in (ROOT / "docs" / "reference").iterdir()} == set(PAGES)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
        assert (document.parent / target).exists(), target
