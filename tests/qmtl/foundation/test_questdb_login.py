"""What an address says of server and user, and that its password is shown in no way of writing it."""

from __future__ import annotations

import pytest

from qmtl.foundation.questdb_login import QuestDBLogin, parts_of, secrets_of


def test_an_address_is_cut_into_its_parts() -> None:
    found = parts_of("QuestDB://me:p%40ss@db.desk:9001?table=x")
    assert found == ("db.desk", 9001, "me", "p@ss", "p%40ss", "table=x")
    assert parts_of("questdb://localhost") == ("localhost", 9000, "", "", "", "")


@pytest.mark.parametrize(
    "text", ["questdb://me:s3cr/et@h", "questdb://me:s3cr#et@h", "questdb://me:s3cr?et@h"]
)
def test_where_a_password_ends_is_never_guessed(text: str) -> None:
    with pytest.raises(ValueError, match="have to be quoted") as refused:
        parts_of(text)
    assert "s3cr" not in str(refused.value)


def test_a_password_is_hidden_however_it_is_written() -> None:
    login = QuestDBLogin("h", 9000, "m e", "a/b c", secrets=secrets_of(["a/b c", "a%2Fb c", ""]))
    assert login.redacted("a/b c, a%2Fb c, a%2Fb%20c and a%252Fb%20c") == "..., ..., ... and ..."
    assert login.shown == str(login) == "questdb://m%20e@h:9000"
    assert "a/b" not in repr(login)
