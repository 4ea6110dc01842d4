"""What all pods of Argosy have in common."""

from typing import Final

from argosy.api.kubernetes import EnvVar, EnvVarSource, FieldRef, SecurityContext

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
POD_IP: Final = EnvVar(name="POD_IP", value_from=EnvVarSource(field_ref=FieldRef(field_path="status.podIP")))
