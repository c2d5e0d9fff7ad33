"""Places in a JSON Schema, and how references write them."""

# Keys and indexes below the schema.
SchemaPlace = tuple[str | int, ...]


def pointer_of(place: SchemaPlace) -> str:
    """The JSON pointer to a place (RFC 6901)."""
    return "".join("/" + str(each).replace("~", "~0").replace("/", "~1") for each in place)


def decoded(fragment: str) -> str:
    """A fragment without its percent-encoding (RFC 6901 section 6); as it is where that is none."""
    if "%" not in fragment:
        return fragment
    pieces = fragment.split("%")
    try:
        octets = pieces[0].encode() + b"".join(
            bytes((int(each[:2], 16),)) + each[2:].encode() for each in pieces[1:]
        )
        return octets.decode()
    except ValueError:
        return fragment
