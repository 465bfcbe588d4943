"""If-None-Match: whether the client already has what it asks for (RFC 9110 sections 8.8.3 and 13.1.2)."""

from __future__ import annotations

import re
from typing import Final

# One element of the list up to its comma; it may be empty (section 5.6.1.2). An opaque tag may hold commas.
_ELEMENT: Final = re.compile(r'[ \t]*(?:(?:W/)?("[^\x00-\x20"\x7f]*")[ \t]*)?(?:,|\Z)')


def has_match(if_none_match: str, etag: str) -> bool:
    """Whether a field value lists `etag`, a strong tag in quotes, by weak comparison; "*" lists every tag.

    A value that breaks the grammar lists nothing: the client gets the full response.
    """
    if if_none_match.strip(" \t") == "*":
        return True
    found = False
    position = 0
    while position < len(if_none_match):
        element = _ELEMENT.match(if_none_match, position)
        if element is None:
            return False
        found = found or element[1] == etag
        position = element.end()
    return found
