"""`qmtl serve`: the services, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from qmtl.interfaces.cli.arguments import as_path
from qmtl.interfaces.cli.session import Session, session_of

Port = Annotated[int, typer.Option(metavar="N", help="0 takes a free one.", min=0, max=65_535)]
Host = Annotated[str, typer.Option(metavar="H", help="The address to serve on.")]
Auth = Annotated[
    Path | None,
    typer.Option(parser=as_path, metavar="FILE", help="Who may enter. Else everybody may."),
]
Certificate = Annotated[
    Path | None, typer.Option(parser=as_path, metavar="FILE", help="A certificate in PEM.")
]
Key = Annotated[Path | None, typer.Option(parser=as_path, metavar="FILE", help="Its key in PEM.")]
Unprotected = Annotated[
    bool, typer.Option("--unprotected", help="Serve other machines without credentials or TLS.")
]


def registry(
    ctx: typer.Context,
    store: Annotated[
        Path,
        typer.Option(parser=as_path, metavar="DIR", help="Where schemas are kept; made if it is not there."),
    ],
    port: Port = 8081,
    host: Host = "127.0.0.1",
    auth: Auth = None,
    tls_cert: Certificate = None,
    tls_key: Key = None,
    unprotected: Unprotected = False,
) -> None:
    """A schema registry that Confluent's clients talk to.

    It prints its address once it is ready, and ends on SIGTERM or Ctrl-C.

    The file of --auth is YAML or JSON, with roles read, write and admin, and hashes in place of secrets:

    \b
    users:
      alice: {role: admin, scrypt: "16384:8:1:..."}
    tokens:
      ingest: {role: write, sha256: "..."}

    \b
    python -c "from qmtl.services.http.access import password_hash as h; print(h(input()))"
    python -c "from qmtl.services.http.access import token_hash as h; print(h(input()))"
    """
    from qmtl.services.registry.serving import serve_registry

    serve_registry(
        store,
        host=host,
        port=port,
        auth=auth,
        tls_cert=tls_cert,
        tls_key=tls_key,
        unprotected=unprotected,
        ready=_ready(session_of(ctx), "registry"),
    )


def coordinator(
    ctx: typer.Context,
    etcd: Annotated[
        str | None,
        typer.Option(metavar="URL[,URL...]", help="The members of the etcd that keeps the leases."),
    ] = None,
    member: Annotated[
        str | None, typer.Option(metavar="NAME=URL", help="Keep a member of an etcd running here.")
    ] = None,
    initial_cluster: Annotated[
        str | None, typer.Option(metavar="NAME=URL[,...]", help="With --member: all members, it among them.")
    ] = None,
    join: Annotated[
        bool, typer.Option("--join", help="With --member: 'qmtl coordinator add' has named it.")
    ] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(parser=as_path, metavar="DIR", help="With --member: its data. [default: of the user]"),
    ] = None,
    client_port: Annotated[
        int, typer.Option(metavar="N", help="With --member: etcd on 127.0.0.1.", min=1, max=65_535)
    ] = 2379,
    etcd_program: Annotated[
        Path | None,
        typer.Option(parser=as_path, metavar="FILE", help="With --member: etcd. [default: of PATH]"),
    ] = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Keep them here, for the store of this machine alone.")
    ] = False,
    port: Port = 8090,
    host: Host = "127.0.0.1",
    auth: Auth = None,
    tls_cert: Certificate = None,
    tls_key: Key = None,
    unprotected: Unprotected = False,
) -> None:
    """Leases and jobs for many machines: each bar is asked for once.

    With --etcd it keeps nothing itself: all is in etcd, 3.6 or 3.7. Any number of coordinators may serve one
    etcd. With --member it keeps a member of etcd running, and ends with it: three machines, each with its own
    --member and the same --initial-cluster, need nothing else. With --embedded it is of one machine and one
    store, that of 'qmtl --store'. It prints its address once it is ready, and ends on SIGTERM or Ctrl-C. The
    file of --auth is that of 'qmtl serve registry'; workers need the role write.

    Machines find it by seamless.coordinator_url in qmtl.yml, or by QMTL_SEAMLESS_COORDINATOR_URL.
    'qmtl backfill --detach' queues jobs with it.
    """
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.interfaces.cli.coordinator import member_of
    from qmtl.services.coordinator.serving import serve_coordinator

    session = session_of(ctx)
    serve = partial(
        serve_coordinator,
        host=host,
        port=port,
        auth=auth,
        tls_cert=tls_cert,
        tls_key=tls_key,
        unprotected=unprotected,
        ready=_ready(session, "coordinator"),
    )
    places = {"--etcd": etcd is not None, "--member": member is not None, "--embedded": embedded}
    given = [name for name, is_given in places.items() if is_given]
    if len(given) != 1:
        raise InvalidRequestError(
            "a coordinator needs a place for its leases",
            why=f"{' and '.join(given)} are given" if given else "none is named",
            next_step="give --etcd URL or --member NAME=URL for several machines, or --embedded for this one",
        )
    if member is not None:
        plan = member_of(member, initial_cluster, data_dir=data_dir, client_port=client_port, joins=join)
        serve(plan, etcd_program=etcd_program, waiting=session.note)
        return
    _refuse_of_member(
        initial_cluster=initial_cluster, join=join, data_dir=data_dir, etcd_program=etcd_program
    )
    serve(partial(session.open_store, make=True) if etcd is None else etcd)


def _refuse_of_member(**options: object) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        from qmtl.foundation.errors import InvalidRequestError

        raise InvalidRequestError(
            f"--{given[0].replace('_', '-')} is of --member, which is not given",
            next_step="leave it out, or give --member NAME=URL",
        )


def _ready(session: Session, what: str) -> Callable[[str], None]:
    """Says where a service can be reached, at once also where a program reads it."""

    def ready(address: str) -> None:
        if not session.json:
            typer.echo(f"the {what} serves {address}")
        session.emit({"address": address})
        sys.stdout.flush()

    return ready
