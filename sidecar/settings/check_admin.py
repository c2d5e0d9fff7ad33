"""The secret that opens the admin API: from the configuration or a file of its own."""

import re
from pathlib import Path as FilePath
from typing import Final

import msgspec

from sidecar.settings.checker import Checker
from sidecar.settings.interpolate import UnresolvedError, read_secret
from sidecar.settings.schema import Root

# RFC 6750 section 2.1: what can stand after `Bearer`. Fewer than 32 could be guessed.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]{32,}=*", re.ASCII)
_FORM: Final = "must be at least 32 of A-Z a-z 0-9 . _ ~ + / - (`openssl rand -hex 32` makes one)"


def with_admin_token(root: Root, base: FilePath, checker: Checker) -> Root:
    """`root` with the token that `admin.token_file` names; notes what is wrong with either.

    Args:
        root: what was read so far.
        base: the folder that relative names start from.
        checker: where problems go.
    """
    admin = root.admin
    if admin.token is not None and checker.is_sound(("admin", "token")):
        if not _TOKEN.fullmatch(admin.token):
            checker.wrong(("admin", "token"), _FORM)
        if admin.token_file is not None:
            checker.wrong(("admin", "token_file"), "is one too many: admin.token is given as well")
        return root
    if admin.token_file is None or not checker.is_sound(("admin", "token_file")):
        return root
    try:
        token = read_secret(admin.token_file, base)
    except UnresolvedError as error:
        checker.wrong(("admin", "token_file"), error.message)
        return root
    if not _TOKEN.fullmatch(token):
        checker.wrong(("admin", "token_file"), f"what the file holds {_FORM}")
        return root
    return msgspec.structs.replace(root, admin=msgspec.structs.replace(admin, token=token))
