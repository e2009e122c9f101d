r"""Answer over HTTP what a model says of videos: a page for people, three interfaces for programs.

    python serve.py --weights=checkpoints/demo/TSN_epoch14                  # then open http://127.0.0.1:8080
    python serve.py --weights=exported --host=0.0.0.0 --port=80 --workers=8 # a token: TSN_SERVE_TOKEN
    curl --data-binary @my.mp4 "http://127.0.0.1:8080/classify?topk=5"
    curl -F file=@match.mp4 "http://127.0.0.1:8080/classify?window_sec=4"   # a line of JSON for each window

Programs written for PaddleX (POST /video-classification) and for KServe (/v2) need no change; /docs describes all
addresses, /metrics is for Prometheus. Each request leaves one line of JSON in the log. SIGTERM and Ctrl-C let the
requests that are under way be answered; a second one ends the server at once.
"""

import argparse
import logging
import os
import tempfile
from pathlib import Path

if __name__ == "__main__":
    import common.beginning  # noqa: F401

import common.startup  # noqa: F401
from common import command_line, console
from common.command_line import whole_number
from common.processes import num_cores
from datareader.build import build_reader
from inference.choice import add_engine, wish_of
from inference.session import begin_session, describe_protocol
from serving.addresses import Fetcher
from serving.build import Settings, build_house, check_config
from serving.house import House
from serving.limits import add_limits, limits_of
from serving.server import listen, serve

TOKEN = "TSN_SERVE_TOKEN"
LEAST_WORKERS = 2  # a long video occupies one
FETCH_SEC = 60.0  # for a video from an address
MANY_REQUESTS = 10**6  # of a server's life: a faster engine is worth its start

logger = logging.getLogger("serve")


def build_parser() -> command_line.OneLineParser:
    parser = command_line.config_parser(__doc__)
    command_line.add_weights(parser)
    add_engine(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all (default: %(default)s)"
    )
    parser.add_argument(
        "--port", type=whole_number(0, 65535), default=8080, help="0 takes any that is free (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=whole_number(1, 1024),
        help="processes that decode videos (default: one for each core, two at least)",
    )  # fmt: skip
    parser.add_argument("--cam", action="store_true", help="heat maps on the page; they need the eager engine")
    parser.add_argument("--token", help=f"bearer token that requests have to bring (default: {TOKEN}; else none)")
    parser.add_argument(
        "--allow_urls", nargs="+", default=[], metavar="HOST",
        help="hosts whose addresses may stand for a video in /video-classification, *.HOST for those below it "
        "(default: none); private addresses never do",
    )  # fmt: skip
    add_limits(parser)
    parser.add_argument(
        "--temp_dir", help="folder for videos that are under way (default: the system's for temporary files)"
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    console.start_logging()
    token = args.token or os.environ.get(TOKEN) or None
    settings = settings_of(args, token)
    bound = listen(args.host, args.port)  # before the model is loaded: a port that is taken shows at once
    house = open_house(args, settings)
    if token is None and args.host not in ("127.0.0.1", "localhost", "::1"):
        logger.warning("[SERVE] anybody who reaches %s may use this server; --token or %s is a lock", args.host, TOKEN)
    serve(house, bound)


def open_house(args: argparse.Namespace, settings: Settings) -> House:
    """The server's parts, with the model that the flags name; its engine's threads run."""
    flags = {"MODEL.name": args.model_name, "TRAIN.use_gpu": args.use_gpu}
    opening = begin_session(args.weights, args.config, args.overrides, flags=flags, wish=wish_of(args))
    if opening.ranks.num_ranks > 1:
        raise ValueError("serve.py is one process; start it without the launcher")
    check_config(opening.config)
    session = opening.open(MANY_REQUESTS, needs_layers=args.cam)
    reader = build_reader(session.config, "infer", [])
    logger.info("[SERVE] %s", describe_protocol(reader, session.protocol(reader)))
    # where many clips share the cores, a stream each, one that comes alone is sooner done by all of them
    lone = opening.open(MANY_REQUESTS, one_by_one=True).engine if session.engine.in_flight > 1 else None
    return build_house(session, settings, lone)


def settings_of(args: argparse.Namespace, token: str | None) -> Settings:
    """What the flags say of the server itself."""
    limits, num_workers = limits_of(args), args.workers or max(num_cores(), LEAST_WORKERS)
    return Settings(
        limits=limits,
        num_workers=num_workers,
        num_threads=max(num_cores() // num_workers, 1),
        temp_dir=Path(args.temp_dir or tempfile.gettempdir()),
        fetcher=Fetcher(args.allow_urls, limits.max_bytes, FETCH_SEC),
        token=token,
    )


if __name__ == "__main__":
    command_line.run(main)
