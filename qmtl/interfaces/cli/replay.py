"""`qmtl replay`: runs of strategies once more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qmtl.interfaces.cli.arguments import as_path
from qmtl.interfaces.cli.session import JsonToo, session_of


def verify(
    ctx: typer.Context,
    proof: Annotated[
        Path, typer.Argument(parser=as_path, metavar="PROOF", help="As 'qmtl submit --proof' wrote it.")
    ],
    strategy: Annotated[
        str | None,
        typer.Option(metavar="FILE[:CLASS]", help="The strategy, where it is not what was submitted."),
    ] = None,
    world: Annotated[
        Path | None, typer.Option(parser=as_path, metavar="FILE", help="As --strategy, of the world file.")
    ] = None,
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Run it in a process that can read no bars itself; Linux.")
    ] = False,
    json: JsonToo = False,
) -> None:
    """Run a strategy once more on the bars of a proof, and compare.

    Bars are read at the commits that the proof names, and nobody is asked for any. Exit code 4 where the run
    was given something else, or came to something else. What differs and refutes nothing is a line "beside".
    """
    from qmtl.foundation.errors import InvalidRequestError
    from qmtl.foundation.words import counted
    from qmtl.interfaces.cli.showing import facts_text
    from qmtl.interfaces.cli.submit import provider_of
    from qmtl.runtime.sdk.proof_check import differences, first_few
    from qmtl.runtime.sdk.proof_reading import proof_values, read_proof, submitted_values
    from qmtl.runtime.sdk.runner import Runner
    from qmtl.runtime.sdk.strategy_files import strategy_of_file

    session = session_of(ctx)
    values = proof_values(proof)
    submitted = submitted_values(proof, values)
    file = strategy or submitted["strategy"]
    if file is None:
        raise InvalidRequestError(
            f"{proof} does not say from which file its strategy came", next_step="name it with `strategy=`"
        )
    of_then = submitted["world"]
    place = world or (None if of_then is None else Path(of_then))
    declared = None if place is None else session.world(place)
    with provider_of(session, declared) as provider:
        found = Runner.verify(
            values,
            # What is isolated is not even loaded here.
            file if isolate else strategy_of_file(file),
            world=declared,
            data_preset=submitted["data_preset"],
            history_provider=provider,
            isolate=isolate,
        )
    beside = differences(read_proof(values), found.proof).told
    series = {part.series for part in found.proof.read}
    session.show(
        facts_text(
            [
                ("verified", f"{proof}: the same bars, the same fills, the same equity"),
                *(("beside", one) for one in first_few(beside)),
                ("read", counted(len(series), "series", "series")),
                *found.summary().lines(),
            ]
        )
    )
    session.emit({"verified": True, "beside": beside, "proof": found.proof.to_json()})
