"""What all tests share: on CI a skipped test is a failure, since that machine can run everything."""

import os

import hypothesis
import pytest


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and os.environ.get("ARGOSY_FAIL_ON_SKIP") and exitstatus == 0:
        print(f"\n{len(skipped)} tests were skipped, and ARGOSY_FAIL_ON_SKIP is set")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


if "PYTEST_XDIST_WORKER" in os.environ:
    # A worker is measured by now; programs that tests start are not to be.
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
# How long an example takes, or the making of one, says something of the machine, not of the code.
hypothesis.settings.register_profile("argosy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("argosy")
