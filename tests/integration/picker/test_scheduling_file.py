"""The scheduling file of a picker that runs: taken in when it changes, and never a bad one."""

import json
from pathlib import Path

import aiohttp
import pytest

from harness.picker_process import Client, PickerProcess, client_of, destination, picker_process
from harness.waiting import until

HEAD = "apiVersion: argosy.dev/v1alpha1\nkind: SchedulingConfig\n"


async def profile_of(picker: PickerProcess, client: Client, request: str) -> str:
    """Have a request picked; gives the profile that picked."""
    stream = client.stream()
    await stream.headers(x_request_id=request)
    assert destination(await stream.body(json.dumps({"model": "m", "messages": []}).encode()))
    await stream.end()
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{picker.metrics_address}/debug/decisions/{request}") as answer,
    ):
        return str((await answer.json(content_type=None))["profile"])


async def usable(picker: PickerProcess) -> float:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{picker.metrics_address}/metrics") as answer,
    ):
        lines = (await answer.text()).splitlines()
    return float(next(line for line in lines if line.startswith("argosy_scheduling_file_usable ")).split()[1])


async def test_a_scheduling_file_is_taken_in_while_the_picker_runs_and_a_bad_one_is_not(
    store_address: str, tmp_path: Path
) -> None:
    file = tmp_path / "scheduling.yaml"
    async with (
        picker_process(store_address, tmp_path, "--scheduling", str(file)) as picker,
        client_of(picker.address) as client,
    ):
        assert await profile_of(picker, client, "without") == "default"
        file.write_text(f"{HEAD}profile: lmetric\n")
        numbers = iter(range(10_000))

        async def by(profile: str) -> bool:
            return await profile_of(picker, client, f"r{next(numbers)}") == profile

        await until(lambda: by("lmetric"))
        assert await usable(picker) == 1
        file.write_text(f"{HEAD}profile: {{name: mine, scorers: [{{type: magic}}]}}\n")

        async def refused() -> bool:
            return await usable(picker) == 0

        await until(refused)
        assert await by("lmetric")
        assert "scorers: there is no plugin `magic`" in picker.log.read_text()
        file.write_text(f"{HEAD}profile: {{name: mine, scorers: [{{type: queue}}, {{type: prefix, weight: 2}}]}}\n")
        await until(lambda: by("mine"))
        assert await usable(picker) == 1


async def test_a_picker_serves_by_the_default_while_its_file_is_bad(store_address: str, tmp_path: Path) -> None:
    file = tmp_path / "scheduling.yaml"
    file.write_text(f"{HEAD}profile: nonsense\n")
    async with (
        picker_process(store_address, tmp_path, "--scheduling", str(file)) as picker,
        client_of(picker.address) as client,
    ):
        assert await profile_of(picker, client, "r") == "default"
        assert await usable(picker) == 0
        assert "profile: there is no `nonsense`" in picker.log.read_text()


PLUGIN = """
from argosy.decide.scheduling.plugins import Plugin


class Wild(Plugin, frozen=True):
    inputs = ("requests",)

    def costs(self, asked, columns):
        return [1 / requests for requests in columns["requests"]]
"""


async def test_a_plugin_of_somebody_else_that_raises_does_not_end_a_request(
    store_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    metadata = site / "wild-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "wild.py").write_text(PLUGIN)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: wild\nVersion: 1.0\n")
    # Another one that cannot even be loaded stands beside it, in nobody's way.
    (metadata / "entry_points.txt").write_text("[argosy.scorers]\nwild = wild:Wild\nabsent = absent:Absent\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    file = tmp_path / "scheduling.yaml"
    file.write_text(f"{HEAD}profile: {{name: mine, scorers: [{{type: wild}}]}}\n")
    async with (
        picker_process(store_address, tmp_path, "--scheduling", str(file)) as picker,
        client_of(picker.address) as client,
    ):
        # Nothing is under way, so it divides by 0.
        assert await profile_of(picker, client, "r") == "mine"
        assert await picker.metric("argosy_scheduling_failures_total", kind="scorer", plugin="wild") == 1
        assert await usable(picker) == 1
        async with picker.page("/debug/decisions/r") as page:
            said = (await page.json(content_type=None))["sentence"]
        assert said.startswith("scorer wild failed: ZeroDivisionError: division by zero; the default decided: ")
        assert await picker.metric("argosy_reservations") == 0
        file.write_text(f"{HEAD}profile: {{name: mine, scorers: [{{type: absent, parameters: {{x: 1}}}}]}}\n")

        async def refused() -> bool:
            return await usable(picker) == 0

        await until(refused)
        why = "scorers: `absent` cannot be used: absent:Absent cannot be loaded: ModuleNotFoundError"
        assert why in picker.log.read_text()
