"""charts/argosy/ is what the planning of the installation says, and its values are what its schema takes."""

import json
import runpy

import jsonschema
import yaml

from harness.laptop import ROOT

CHART = runpy.run_path(str(ROOT / "scripts" / "chart.py"))
FILES = CHART["files"]()
FOLDER = ROOT / "charts" / "argosy"


def test_the_chart_that_is_checked_in_is_what_the_code_says() -> None:
    """To make it anew: .venv/bin/python scripts/chart.py."""
    there = {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.rglob("*") if path.is_file()}
    assert there.keys() == FILES.keys()
    assert [name for name, text in FILES.items() if there[name] != text] == []


def test_its_values_as_they_come_are_taken_by_its_schema_and_every_one_has_a_comment() -> None:
    schema = json.loads(FILES["values.schema.json"])
    values = yaml.safe_load(FILES["values.yaml"])
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.Draft7Validator(schema).validate(values)
    for choice in CHART["choices"]():
        assert f"# {choice.meaning}\n" in FILES["values.yaml"]
        at = values
        for part in choice.path.split("."):
            at = at[part]
        assert at == choice.default


def test_every_value_is_used_by_a_template() -> None:
    text = "".join(text for name, text in FILES.items() if name.startswith("templates/"))
    assert [choice.path for choice in CHART["choices"]() if f".Values.{choice.path}" not in text] == []
