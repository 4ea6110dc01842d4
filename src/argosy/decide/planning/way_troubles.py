"""What is wrong on the way of a request: Gateway, Envoys, pickers, route and pool.

Sources: gateway.networking.k8s.io/v1 and inference.networking.k8s.io/v1, condition types.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import InferencePool
from argosy.api.kubernetes import Pod
from argosy.api.names import COMPONENT, CONTROLLER_NAME, GATEWAY_CLASS
from argosy.api.objects import Condition
from argosy.decide.planning.findings import Finding, condition, one_line, right, wrong
from argosy.decide.planning.pod_sentences import why_not_ready
from argosy.decide.planning.status import gateway_url

_GOOD: Final = {"Accepted": "accepted", "ResolvedRefs": "resolved", "Programmed": "programmed"}
"""Conditions that are true of what is right, with the word for it."""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """What a request passes. `on_cluster` says whether people install what is missing, or `argosy up` does."""

    gateway: Gateway | None = None
    gateway_class: GatewayClass | None = None
    system: tuple[Pod, ...] | None = ()
    """Pods of the installation; None where they may not be read."""
    route: HTTPRoute | None = None
    pool: InferencePool | None = None
    on_cluster: bool = True


def way_findings(way: Way, pods: Iterable[Pod]) -> Iterator[Finding]:
    """Go along the way from the pods outward: pool, route, Gateway, Envoys, pickers."""
    yield from _pool(way.pool, tuple(pods))
    yield from _route(way.route, way.gateway)
    yield from _gateway(way)
    if way.system is None:
        return
    install = _install(way)
    yield _component(way.system, "envoy", "wrong", so_that="no request is taken", fix=f"argosy logs gateway; {install}")
    so_that = "requests are routed without a look at loads"
    yield _component(way.system, "picker", "unclear", so_that=so_that, fix=install)
    if way.on_cluster:
        yield _component(way.system, "operator", "unclear", so_that="no change of a service is taken up", fix=install)


def _install(way: Way) -> str:
    return "argosy install" if way.on_cluster else "wait until argosy up has started"


def _pool(pool: InferencePool | None, pods: tuple[Pod, ...]) -> Iterator[Finding]:
    if pool is None:
        yield wrong(
            "There is no InferencePool for it.", "wait for the operator to make it, or see: argosy logs operator"
        )
        return
    wanted = pool.spec.selector.match_labels.items()
    chosen = [pod for pod in pods if wanted <= pod.metadata.labels.items()]
    if pods and not chosen:
        labels = ", ".join(f"{name}={value}" for name, value in sorted(wanted))
        yield wrong(f"InferencePool {pool.key} selects none of the pods (by {labels}).", "correct its spec.selector")
    for parent in pool.status.parents:
        yield from _false(parent.conditions, f"InferencePool {pool.key}")


def _route(route: HTTPRoute | None, gateway: Gateway | None) -> Iterator[Finding]:
    if route is None:
        yield wrong("There is no HTTPRoute for it.", "wait for the operator to make it, or see: argosy logs operator")
        return
    ours = [parent for parent in route.status.parents if parent.controller_name == CONTROLLER_NAME]
    if not ours:
        name = str(gateway.key) if gateway else "the Gateway"
        yield wrong(
            f"The gateway controller has not attached HTTPRoute {route.key} to {name} yet.",
            "see that it runs: argosy logs gateway; and that the route's parentRefs name the Gateway",
        )
        return
    refused = [finding for parent in ours for finding in _false(parent.conditions, f"HTTPRoute {route.key}")]
    yield from refused or [right(f"HTTPRoute {route.key} is attached.")]


def _gateway(way: Way) -> Iterator[Finding]:
    gateway = way.gateway
    install = _install(way)
    if gateway is None:
        yield wrong("There is no Gateway for it.", install)
        return
    if way.gateway_class is None and gateway.spec.gateway_class_name == GATEWAY_CLASS:
        yield wrong(f"Gateway {gateway.key} is of class {GATEWAY_CLASS}, which is not there.", install)
    programmed = condition(gateway.status.conditions, "Programmed")
    if programmed is None or programmed.status == "Unknown":
        yield wrong(f"No controller has looked at Gateway {gateway.key} yet.", "see that it runs: argosy logs gateway")
        return
    refused = list(_false(gateway.status.conditions, f"Gateway {gateway.key}"))
    for listener in gateway.status.listeners:
        refused += _false(
            tuple(each for each in listener.conditions if each.type == "Accepted"),
            f"Gateway {gateway.key}, listener {listener.name}",
        )
    url = gateway_url(gateway)
    where = f" at {url}" if url else ", without an address yet"
    yield from refused or [right(f"Gateway {gateway.key} is programmed{where}.")]


def _false(conditions: Iterable[Condition], whose: str) -> Iterator[Finding]:
    for each in conditions:
        if each.type in _GOOD and each.status == "False":
            said = one_line(each.message) or each.reason
            yield wrong(f"{whose} is not {_GOOD[each.type]}: {said}.", "correct that; the status follows by itself")


def _component(
    pods: Iterable[Pod], name: str, state: Literal["wrong", "unclear"], *, so_that: str, fix: str
) -> Finding:
    mine = sorted((pod for pod in pods if pod.metadata.labels.get(COMPONENT) == name), key=lambda pod: pod.key)
    ready = sum(pod.ready for pod in mine)
    if ready:
        return right(f"{ready} of {len(mine)} {name} pods {'is' if ready == 1 else 'are'} ready.")
    if not mine:
        return Finding(state=state, sentence=f"No {name} runs, so {so_that}.", fix=fix)
    why = f"{mine[0].metadata.name} {why_not_ready(mine[0])}"
    return Finding(state=state, sentence=f"No {name} is ready, so {so_that}: {why}.", fix=f"argosy logs {name}")
