"""How a store of an older format becomes one of today's: all steps in one transaction, by one process."""

from __future__ import annotations

import psycopg

from qmtl.foundation.errors import StoreError
from qmtl.foundation.store_address import StoreAddress
from qmtl.runtime.io.sql.formats import Migration, nothing_to_migrate, steps_after
from qmtl.runtime.io.sql.postgres import layout, rights
from qmtl.runtime.io.sql.postgres.failures import meaning
from qmtl.runtime.io.sql.postgres.opening import for_a_while
from qmtl.runtime.io.sql.postgres.recognition import recognise


def migrate(address: StoreAddress) -> Migration:
    """Bring the store of a schema up to date, which nobody else may have open.

    Ended early, it has the older format, and all of it. Roles keep their rights, to new tables as well.
    Raises `StoreLockedError` where others use the store, `StoreError` for a user who does not own it.
    """
    try:
        with for_a_while(address, alone=True) as connection:
            # Looked at when nobody else can have it: another process may be migrating it just now.
            found = recognise(connection, address)
            if found.format == 0:
                raise nothing_to_migrate(address)
            if found.format < layout.FORMAT:
                if found.refuses_writes:
                    raise StoreError(
                        "the store cannot be migrated",
                        path=address.shown,
                        why=found.refuses_writes,
                        next_step="connect to a primary server, as the owner of the store",
                    )
                rights.refuse_others(connection)
                connection.script(b"BEGIN")
                held = rights.holders(connection)
                for step in steps_after(found.format, layout.STEPS):
                    connection.script(step.encode())
                connection.execute("UPDATE setting SET value = ? WHERE name = 'format'", (layout.FORMAT,))
                for role, right in held.items():
                    rights.grant(connection, address.schema, right, role)
                connection.commit()
            return Migration(address.shown, found.format, layout.FORMAT)
    except psycopg.Error as failure:
        raise meaning(failure, address, None, None) from failure
