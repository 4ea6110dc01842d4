"""What all pods of Argosy have in common."""

from typing import Final

import msgspec

from argosy.api.containers import (
    EnvVar,
    EnvVarSource,
    FieldRef,
    HTTPGetAction,
    Probe,
    ResourceRequirements,
    SecurityContext,
    TCPSocketAction,
)
from argosy.api.kubernetes import LabelSelector, TopologySpreadConstraint

OWNER: Final = "argosy"
"""The value of `app.kubernetes.io/managed-by`: only objects that carry it are ever removed."""
UNPRIVILEGED: Final = SecurityContext(
    run_as_non_root=True,
    run_as_user=65532,
    read_only_root_filesystem=True,
    allow_privilege_escalation=False,
    capabilities={"drop": ("ALL",)},
    seccomp_profile={"type": "RuntimeDefault"},
)
"""What the restricted pod security standard asks for, and a root file system that nobody writes."""
LAST_WORDS: Final = "FallbackToLogsOnError"
"""How a container tells why it ended: by what it wrote last, which then shows in statuses and in `argosy why-not`."""
POD_IP: Final = EnvVar(name="POD_IP", value_from=EnvVarSource(field_ref=FieldRef(field_path="status.podIP")))
POD_NAME: Final = EnvVar(name="POD_NAME", value_from=EnvVarSource(field_ref=FieldRef(field_path="metadata.name")))
STARTUP_FAILURES: Final = 300
"""Seconds that a start may take before it counts as stuck."""
READINESS_PERIOD_S: Final = 1
"""Short, because nothing is served before the installation is ready."""
LIVENESS_PERIOD_S: Final = 5
STUCK_GRACE_S: Final = 5


def image_at(registry: str, name: str) -> str:
    """Give an image's whole name; `registry` comes before it, and is empty where images are known by name alone."""
    return f"{registry.rstrip('/')}/{name}" if registry else name


def resources(*, cpu: str, memory: str) -> ResourceRequirements:
    """Give what a component needs; a limit of CPU would only add latency, one of memory stops a leak."""
    return ResourceRequirements(requests={"cpu": cpu, "memory": memory}, limits={"memory": "1Gi"})


def answering(path: str, *, every_s: int = READINESS_PERIOD_S) -> Probe:
    """Give a probe of an HTTP path at the port `metrics`."""
    return Probe(http_get=HTTPGetAction(path=path, port="metrics"), period_seconds=every_s, timeout_seconds=2)


def listening(port: str, *, every_s: int = READINESS_PERIOD_S) -> Probe:
    """Give a probe of a port that takes connections."""
    return Probe(tcp_socket=TCPSocketAction(port=port), period_seconds=every_s, timeout_seconds=2)


def starting(probe: Probe) -> Probe:
    """Give a startup probe that is patient: a start takes minutes where many share few cores."""
    return msgspec.structs.replace(probe, failure_threshold=STARTUP_FAILURES)


def stuck(probe: Probe) -> Probe:
    """Give a liveness probe whose victim is not waited for: it would not drain."""
    return msgspec.structs.replace(probe, termination_grace_period_seconds=STUCK_GRACE_S)


def spread(selector: LabelSelector) -> tuple[TopologySpreadConstraint, ...]:
    """Spread pods evenly over nodes, as far as there is room.

    Zones are not named: a scheduler passes over every node that lacks one of the labels of a pod's constraints.
    """
    return (
        TopologySpreadConstraint(
            max_skew=1,
            topology_key="kubernetes.io/hostname",
            when_unsatisfiable="ScheduleAnyway",
            label_selector=selector,
        ),
    )
