"""What the stores and those who change them can fail with; one type for each kind of answer."""


class SidecarError(Exception):
    """Base. The message is for operators: a sentence that says what to do, and never a secret."""


class StoresUnavailable(SidecarError):  # noqa: N818  the name says what happened
    """PostgreSQL could not answer in time: whoever asks gets 503, never 401 (PROMISES 18)."""


class NotFound(SidecarError):  # noqa: N818  the name says what happened
    """What should be changed does not exist."""


class Refused(SidecarError):  # noqa: N818  the name says what happened
    """The change contradicts what is stored: a name that is taken, a cycle of roles."""


class Invalid(SidecarError):  # noqa: N818  the name says what happened
    """A value does not have the form its kind asks for."""


class MigrationError(SidecarError):
    """The schema of the database and the migrations of this release do not fit together."""
