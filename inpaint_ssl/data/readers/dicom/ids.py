"""Ids without identity: salted hashes of patients and series, and paths that name neither."""

import hashlib
import hmac
import os
import re
import secrets
import tempfile
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from platformdirs import user_config_dir

from inpaint_ssl.errors import InputError

_SALT_BYTES = 32
_HASH_DIGITS = 12  # 48 bits: among 100,000 scans two are alike with a probability of 2e-5
_UID = re.compile(r"\d+(?:\.\d+){3,}")
_ENDINGS = (".nii.gz", ".nii", ".dcm", ".dicom", ".ima")
_SHORTEST_TERM = 3


@dataclass(frozen=True)
class IdHasher:
    """Keyed hashes (HMAC-SHA256): without the salt nobody can try out names and dates of birth."""

    salt: bytes = field(repr=False)

    def of(self, *parts: str) -> str:
        """12 hexadecimal digits for these texts."""
        content = "\0".join(parts).encode("utf-8", "surrogateescape")
        return hmac.new(self.salt, content, hashlib.sha256).hexdigest()[:_HASH_DIGITS]

    def fingerprint(self) -> str:
        """Tells salts apart without giving them away."""
        return hashlib.sha256(b"inpaint_ssl id salt\0" + self.salt).hexdigest()[:16]


def load_salt(path: str = "") -> bytes:
    """The salt in the file `path`, or "" for id_salt in the user's configuration folder; made when it is not there.

    Several processes that make it at once agree on one. Raises InputError when the file cannot be read or made.
    """
    file = Path(path).expanduser() if path else Path(user_config_dir("inpaint_ssl"), "id_salt")
    remedy = "name another file by data.id_salt_file, or set data.hash_ids=False"
    try:
        if not file.exists():
            _make_salt(file)
        with open(file, "rb") as stream:
            salt = stream.read(4096).strip()
    except OSError as error:
        raise InputError(
            f"the salt of hashed ids, {file}, cannot be read or made ({error.strerror}); {remedy}"
        ) from None
    if len(salt) < _SALT_BYTES // 2:
        raise InputError(f"{file} holds {len(salt)} bytes, expected the salt of hashed ids, 16 or more; {remedy}")
    return salt


def _make_salt(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # readable by its owner alone
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(secrets.token_hex(_SALT_BYTES).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):  # a link, unlike a rename, never replaces the salt of a faster process
            os.link(temporary, file)
    finally:
        os.unlink(temporary)


@lru_cache(maxsize=1024)  # files of one patient mostly come one after another
def identity_terms(texts: tuple[str, ...]) -> frozenset[str]:
    """Names, ids and dates as `ShownPaths` looks for them in paths: whole and in parts, from three characters on."""
    found: set[str] = set()
    for text in texts:
        found.update(_plain(part) for part in (text, *re.split(r"[\W_]+", text)))
    return frozenset(term for term in found if len(term) >= _SHORTEST_TERM)


def _plain(text: str) -> str:
    """Letters and digits alone, without case and accents."""
    letters = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in letters if letter.isalnum())


class ShownPaths:
    """Paths relative to the root, in which whatever identifies a patient is replaced by its hash.

    That is a component with a name, id or date of birth of the patient in it, or a UID. Without a hasher (ids are not
    to be hashed) paths are only made relative.
    """

    def __init__(self, root: Path, hasher: IdHasher | None):
        self._root = root
        self._hasher = hasher

    def shown(self, path: str, terms: frozenset[str] | None) -> str:
        """`path` as it may be written, for the patient of `terms`; None: unknown, so that every component is hashed."""
        try:
            parts = Path(path).relative_to(self._root).parts
        except ValueError:
            parts = (Path(path).name,)
        return "/".join(self.component(part, terms) for part in parts) or "."

    def component(self, name: str, terms: frozenset[str] | None) -> str:
        """One component of a path."""
        if self._hasher is None or name in {"", ".", ".."}:
            return name
        plain = _plain(name)
        if terms is None or _UID.search(name) or any(term in plain for term in terms):
            ending = next((ending for ending in _ENDINGS if name.lower().endswith(ending)), "")
            return f"hash-{self._hasher.of('path', name)}{ending}"
        return name
