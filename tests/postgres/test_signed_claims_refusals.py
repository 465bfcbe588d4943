"""What Postgres refuses before a scope's statement runs; tests/backends has what it refuses of statements."""

from __future__ import annotations

from dataclasses import replace

from sidecar.core.errors import Reason
from tests.postgres.scoped import ALICE, LOGIN, Place, connected, query, refusal, rows, running_backend


async def test_a_scope_may_run_as_another_role_that_the_login_may_become(own_place: Place) -> None:
    editor = replace(ALICE, role="usher_test_editor")
    async with running_backend(own_place.login) as backend, connected(own_place.admin) as admin:
        refused = await refusal(backend, editor, "select 1")
        assert refused.reason is Reason.DATABASE_NOT_INSTALLED
        assert "usher_test_editor" in refused.message
        await admin.execute("CREATE ROLE usher_test_editor NOLOGIN; GRANT USAGE ON SCHEMA auth TO PUBLIC")
        try:
            assert (await refusal(backend, editor, "select 1")).reason is Reason.DATABASE_NOT_INSTALLED
            await admin.execute(f"GRANT usher_test_editor TO {LOGIN}")
            assert rows(await query(backend, editor, "select current_user::text")) == [("usher_test_editor",)]
            assert (await backend.who_am_i(editor)).role == "usher_test_editor"
            assert rows(await query(backend, ALICE, "select current_user::text")) == [("authenticated",)]
        finally:
            await admin.execute("DROP OWNED BY usher_test_editor; DROP ROLE usher_test_editor")


async def test_a_role_lost_while_serving_is_the_databases_fault(own_place: Place) -> None:
    async with running_backend(own_place.login) as backend, connected(own_place.admin) as admin:
        await query(backend, ALICE, "select 1")
        await admin.execute(f"REVOKE authenticated FROM {LOGIN}")
        try:
            refused = await refusal(backend, ALICE, "select 1")
        finally:
            await admin.execute(f"GRANT authenticated TO {LOGIN}")
        assert refused.reason is Reason.DATABASE_NOT_INSTALLED
