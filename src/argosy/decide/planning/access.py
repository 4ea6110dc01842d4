"""Who the installation's processes are on a cluster, and what each may do there: exactly what it does.

Rules of this file:

- One ServiceAccount for each component, and no rights but those of its own roles.
- Everything is written by server-side apply: that takes `patch`, and `create` where the object is new. A status takes
  `patch` of the status alone.
- Leases and the Secret are named, and rights to them hold in the installation's namespace only. RBAC cannot name what
  is created with a POST; it can for an apply, which carries the name.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from argosy.api import discovery, gateway, inference, kinds, kubernetes, llmservice, policy, rbac
from argosy.api.coordination import Event, Lease
from argosy.api.names import SYSTEM_NAMESPACE
from argosy.api.objects import Object, ObjectMeta

FOLLOW: Final = ("list", "watch")
READ: Final = ("get", *FOLLOW)
APPLY: Final = ("get", "create", "patch")
WRITE: Final = (*READ, "create", "patch", "delete")
STATUS: Final = ("patch",)
PICKER_TLS: Final = "argosy-picker-tls"
"""The Secret with the pickers' certificate and the authority that has signed it."""

_ROUTED: Final = (gateway.GatewayClass, gateway.Gateway, gateway.HTTPRoute, inference.InferencePool)
_POOL_CHILDREN: Final = (kubernetes.Service, discovery.EndpointSlice)
_SERVICE_CHILDREN: Final = (
    kubernetes.ServiceAccount,
    kubernetes.Deployment,
    inference.InferencePool,
    gateway.HTTPRoute,
    policy.PodDisruptionBudget,
    policy.NetworkPolicy,
)
_PROXY_CHILDREN: Final = (
    kubernetes.ServiceAccount,
    kubernetes.Service,
    kubernetes.Deployment,
    policy.PodDisruptionBudget,
)


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """What a component may do: everywhere, and in the installation's namespace only."""

    everywhere: tuple[rbac.PolicyRule, ...]
    at_home: tuple[rbac.PolicyRule, ...] = ()


def access(rights: Rights, metadata: ObjectMeta) -> tuple[Object, ...]:
    """Give the ServiceAccount of a component, its roles and their bindings, all of its own name."""
    name = metadata.name
    of_cluster = msgspec.structs.replace(metadata, namespace=None)
    subjects = (rbac.Subject(kind=kubernetes.ServiceAccount.KIND, name=name, namespace=SYSTEM_NAMESPACE),)
    made: list[Object] = [kubernetes.ServiceAccount(metadata=metadata, automount_service_account_token=False)]
    role = rbac.RoleRef(api_group=rbac.GROUP, kind=rbac.ClusterRole.KIND, name=name)
    made.append(rbac.ClusterRole(metadata=of_cluster, rules=rights.everywhere))
    made.append(rbac.ClusterRoleBinding(metadata=of_cluster, role_ref=role, subjects=subjects))
    if rights.at_home:
        role = rbac.RoleRef(api_group=rbac.GROUP, kind=rbac.Role.KIND, name=name)
        made.append(rbac.Role(metadata=metadata, rules=rights.at_home))
        made.append(rbac.RoleBinding(metadata=metadata, role_ref=role, subjects=subjects))
    return tuple(made)


def _rules(verbs: tuple[str, ...], *of: type[Object], part: str = "", name: str = "") -> tuple[rbac.PolicyRule, ...]:
    """Give the rules for kinds, one for each API group; `part` is a subresource, `name` that of the only object."""
    by_group: dict[str, list[str]] = {}
    for kind in of:
        group = kind.API_VERSION.rpartition("/")[0]
        by_group.setdefault(group, []).append(f"{kind.PLURAL}/{part}" if part else kind.PLURAL)
    return tuple(
        rbac.PolicyRule(
            api_groups=(group,),
            resources=tuple(resources),
            verbs=verbs,
            resource_names=(name,) if name else (),
        )
        for group, resources in by_group.items()
    )


OPERATOR: Final = Rights(
    everywhere=(
        *_rules(READ, llmservice.LLMService),
        *_rules(STATUS, llmservice.LLMService, part="status"),
        *_rules(WRITE, *_POOL_CHILDREN, *_SERVICE_CHILDREN),
        *_rules(FOLLOW, kubernetes.Pod, gateway.Gateway),
        *_rules(APPLY, Event),
    ),
    at_home=(
        *_rules(APPLY, Lease, name="argosy-operator"),
        *_rules(APPLY, kubernetes.Secret, name=PICKER_TLS),
    ),
)
GATEWAY: Final = Rights(
    everywhere=(
        *_rules(READ, *_ROUTED),
        *_rules(FOLLOW, kubernetes.Pod),
        *_rules(STATUS, *_ROUTED, part="status"),
        *_rules(WRITE, *_PROXY_CHILDREN),
    ),
    at_home=_rules(APPLY, Lease, name="argosy-gateway"),
)
PICKER: Final = Rights(everywhere=_rules(FOLLOW, *_ROUTED, kubernetes.Pod, *kinds.OPTIONAL_KINDS))
RIGHTS: Final[Mapping[str, Rights]] = {"operator": OPERATOR, "gateway": GATEWAY, "picker": PICKER}
"""By component."""
