"""One name for all that decides what a separator gives: the key to what was once computed."""

import hashlib
import json
from collections.abc import Mapping

VERSION = 1  # counts up whenever the same models and settings come to give something else


def digest_of(kind: str, settings: Mapping[str, object], *contents: str) -> str:
    """sha256 of a kind of separator, its settings (JSON) and the digests of what it is made of."""
    text = json.dumps([VERSION, kind, settings, contents], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
