"""Frames as peers write them, right and wrong."""

MASK = b"\x37\xfa\x21\x3d"
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA


def mask(payload: bytes, key: bytes = MASK) -> bytes:
    return bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    masked: bool = True,
    wide: int = 0,
) -> bytes:
    """A frame; `wide` asks for a length of 2 or 8 octets where fewer would do."""
    size = len(payload)
    first = (0x80 if final else 0) | reserved | opcode
    bit = 0x80 if masked else 0
    if wide == 8 or size > 65_535:
        head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    elif wide == 2 or size > 125:
        head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, bit | size))
    return head + (MASK + mask(payload) if masked else payload)


def closing(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason
