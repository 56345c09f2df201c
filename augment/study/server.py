"""The study as a local web page, for any number of concurrent users, each of whom can resume.

A user's state is the number of their answers in the journal; the order of images is a function of the user's id.
"""

import asyncio
import errno
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.responses import HTMLResponse, Response
from filelock import FileLock, Timeout
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, Field

from augment.base.errors import AugmentError
from augment.base.files import atomic_write
from augment.base.progress import say
from augment.manifest import read_manifest
from augment.study.answers import JOURNAL, Journal, read_journal, write_answers
from augment.study.protocol import EXPOSURE_MS, presentation_order

LOOPBACK = "127.0.0.1"

_HERE = Path(__file__).parent
_ASSETS = {"study.css": "text/css", "study.js": "text/javascript"}
_HEADERS = {  # the page loads nothing from elsewhere, and its address, which may hold the token, goes nowhere
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                               "connect-src 'self'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}  # fmt: skip


class Answer(BaseModel):
    """What the page sends: the place in the user's order, the answer, and times by the browser's clock."""

    place: int = Field(ge=0)
    said_generated: bool
    shown_ms: float = Field(ge=0, le=1e9)
    reaction_ms: float = Field(ge=0, le=1e9)


@dataclass
class _User:
    order: list[str]
    answers: list[dict[str, Any]]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # the second of two equal answers waits for the first


def create_app(folder: Path, token: str = "") -> FastAPI:
    """The application for a study that :func:`augment.study.stimuli.make_stimuli` has made in ``folder``.

    With a ``token`` every path begins with it, and all others are 404.
    """
    manifest = read_manifest(folder / "stimuli.parquet", "stimuli")
    stimuli = manifest.frame()
    truth = dict(zip(stimuli["id"], stimuli["generated"].astype(bool), strict=True))
    training = int(stimuli["training"].sum())
    images = {id: manifest.file_of(path).read_bytes() for id, path in zip(stimuli["id"], stimuli["path"], strict=True)}
    users = {
        id: _User(presentation_order(stimuli, id), answers)
        for id, answers in read_journal(folder / JOURNAL).items()
    }  # fmt: skip
    journal = Journal(folder / JOURNAL)
    page = _page(len(stimuli), training)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        journal.close()
        write_answers(folder)

    def user_named(id: str) -> _User:
        if id not in users:
            raise HTTPException(404, "This user is not known here.")
        return users[id]

    def progress(user: _User) -> dict[str, Any]:
        place = len(user.answers)
        return {"place": place, "result": _result(user, truth, training) if place == len(user.order) else None}

    async def append(record: dict[str, Any]) -> None:
        try:
            await journal.append(record)
        except OSError as error:
            raise HTTPException(507, f"The answer could not be saved: {error.strerror}.") from None

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
        if id not in images:
            raise HTTPException(404)
        return Response(images[id], media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})

    @routes.post("/users", status_code=201)
    async def begin() -> dict[str, str]:
        id = secrets.token_hex(8)
        await append({"user": id})
        users[id] = _User(presentation_order(stimuli, id), [])
        return {"user": id}

    @routes.get("/users/{id}")
    async def show_user(id: str) -> dict[str, Any]:
        user = user_named(id)
        return {"order": user.order, **progress(user)}

    @routes.post("/users/{id}/answers")
    async def take(id: str, answer: Answer) -> dict[str, Any]:
        user = user_named(id)
        async with user.lock:
            if answer.place > len(user.answers) or answer.place >= len(user.order):
                raise HTTPException(409, f"The next answer is number {len(user.answers)}, not {answer.place}.")
            stimulus = user.order[answer.place]
            if answer.place == len(user.answers):  # else it is here already: a double key, or sent again
                record = {"stimulus": stimulus, **answer.model_dump(exclude={"place"})}
                await append({"user": id, **record})
                user.answers.append(record)
                if len(user.answers) == len(user.order):
                    finished = sum(len(other.answers) == len(other.order) for other in users.values())
                    say(f"study: {finished} finished, {len(users) - finished} on the way or gone")
        # the truth is told in the training alone
        return {"generated": truth[stimulus] if answer.place < training else None, **progress(user)}

    app = FastAPI(title="reid-augment study", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(routes)
    return app


def serve(folder: Path, host: str = LOOPBACK, port: int = 8008) -> None:
    """Serve a study until Ctrl-C. On any address but localhost the link contains a token.

    Raises :class:`AugmentError` where the address cannot be used or another process serves the same study.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AugmentError(f"{folder}: this study is being served already. Stop that process first.") from None
    try:
        with _listen(host, port) as listener:
            token = "" if host in (LOOPBACK, "localhost", "::1") else _token(folder)
            app = create_app(folder, token)
            name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
            say(f"study: http://{name}:{listener.getsockname()[1]}/{token + '/' if token else ''}   (Ctrl-C ends it)")
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
            try:
                server.run(sockets=[listener])
            except KeyboardInterrupt:  # uvicorn has closed everything in order by then
                return
    finally:
        lock.release()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        remedy = "Name another with --port." if error.errno == errno.EADDRINUSE else "Name another with --host."
        raise AugmentError(f"{host}:{port}: cannot be listened on ({error.strerror or error}). {remedy}") from None
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


def _result(user: _User, truth: dict[str, bool], training: int) -> dict[str, int]:
    """The result shown to a user who has finished: errors of either kind, and the numbers of images."""
    test = [(truth[answer["stimulus"]], answer["said_generated"]) for answer in user.answers[training:]]
    return {
        "real_as_generated": sum(said and not generated for generated, said in test),
        "generated_as_real": sum(generated and not said for generated, said in test),
        "of_each": len(test) // 2,
    }
