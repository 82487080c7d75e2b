"""What tests of PostgreSQL alone share."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import psycopg
import pytest

from tests.qmtl.postgres import PASSWORD, SECURED, PostgresServer


@pytest.fixture
def secured_url(postgres_server: PostgresServer, postgres_url: str) -> str:
    """The address of a store that does not exist yet, for a user who has to give a password."""
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (SECURED,)).fetchone()
        if found is None:
            connection.execute(f"CREATE ROLE {SECURED} LOGIN PASSWORD '{PASSWORD}'")
            connection.execute(f"GRANT CREATE ON DATABASE postgres TO {SECURED}")
    parts = urlsplit(postgres_url)
    where = f"{SECURED}:{quote(PASSWORD, safe='')}@{parts.hostname}:{parts.port}"
    return parts._replace(netloc=where).geturl()
