"""Every kind of object that Argosy knows, and a kind by its name on the wire."""

from typing import Final

from argosy.api.extensions import CustomResourceDefinition
from argosy.api.gateway import Gateway, GatewayClass, HTTPRoute
from argosy.api.inference import InferenceModelRewrite, InferencePool, OlderInferenceModelRewrite
from argosy.api.kubernetes import Deployment, Namespace, Pod, Service, ServiceAccount
from argosy.api.llmservice import LLMService
from argosy.api.objects import Object
from argosy.api.policy import NetworkPolicy, PodDisruptionBudget
from argosy.api.rbac import ClusterRole, ClusterRoleBinding, Role, RoleBinding

INSTALLED_KINDS: Final[tuple[type[Object], ...]] = (
    CustomResourceDefinition,
    ClusterRole,
    ClusterRoleBinding,
    Role,
    RoleBinding,
)
"""Those that an installation on a cluster has besides, and a laptop's store has no use for."""
KINDS: Final[tuple[type[Object], ...]] = (
    Namespace,
    ServiceAccount,
    Service,
    Pod,
    Deployment,
    PodDisruptionBudget,
    NetworkPolicy,
    GatewayClass,
    Gateway,
    HTTPRoute,
    InferencePool,
    LLMService,
)
OPTIONAL_KINDS: Final[tuple[type[Object], ...]] = (InferenceModelRewrite, OlderInferenceModelRewrite)
"""Those of others that a cluster may have: they are read where they are, and never made by us."""

_BY_NAME: Final = {(kind.API_VERSION, kind.KIND): kind for kind in (*KINDS, *INSTALLED_KINDS, *OPTIONAL_KINDS)}


def kind_named(api_version: str, kind: str) -> type[Object] | None:
    """Give the class of `apiVersion` and `kind`, or None when Argosy does not know it."""
    return _BY_NAME.get((api_version, kind))
