"""A database behind the double of Neon's `POST /sql`."""

from tests.neon.http.conftest import neon_database, neon_database_15, own_neon_database, there

__all__ = ["neon_database", "neon_database_15", "own_neon_database", "there"]
