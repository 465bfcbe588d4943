"""GET /api/users answers with the rows of the user whose token the request bears.

It needs usher-client, starlette and uvicorn, and finds the sidecar at USHER_ADDRESS.
"""

import contextlib
import os
import socket
from collections.abc import AsyncIterator

import usher
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

STATUSES = {"UNAUTHENTICATED": 401, "INVALID_ARGUMENT": 401, "PERMISSION_DENIED": 403, "UNAVAILABLE": 503}


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with usher.Client() as app.state.usher:
        yield


async def users(request: Request) -> JSONResponse:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer":
        return JSONResponse({"error": "no bearer token"}, 401)
    user = request.app.state.usher.with_token(token)
    # No WHERE: row-level security decides whose rows there are.
    rows = await user.query("SELECT id, name, email FROM users", read_only=True)
    return JSONResponse([row.as_dict() for row in rows])


async def refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, usher.UsherError)
    return JSONResponse({"error": error.reason}, STATUSES.get(error.code, 500))


app = Starlette(
    routes=[Route("/api/users", users)], exception_handlers={usher.UsherError: refused}, lifespan=lifespan
)

if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "8000")))) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/api/users", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
