"""The composition root: the only place that knows every concrete part.

`deciding` puts together what a decision needs, `explaining` asks it why, `serving` runs the
listeners until they are told to stop; `own` is what we answer ourselves there, `measured` what is
exported of all that.
"""

from sidecar.assembly.explaining import open_decider
from sidecar.assembly.serving import serve
from sidecar.assembly.workers import serve_with_workers

__all__ = ["open_decider", "serve", "serve_with_workers"]
