"""The catalogue of a library: an SQLite file in WAL mode that several processes read and write at once.

SQLite finds some damage by itself. Here every row carries the SHA-256 of what it says, and the whole file one of all
its bytes, the seal, so that no flipped byte goes unnoticed. A write breaks the seal and, once it is complete, sets it
again; a process that was killed in between leaves a valid catalogue without a seal.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from multigraft.errors import UserError
from multigraft.files import sync

FILE = "catalogue.sqlite"
COMPANIONS = (f"{FILE}-wal", f"{FILE}-shm")  # SQLite's own, while the catalogue is in use
_APPLICATION = 0x4D475246  # "MGRF", in the header of the file
_SECONDS = 120.0  # that a process waits for its turn
_OPEN = bytes(32)  # in place of a seal
_SCHEMA = """
CREATE TABLE experts (
    name TEXT PRIMARY KEY, card TEXT NOT NULL, weights TEXT NOT NULL, keys TEXT, digest TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE seal (digest BLOB NOT NULL);
"""


class Row(NamedTuple):
    """An expert: its card as JSON and the SHA-256 of its files; `keys` None without key vectors."""

    name: str
    card: str
    weights: str
    keys: str | None

    @property
    def digest(self) -> str:
        """SHA-256 of all it says."""
        return hashlib.sha256(json.dumps(self, default=repr).encode()).hexdigest()


class Table:
    """The rows, within one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, name: str | None = None) -> list[tuple[Row, bool]]:
        """All rows, or that of one name, in order of their names; and whether each still says what was written."""
        which, values = ("", ()) if name is None else ("WHERE name = ?", (name,))
        found = self._connection.execute(
            f"SELECT name, card, weights, keys, digest FROM experts {which} ORDER BY name", values
        )
        return [(row, row.digest == digest) for *columns, digest in found for row in (Row(*columns),)]

    def names(self) -> list[str]:
        """All names, sorted."""
        return [name for (name,) in self._connection.execute("SELECT name FROM experts ORDER BY name")]

    def put(self, row: Row) -> None:
        """Add a row, or replace that of its name."""
        self._connection.execute("INSERT OR REPLACE INTO experts VALUES (?, ?, ?, ?, ?)", (*row, row.digest))

    def delete(self, name: str) -> None:
        """Take a row out."""
        self._connection.execute("DELETE FROM experts WHERE name = ?", (name,))

    def refers(self, key: str) -> bool:
        """Does any row name the file of this key?"""
        query = "SELECT 1 FROM experts WHERE weights = ?1 OR keys = ?1 LIMIT 1"
        return self._connection.execute(query, (key,)).fetchone() is not None


class Catalogue:
    """The file. A connection lasts for one transaction, so that a catalogue may be used by threads and forks."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> bool:
        """Make an empty catalogue, whole or not at all; false when there is one already, perhaps made just now."""
        temporary = self.path.with_name(f".{FILE}.{os.getpid()}.{threading.get_ident()}.tmp")
        try:
            with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.executescript(_SCHEMA)
                connection.execute("INSERT INTO seal VALUES (?)", (_OPEN,))
                _set_seal(connection)
            try:
                os.link(temporary, self.path)  # which, unlike a rename, never replaces
            except FileExistsError:
                return False
            sync(self.path.parent)
            return True
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def reading(self) -> Iterator[Table]:
        """The rows as they are at one moment."""
        with self._connected() as connection:
            connection.execute("BEGIN")
            yield Table(connection)

    @contextmanager
    def writing(self) -> Iterator[Table]:
        """The rows, for this process alone to change; all changes come into effect at the end, or none."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield Table(connection)
            changed = connection.total_changes > 0
            if changed:
                connection.execute("UPDATE seal SET digest = ?", (_OPEN,))
            connection.execute("COMMIT")
            if changed:
                _set_seal(connection)

    def fault(self) -> str | None:
        """What is wrong with the file as a whole, or None; a seal that a killed process left open is set."""
        try:
            with self._connected() as connection:
                connection.execute("BEGIN")
                ((said,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
                ((seal,),) = connection.execute("SELECT digest FROM seal").fetchall()
                if said != "ok":
                    return f"damaged: {said}"
                if seal not in (_OPEN, _digest(connection, seal)):
                    return "damaged: its bytes are not those that were written"
                connection.execute("COMMIT")
                if seal == _OPEN:
                    _set_seal(connection)
        except (UserError, ValueError, TypeError) as error:
            return error.what if isinstance(error, UserError) else "damaged: it has no seal"
        return None

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection, closed afterwards; what was not committed is undone. Raises UserError for what SQLite says."""
        address = f"file:{quote(str(self.path.absolute()))}?mode=rw"
        try:
            with closing(sqlite3.connect(address, uri=True, timeout=_SECONDS, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                if connection.execute("PRAGMA application_id").fetchone() != (_APPLICATION,):
                    raise UserError("not the catalogue of a library", where=self.path)
                yield connection
        except (sqlite3.Error, UnicodeError) as error:
            fix = "run multigraft library verify"
            raise UserError(f"the catalogue cannot be used: {error}", where=self.path, fix=fix) from None


def _set_seal(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = NORMAL")  # a seal that a power cut takes away is set again
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE seal SET digest = ?", (_OPEN,))
    connection.execute("UPDATE seal SET digest = ?", (_digest(connection, _OPEN),))
    connection.execute("COMMIT")


def _digest(connection: sqlite3.Connection, seal: bytes) -> bytes:
    """SHA-256 of the file's bytes as this transaction sees them, with an open seal in place of the present one."""
    return hashlib.sha256(connection.serialize().replace(seal, _OPEN, 1)).digest()
