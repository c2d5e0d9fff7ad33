"""How glibc keeps the buffers of TLS connections.

uvloop gives each TLS connection a buffer of 256 KiB, of which an idle one ever touches a page or
two. As long as such a buffer is mapped by itself, only these pages are taken. But glibc raises the
size from which it maps each time a mapped piece is freed (mallopt(3), M_MMAP_THRESHOLD), and puts
the buffers on the heap from then on: measured, an idle TLS connection then takes 46 KB, not 24.
"""

import ctypes
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_BUFFER_BYTES: Final = 262_144


def keep_buffers_apart() -> bool:
    """Map pieces of at least 256 KiB by themselves from now on; False where that is not glibc's."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _BUFFER_BYTES))
