"""What names, values, hostnames and paths of routes may look like, so that Envoy takes each."""

import re
from typing import Final

HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_|~]{1,256}")
HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]{1,4096}")
_HOSTNAME: Final = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PATH: Final = re.compile(r"/[A-Za-z0-9/\-._~%!$&'()*+,;=:@]{0,1023}")


def valid_hostname(hostname: str) -> bool:
    """Say whether it is a lower-case DNS name, with `*.` before it or not."""
    return len(hostname) <= 253 and _HOSTNAME.fullmatch(hostname) is not None


def is_normal_path(path: str) -> bool:
    """Say whether it is an absolute path without `.`, `..`, empty segments and escaped slashes."""
    _, *segments = path.split("/")
    return (
        _PATH.fullmatch(path) is not None
        and not {".", ".."} & set(segments)
        and "" not in segments[:-1]
        and "%2f" not in path.lower()
    )
