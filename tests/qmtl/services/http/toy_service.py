"""All that a service has to write: its routes, and what it is called. The rest comes from services/http."""

import sys
from contextlib import contextmanager
from pathlib import Path

from fastapi import APIRouter
from pydantic import BaseModel

from qmtl.foundation.errors import InvalidRequestError
from qmtl.services.http.application import application
from qmtl.services.http.connections import LIMITS
from qmtl.services.http.serving import Place, serve_guarded


class Note(BaseModel):
    text: str


@contextmanager
def open_notes(credentials):
    router, notes = APIRouter(prefix="/notes", tags=["notes"]), ["first"]

    @router.get("")
    def listed() -> list[str]:
        """All notes."""
        return notes

    @router.post("")
    def add(note: Note) -> Note:
        """Add a note."""
        if not note.text:
            raise InvalidRequestError("a note needs a text", next_step="write one")
        notes.append(note.text)
        return note

    yield application(
        [router], name="notes", title="Notes", description="A list of notes.", check_ready=lambda: notes[0],
        credentials=credentials, body_limit=100,
    )  # fmt: skip


if __name__ == "__main__":
    auth, place = Path(sys.argv[1]), Place("127.0.0.1", 0)
    limits = LIMITS._replace(head_bytes=2_000)
    serve_guarded(open_notes, place, auth=auth, unprotected=False, limits=limits, ready=print)
