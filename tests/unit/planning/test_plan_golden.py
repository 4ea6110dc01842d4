"""Golden pairs: services and their place in, objects and stand-ins out. ARGOSY_UPDATE_GOLDEN=1 writes them anew."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from argosy.api.files import read_services
from argosy.api.names import SYSTEM_NAMESPACE
from argosy.api.objects import encode
from argosy.decide.planning.capabilities import CLUSTER, Capabilities, Weights
from argosy.decide.planning.installation import Installation
from argosy.decide.planning.plan import Plan, plan
from harness.schemas import check_object

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[2] / "examples"
INPUTS = sorted((HERE / "testdata").glob("*.in.yaml"))
PLACES = {"cluster": CLUSTER, "laptop": Capabilities(cpus=4, limits_memory=False, engines=frozenset({"llama.cpp"}))}


def planned(case: dict[str, Any]) -> Plan:
    content = "\n---\n".join(json.dumps(service) for service in case["services"])
    reading = read_services([("in.yaml", content.encode())] if case["services"] else [])
    assert not reading.problems
    return plan(
        reading.services,
        installation=msgspec.convert(case.get("place", {}), Installation),
        capabilities=msgspec.convert(case.get("capabilities", {}), Capabilities),
        weights=msgspec.convert(case.get("weights", {}), dict[str, Weights]),
    )


def written(made: Plan, *, installation: bool) -> Any:
    """Give a plan as plain values; the installation's own objects only where a case is about them."""
    objects = [
        encode(obj) for obj in made.objects if installation or (obj.metadata.namespace not in (None, SYSTEM_NAMESPACE))
    ]
    stand_ins = {str(key): found for key, found in made.stand_ins.items()}
    return msgspec.json.decode(msgspec.json.encode({"standIns": stand_ins, "objects": objects}))


def check_golden(file: Path, got: Any) -> None:
    if os.environ.get("ARGOSY_UPDATE_GOLDEN"):
        file.write_text(yaml.safe_dump(got, sort_keys=False, allow_unicode=True, width=120))
    assert got == yaml.safe_load(file.read_text())


@pytest.mark.parametrize("file", INPUTS, ids=lambda file: file.name.removesuffix(".in.yaml"))
def test_services_become_the_objects_that_are_written_down(file: Path) -> None:
    case = yaml.safe_load(file.read_text())
    got = written(planned(case), installation=case.get("installation", False))
    check_golden(file.with_name(file.name.replace(".in.", ".out.")), got)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_examples_are_valid_and_planned_as_written_down(file: Path, place: str) -> None:
    reading = read_services([(file.name, file.read_bytes())])
    assert not reading.problems
    got = written(plan(reading.services, capabilities=PLACES[place]), installation=False)
    check_golden(HERE / "testdata" / f"example-{file.stem}-{place}.out.yaml", got)


@pytest.mark.parametrize("file", INPUTS, ids=lambda file: file.name.removesuffix(".in.yaml"))
def test_objects_are_valid_by_the_published_schemas(file: Path) -> None:
    case = yaml.safe_load(file.read_text())
    for obj in written(planned(case), installation=True)["objects"]:
        check_object(obj)
