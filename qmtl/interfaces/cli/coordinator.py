"""`qmtl coordinator`: the members that keep what coordinators know; who they are, how they come and go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qmtl.interfaces.cli.arguments import as_path
from qmtl.interfaces.cli.session import JsonToo, session_of
from qmtl.interfaces.cli.tables import Rows

if TYPE_CHECKING:
    from qmtl.services.coordinator.member.plan import Member

CLIENT_PORT = 2379
EtcdUrl = Annotated[str, typer.Option("--etcd", metavar="URL", help="Any member that runs.")]
LOCAL_ETCD = f"http://127.0.0.1:{CLIENT_PORT}"


def members(ctx: typer.Context, etcd: EtcdUrl = LOCAL_ETCD, json: JsonToo = False) -> None:
    """The members, which of them answer, and which leads.

    A member without a name has been added, and has not come yet. Ask on the machine of one of them, for each
    serves its own machine alone; they are asked there whether they answer.
    """
    from qmtl.services.coordinator.member import group

    session = session_of(ctx)
    found = group.members(_url(etcd))
    rows = (
        (
            one.name,
            one.peer_url,
            one.version or "no answer",
            "leads" if one.leads else "",
        )
        for one in found
    )
    session.show(Rows(("member", "url", "etcd", ""), rows))
    session.emit([one._asdict() | {"id": f"{one.id:x}"} for one in found])


def add(
    ctx: typer.Context,
    member: Annotated[str, typer.Argument(metavar="NAME=URL", help="Its name, and where others hear it.")],
    etcd: EtcdUrl = LOCAL_ETCD,
    json: JsonToo = False,
) -> None:
    """Tell the members of one that is to join.

    The command that starts it is printed. Do so once all others answer. To replace a lost machine, 'qmtl
    coordinator remove' the old one first.
    """
    from qmtl.services.coordinator.member import group
    from qmtl.services.coordinator.member.plan import as_text, is_of_this_machine_alone, named_url

    session = session_of(ctx)
    name, url = named_url(member, "MEMBER")
    cluster = as_text(group.add(_url(etcd), name, url))
    command = f"qmtl serve coordinator --member {name}={url} --initial-cluster {cluster} --join"
    if not is_of_this_machine_alone(url):
        command += " --unprotected"  # members hear each other without TLS, so that it has to be said
    session.show(f"{name} is awaited; on its machine, with an empty --data-dir:", "", f"  {command}")
    session.emit({"member": name, "initial_cluster": cluster, "command": command})


def remove(
    ctx: typer.Context,
    member: Annotated[str, typer.Argument(metavar="NAME", help="Its name; or its URL, if it never came.")],
    etcd: EtcdUrl = LOCAL_ETCD,
    json: JsonToo = False,
) -> None:
    """Let a member leave for good, whether it runs or was lost.

    Its coordinator ends with that reason, and does not come back with the data that it has.
    """
    from qmtl.services.coordinator.member import group

    session = session_of(ctx)
    gone = group.remove(_url(etcd), member)
    session.show(f"{gone.name or gone.peer_url} is no member any more; its coordinator ends, if it runs")
    session.emit({"removed": gone.name, "url": gone.peer_url})


def snapshot(
    ctx: typer.Context,
    target: Annotated[
        Path, typer.Argument(parser=as_path, metavar="FILE", help="A file that is not there yet.")
    ],
    etcd: EtcdUrl = LOCAL_ETCD,
    json: JsonToo = False,
) -> None:
    """Copy what one member has stored into a file, while all work on."""
    from qmtl.interfaces.cli.store import size
    from qmtl.services.coordinator.member import snapshots

    session = session_of(ctx)
    written = snapshots.take(_url(etcd), target)
    session.show(f"{target}: {size(written)}, and its hash is right")
    session.emit({"file": str(target), "bytes": written})


def restore(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(parser=as_path, metavar="FILE", help="What 'snapshot' has made.")],
    member: Annotated[str, typer.Option(metavar="NAME=URL", help="As 'qmtl serve coordinator' has it.")],
    initial_cluster: Annotated[
        str | None, typer.Option(metavar="NAME=URL[,...]", help="All members of the new group.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(parser=as_path, metavar="DIR", help="New data. [default: of the user]")
    ] = None,
    etcdutl_program: Annotated[
        Path | None, typer.Option(parser=as_path, metavar="FILE", help="etcdutl. [default: of PATH]")
    ] = None,
    json: JsonToo = False,
) -> None:
    """Begin a member anew from a snapshot.

    For a group that was lost: do so on each machine of the new one, with the same FILE, before any is
    started. Then start all of them as 'qmtl serve coordinator --member' always does.
    """
    from qmtl.services.coordinator.member import snapshots
    from qmtl.services.coordinator.member.programs import etcdutl_program as found_etcdutl

    session = session_of(ctx)
    plan = member_of(member, initial_cluster, data_dir=data_dir)
    snapshots.restore(found_etcdutl(etcdutl_program), source, plan)
    session.show(f"{plan.folder} is what {plan.name} begins with; restore the other members, then start all")
    session.emit({"member": plan.name, "data_dir": str(plan.folder)})


def member_of(
    named: str,
    initial_cluster: str | None,
    *,
    data_dir: Path | None,
    client_port: int = CLIENT_PORT,
    joins: bool = False,
) -> Member:
    """The member that is named; its data lies in the folder of the user's data where no other is given."""
    from qmtl.services.coordinator.member.plan import member

    folder = data_dir or _data_dir(named.partition("=")[0])
    return member(named, initial_cluster, folder=folder.absolute(), client_port=client_port, joins=joins)


def _data_dir(name: str) -> Path:
    import platformdirs

    return Path(platformdirs.user_data_dir("qmtl-coordinator")) / name


def _url(etcd: str) -> str:
    from qmtl.services.coordinator.serving import etcd_urls

    return etcd_urls(etcd)[0].rstrip("/")
