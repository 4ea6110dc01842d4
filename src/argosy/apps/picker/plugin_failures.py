"""Failures of scheduling plugins: each is counted, and one a minute of each plugin is told in the log."""

import logging
from typing import Final

from argosy.apps.picker.metrics import PickerMetrics
from argosy.decide.scheduling.plugins import Failure

log = logging.getLogger(__name__)
QUIET_S: Final = 60.0


class PluginFailures:
    """Takes note of failures; the plugins of profiles that are, or were, in force are all there is to remember."""

    def __init__(self, metrics: PickerMetrics) -> None:
        self._metrics = metrics
        self._said_s: dict[tuple[str, str], float] = {}
        self._untold: dict[tuple[str, str], int] = {}

    def add(self, failure: Failure, now_s: float) -> None:
        """Count a failure, and tell it unless one of that plugin has just been told."""
        who = failure.kind, failure.plugin
        self._metrics.scheduling_failed(*who)
        said_s = self._said_s.get(who)
        if said_s is not None and now_s - said_s < QUIET_S:
            self._untold[who] = self._untold.get(who, 0) + 1
            return
        self._said_s[who] = now_s
        more = self._untold.pop(who, 0)
        also = f" ({more} times more since this was said last)" if more else ""
        log.error("%s; the default decided in its place%s", failure, also)
