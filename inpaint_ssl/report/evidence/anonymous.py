"""Contents of a study's files without the paths and hosts of the machine that it ran on."""

import ast
import re
import socket
from collections.abc import Mapping
from typing import Any

from inpaint_ssl.config.places import emptied, is_place, without_places

_PATH = re.compile(r"(?<![\w./:~-])~?/[\w.+@-]+(?:/[\w.+@-]*)*|\b[A-Za-z]:\\[^\s'\"]+")
_SHORTEST = 4  # letters of a host name that is looked for in texts


def without_paths(value: Any, host: str | None = None) -> Any:
    """`value` (of a JSON file) with every absolute path in its texts as <path>, and this host (`host`) as <host>."""
    host = socket.gethostname() if host is None else host
    if isinstance(value, str):
        text = _PATH.sub("<path>", value)
        return re.sub(rf"\b{re.escape(host)}\b", "<host>", text) if len(host) >= _SHORTEST else text
    if isinstance(value, Mapping):
        return {key: without_paths(item, host) for key, item in value.items()}
    return [without_paths(item, host) for item in value] if isinstance(value, list | tuple) else value


def anonymous_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json with every setting that is a place emptied, and no absolute path in any other."""
    return without_paths(without_places(config))


def anonymous_study(study: Mapping[str, Any]) -> dict[str, Any]:
    """study.json likewise: its settings, those of its arms, the studies it builds on, and all its texts."""
    kept = dict(study)
    kept["settings"] = {name: _shown(name, text) for name, text in (study.get("settings") or {}).items()}
    kept["arms"] = [
        {**arm, "settings": {n: emptied(n, v) for n, v in (arm.get("settings") or {}).items()}}
        for arm in study.get("arms") or ()
    ]
    kept["from"] = []
    return without_paths(kept)


def _shown(name: str, text: str) -> str:
    """A setting of study.json, which is written as Python writes it, without a place."""
    if not is_place(name):
        return text
    try:
        return repr(emptied(name, ast.literal_eval(text)))
    except (ValueError, SyntaxError):
        return "''"
