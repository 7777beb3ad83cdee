"""`python -m apps.carrier_sim --port 9100 --ledger var/carrier_sim.jsonl`: runs the simulator until it is
stopped.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from pathlib import Path

import uvicorn

from apps.carrier_sim import signing
from apps.carrier_sim.app import create_app
from apps.carrier_sim.ledger import LedgerBroken


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m apps.carrier_sim", description="The mocked host carrier."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    parser.add_argument("--port", type=int, default=9100, help="0 takes a free one; the address is printed")
    parser.add_argument(
        "--ledger", type=Path, help="file of accepted orders; without it they are only remembered"
    )
    options = parser.parse_args()
    master_secret = os.environ.get("CARRIER_SIM_SECRET", "")
    if not master_secret:
        print("CARRIER_SIM_SECRET: missing; the resellers' secrets are derived from it", file=sys.stderr)
        return 2
    token = os.environ.get("REALNAME_TOKEN") or signing.realname_token_of(master_secret)
    second = os.environ.get("REALNAME_SECOND_SECRET") or signing.realname_second_secret_of(master_secret)
    try:
        app = create_app(
            ledger_path=options.ledger,
            master_secret=master_secret,
            realname_token=token,
            realname_second_secret=second,
        )
    except LedgerBroken as error:
        print(f"ledger: {error}", file=sys.stderr)
        return 2
    # Ours, so that port 0 works, the address is known before the first call, and callers queue instead of being
    # refused. With the protocol named, asyncio turns Nagle off on accepted sockets (it costs 40 ms a call otherwise).
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
    except OSError as error:
        print(f"{options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 2
    listener.listen(2048)
    host = f"[{options.host}]" if ":" in options.host else options.host
    print(f"carrier simulator on http://{host}:{listener.getsockname()[1]}", flush=True)
    # Dropped connections are what this server is asked for: uvicorn would log each one as an error.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
        backlog=2048,
    )
    uvicorn.Server(config).run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
