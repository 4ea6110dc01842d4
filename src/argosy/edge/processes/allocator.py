"""How this process's allocator treats memory that was freed.

glibc gives large blocks back to the kernel when they are freed, and gets them anew, page by page, for the next: for a
process that takes bodies of some hundred KB one after another that is half of its CPU time.
"""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
KEPT_BYTES: Final = 32 * 1024 * 1024
"""Free memory at the heap's end that is kept."""
LARGEST_BYTES: Final = 4 * 1024 * 1024
"""Blocks above this still come from the kernel and go back to it, so that they tear no holes."""


def keep_freed_memory() -> bool:
    """Keep memory for the next request; say whether the C library lets us. Source: mallopt(3)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGEST_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
