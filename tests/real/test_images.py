"""An image as it is shipped: built from the locks, started as its own user on a root that nobody writes."""

import contextlib
import http.client
import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from argosy import __version__
from argosy.api.names import METRICS_PORT, PICKER_PORT
from harness import images
from harness.control_plane import ControlPlane
from harness.images import Image, Mount
from harness.waiting import wait_for

pytestmark = pytest.mark.timeout(900)
"""The first time a Debian is made, and packages are fetched."""
CONFIG = "/etc/argosy"
ADDRESS = "10.245.77.1"
LOOK = """
import os, sys
print(os.getuid(), os.getgid(), open("/proc/self/status").read().count("CapEff:\\t0000000000000000"))
try:
    open("/written", "w")
except OSError as error:
    print(error.strerror)
import importlib.util
print([name for name in ("pip", "setuptools", "pytest", "xllamacpp") if importlib.util.find_spec(name)])
"""


@pytest.fixture(scope="module")
def picker() -> Image:
    reason = images.cannot_build_reason()
    if reason is not None:
        pytest.skip(reason)
    return images.build("picker", "control")


@pytest.fixture(scope="module")
def root(picker: Image) -> Iterator[Path]:
    with images.unpacked(picker) as path:
        yield path


def verbs(image: Image) -> Image:
    """Give the image with the whole command line for its program."""
    return image._replace(config={**image.config, "Entrypoint": ["argosy"]})


def output(folder: Path, image: Image, root: Path, arguments: Sequence[str]) -> str:
    process = images.start(images.bundle(folder, image, root, arguments))
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said


def test_it_runs_its_verb_and_says_its_version(picker: Image, root: Path, tmp_path: Path) -> None:
    assert picker.config["Entrypoint"] == ["argosy", "picker"]
    assert "usage: argosy picker" in output(tmp_path / "help", picker, root, ["--help"])
    assert output(tmp_path / "version", verbs(picker), root, ["version"]).strip() == __version__


def test_the_package_in_it_carries_the_definitions_that_install_brings(
    picker: Image, root: Path, tmp_path: Path
) -> None:
    said = output(tmp_path / "install", verbs(picker), root, ["install", "--dry-run"])
    names = re.findall(r"^  name: (\S+\.\S+)$", said, re.MULTILINE)
    assert {"llmservices.argosy.dev", "gateways.gateway.networking.k8s.io"} <= set(names)


def test_it_is_nobody_may_nothing_and_holds_no_more_than_it_needs(picker: Image, root: Path, tmp_path: Path) -> None:
    assert picker.config["User"] == "65532:65532"
    python = picker._replace(config={**picker.config, "Entrypoint": ["/opt/argosy/bin/python3"]})
    assert output(tmp_path / "look", python, root, ["-c", LOOK]).splitlines() == [
        "65532 65532 1",
        "Read-only file system",
        "[]",
    ]


def test_it_gets_ready_at_an_api_server_and_ends_when_it_is_told(
    picker: Image, root: Path, tmp_path: Path, cluster: ControlPlane
) -> None:
    images.readable_kubeconfig(cluster.kubeconfig, tmp_path / "config", CONFIG)
    arguments = (
        *("--store", f"kubeconfig://{CONFIG}/kubeconfig"),
        *("--address", f"{ADDRESS}:{PICKER_PORT}", "--metrics-address", f"{ADDRESS}:{METRICS_PORT}"),
    )
    bundle = images.bundle(
        *(tmp_path / "picker", picker, root, arguments),
        network=f"/proc/{cluster.process_id}/ns/net",
        mounts=[Mount(tmp_path / "config", CONFIG)],
    )
    with (tmp_path / "log").open("w") as log:
        process = images.start(bundle, log)
    try:
        wait_for(is_ready, f"the picker did not get ready; see {tmp_path}/log", within_s=30)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
    assert process.wait() == 0, (tmp_path / "log").read_text()


def is_ready() -> bool:
    try:
        with contextlib.closing(http.client.HTTPConnection(ADDRESS, METRICS_PORT, timeout=5)) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
    except OSError:
        return False


def test_layers_are_what_the_containerfile_says(picker: Image) -> None:
    assert json.dumps(dict(picker.config)).count("wheelhouse") == 0, "nothing of how it was built is in it"
