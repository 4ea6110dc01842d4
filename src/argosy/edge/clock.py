"""The time of day, as Kubernetes writes it. Whoever decides gets it as an argument."""

import datetime as dt


def rfc3339_now() -> str:
    """Give the time in UTC, to the second."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro_now() -> str:
    """Give the time in UTC, to the microsecond, as a Lease has it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
