"""The web application: the interfaces, the page, the numbers, and how errors are answered."""

import base64
import hashlib
import logging
import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp

from serving.house import House
from serving.kserve import kserve_routes
from serving.metrics import CONTENT_TYPE
from serving.paddlex import paddlex_routes
from serving.plain import plain_routes
from serving.refusals import Refusal
from serving.visits import GONE, Watched, refused

PAGE = Path(__file__).with_name("page.html")
TITLE = "TSN video classification"
FAILED = "an error that nobody foresaw; the server's log has it, under this request's id"

logger = logging.getLogger("serve")


def build_app(house: House) -> ASGIApp:
    """All of it."""
    about = f"The model is {house.model.name}."
    # a redirect goes to the host that the request names
    app = FastAPIOffline(title=TITLE, redoc_url=None, description=about, redirect_slashes=False)
    # /docs asks for the token; `Watched` is who looks at it
    locks = [Depends(HTTPBearer(auto_error=False))] if house.token else []
    for routes in (page_routes, plain_routes, paddlex_routes, kserve_routes):
        app.include_router(routes(house), dependencies=locks)
    add_errors(app)
    return Watched(app, house.metrics, house.token)


def page_routes(house: House) -> APIRouter:
    router = APIRouter()
    html = PAGE.read_text(encoding="utf-8")
    policy = content_policy(html)
    model, limits = house.model, house.service.limits
    about = {
        "model": model.name,
        "num_classes": model.num_classes,
        "class_names": model.class_names,
        "engine": model.engine,
        "num_segments": model.num_segments,
        "max_bytes": limits.max_bytes,
        "max_video_sec": limits.max_video_sec,
        "needs_token": house.token is not None,
        "has_heat_maps": house.service.has_heat_maps,
    }

    @router.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(html, headers={"content-security-policy": policy})

    @router.get("/about", tags=["plain"], summary="The model, and the limits")
    async def tell_about() -> dict[str, Any]:
        return about

    @router.get("/metrics", tags=["plain"], summary="Numbers, in Prometheus' format")
    async def metrics() -> Response:
        return Response(house.metrics.text(), media_type=CONTENT_TYPE)

    return router


def add_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refuse(request: Request, refusal: Refusal) -> JSONResponse:
        return refused(request.state.visit, refusal)

    @app.exception_handler(RequestValidationError)
    async def refuse_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        wrong = "; ".join(f"{entry['loc'][-1]}: {entry['msg']}" for entry in error.errors())
        return refused(request.state.visit, Refusal(422, wrong))

    @app.exception_handler(HTTPException)
    async def refuse_unknown(request: Request, error: HTTPException) -> JSONResponse:
        return refused(request.state.visit, Refusal(error.status_code, str(error.detail)))

    @app.exception_handler(ClientDisconnect)
    async def hear_nobody(request: Request, error: ClientDisconnect) -> Response:
        request.state.visit.reason = "the client has gone"
        return Response(status_code=GONE)

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> JSONResponse:
        logger.error("request %s has failed:", request.state.visit.id)  # the traceback follows
        return refused(request.state.visit, Refusal(500, FAILED))


def content_policy(html: str) -> str:
    """The content security policy of a page that has everything inside: nothing else may be loaded or run."""
    (style,), (script,) = (re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL) for tag in ("style", "script"))
    sources = (
        "default-src 'none'", f"script-src '{_digest(script)}'", f"style-src '{_digest(style)}'",
        "img-src data: blob:", "media-src blob:", "connect-src 'self'",
        "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    )  # fmt: skip
    return "; ".join(sources)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
