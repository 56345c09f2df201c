"""The study as a local web page, for any number of concurrent users, each of whom can resume."""

import errno
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.responses import HTMLResponse, Response
from filelock import FileLock, Timeout
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from augment.base.errors import AugmentError
from augment.base.files import atomic_write
from augment.base.progress import say
from augment.study.protocol import EXPOSURE_MS
from augment.study.rounds import Answer, Rounds

LOOPBACK = "127.0.0.1"

_HERE = Path(__file__).parent
_ASSETS = {"study.css": "text/css", "study.js": "text/javascript"}
_HEADERS = {  # the page loads nothing from elsewhere, and its address, which may hold the token, goes nowhere
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                               "connect-src 'self'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}  # fmt: skip


def create_app(folder: Path, token: str = "") -> FastAPI:
    """The application for a study that :func:`augment.study.stimuli.make_stimuli` has made in ``folder``.

    With a ``token`` every path begins with it, and all others are 404.
    """
    rounds = Rounds(folder)
    page = _page(rounds.trials, rounds.training)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        rounds.close()

    routes = APIRouter(prefix=f"/{token}" if token else "")

    @routes.get("/")
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers=_HEADERS)

    @routes.get("/{name}")
    async def show_asset(name: str) -> Response:
        if name not in _ASSETS:
            raise HTTPException(404)
        return Response((_HERE / name).read_bytes(), media_type=_ASSETS[name], headers={"Cache-Control": "no-cache"})

    @routes.get("/images/{id}.png")
    async def show_image(id: str) -> Response:
        if id not in rounds.images:
            raise HTTPException(404)
        headers = {"Cache-Control": "private, max-age=86400"}
        return Response(rounds.images[id], media_type="image/png", headers=headers)

    @routes.post("/users", status_code=201)
    async def begin() -> dict[str, str]:
        return {"user": await rounds.begin()}

    @routes.get("/users/{id}")
    async def show_user(id: str) -> dict[str, Any]:
        return rounds.state(id)

    @routes.post("/users/{id}/answers")
    async def take(id: str, answer: Answer) -> dict[str, Any]:
        return await rounds.take(id, answer)

    app = FastAPI(title="reid-augment study", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(routes)
    return app


def serve(folder: Path, host: str = LOOPBACK, port: int = 8008) -> None:
    """Serve a study until Ctrl-C. On any address but localhost the link contains a token.

    Raises :class:`AugmentError` where the address cannot be used or another process serves the same study.
    """
    with held(folder), _listen(host, port) as listener:
        token = "" if host in (LOOPBACK, "localhost", "::1") else _token(folder)
        app = create_app(folder, token)
        name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        say(f"study: http://{name}:{listener.getsockname()[1]}/{token + '/' if token else ''}   (Ctrl-C ends it)")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        with suppress(KeyboardInterrupt):  # uvicorn has closed everything in order by then
            server.run(sockets=[listener])


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a study for this process, which may hold it already: another must not replace images that are being judged.

    Raises :class:`AugmentError` where another process has it.
    """
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / ".lock", is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AugmentError(f"{folder}: this study is being served already. Stop that process first.") from None
    try:
        yield
    finally:
        lock.release()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        remedy = "Name another with --port." if error.errno == errno.EADDRINUSE else "Name another with --host."
        raise AugmentError(f"cannot listen on {host}:{port} ({error.strerror or error}). {remedy}") from None
    # Connections inherit it. Without it head and body of a reply go one after the other, 40 ms apart.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _token(folder: Path) -> str:
    """The study's secret: the same after a restart, so that links stay valid."""
    path = folder / "token"
    if not path.exists():
        with atomic_write(path) as file:
            file.write(secrets.token_urlsafe(16).encode())
        path.chmod(0o600)
    return path.read_text()


def _page(trials: int, training: int) -> str:
    loader = FileSystemLoader(_HERE)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("study.html").render(trials=trials, training=training, exposure_ms=EXPOSURE_MS)
