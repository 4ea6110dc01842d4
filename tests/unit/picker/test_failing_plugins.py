"""A picker whose profile has a plugin that fails."""

import json
import logging
import random
from typing import Any

import pytest

from argosy.api.names import DECISIONS_PATH
from argosy.api.scheduling import Plugins, PluginSpec, ProfileSpec
from argosy.apps.picker.debug import documents
from argosy.apps.picker.metrics import PickerMetrics
from argosy.apps.picker.pick import Pick, RequestHead
from argosy.apps.picker.picker import Picker
from argosy.apps.picker.plugin_failures import QUIET_S, PluginFailures
from argosy.apps.picker.serve import KINDS
from argosy.apps.picker.world import world_of
from argosy.decide.scheduling.plugins import Asked, Column, Columns, Failure, Plugin
from argosy.decide.scheduling.profiles import built
from harness.profiles import DEFAULT_PROFILE, PLUGINS
from harness.services import gateway, gateway_class, service

HEADERS = {":method": "POST", ":path": "/v1/chat/completions", ":authority": "x", "x-request-id": "r"}
CHAT = b'{"model": "m", "messages": []}'


class Wild(Plugin, frozen=True, kw_only=True):
    inputs = ("requests",)

    def costs(self, _asked: Asked, _columns: Columns) -> Column:
        raise ZeroDivisionError("so")


WILD = built(
    ProfileSpec(name="mine", scorers=(PluginSpec(type="wild"),)),
    Plugins(filters={}, scorers={"wild": Wild}, pickers=PLUGINS.pickers),
)
COUNTED = {"kind": "scorer", "plugin": "wild"}


def value(metrics: PickerMetrics, name: str, labels: dict[str, str]) -> float | None:
    return metrics._registry.get_sample_value(name, labels)


def test_requests_are_picked_all_the_same_and_counted_and_given_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    metrics = PickerMetrics()
    picker = Picker(metrics, WILD, rng=random.Random(1))
    kinds: dict[type, list[Any]] = {kind: [] for kind in KINDS}
    for obj in (gateway_class(), gateway(), *service("a", ["127.1.0.1", "127.1.0.2"], model="m")):
        kinds[type(obj)].append(obj)
    picker.learn(world_of(*kinds.values()))
    picks = [picker.decide(RequestHead(headers=HEADERS), CHAT) for _ in range(6)]
    assert all(isinstance(pick, Pick) for pick in picks)
    assert len({pick.endpoints[0] for pick in picks if isinstance(pick, Pick)}) == 2
    assert value(metrics, "argosy_scheduling_failures_total", COUNTED) == 6
    said = json.loads(documents(picker)[DECISIONS_PATH]("r") or b"")
    assert said["sentence"].startswith("scorer wild failed: ZeroDivisionError: so; the default decided: 127.1.0.")
    assert said["failure"] == {**COUNTED, "why": "ZeroDivisionError: so"}
    for pick in picks:
        assert isinstance(pick, Pick)
        picker.ended(pick, answered=True)
    assert value(metrics, "argosy_reservations", {"pool": "default/a"}) == 0
    picker.use(DEFAULT_PROFILE)
    assert isinstance(picker.decide(RequestHead(headers=HEADERS), CHAT), Pick)
    assert value(metrics, "argosy_scheduling_failures_total", COUNTED) == 6


def test_of_each_plugin_one_failure_a_minute_is_told_with_how_many_there_were(caplog: pytest.LogCaptureFixture) -> None:
    failures = PluginFailures(PickerMetrics())
    times = (0.0, 1.0, 2.0, QUIET_S, QUIET_S + 1)
    for plugin in ("wild", "tame"):
        for now_s in times:
            failures.add(Failure(kind="scorer", plugin=plugin, why="so"), now_s)
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        line
        for plugin in ("wild", "tame")
        for line in (
            f"scorer {plugin} failed: so; the default decided in its place",
            f"scorer {plugin} failed: so; the default decided in its place (2 times more since this was said last)",
        )
    ]
