#!/usr/bin/python3
"""A mail server for tests: STARTTLS or implicit TLS, AUTH, and faults on demand.

Listens on loopback, prints its port on one line, and writes what it accepts to DIR/<n>.eml with the
envelope in DIR/<n>.envelope (sender, then recipients, a line each). Ends when its standard input ends, so
that it never outlives the test that started it.

Modes: ok; refuse550 (recipients that begin with "no" are refused; with --fail-first only so many times),
refusedata (554 after the content), tempfail451 (after the content), badauth (535 always), stall (no answer
after the content). --fail-first N makes only the first N messages fail. Replies quote the message back, as
some servers do, so that a test can see that nobody repeats them.
"""

import argparse
import asyncio
import os
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Handler:
    def __init__(self, arguments):
        self.arguments = arguments
        self.failures = 0
        self.count = 0

    def failing(self, mode):
        if self.arguments.mode != mode:
            return False
        if self.arguments.fail_first is not None and self.failures >= self.arguments.fail_first:
            return False
        self.failures += 1
        return True

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("no") and self.failing("refuse550"):
            return "550 5.1.1 nobody of that name, and your subject was: SECRET-PROSE"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.failing("tempfail451"):
            return "451 4.3.0 try again later: SECRET-PROSE"
        if self.failing("refusedata"):
            return "554 5.7.1 this looks like spam: SECRET-PROSE"
        if self.failing("stall"):
            await asyncio.sleep(3600)
        self.count += 1
        folder = pathlib.Path(self.arguments.dir)
        names = "\n".join([envelope.mail_from, *envelope.rcpt_tos]) + "\n"
        (folder / f"{self.count}.envelope").write_text(names)
        partial = folder / f".{self.count}"
        partial.write_bytes(envelope.content)
        partial.rename(folder / f"{self.count}.eml")
        return "250 OK"


class Authenticator:
    def __init__(self, arguments):
        self.arguments = arguments

    def __call__(self, server, session, envelope, mechanism, data):
        user, password = (part.encode() for part in self.arguments.auth)
        right = (data.login, data.password) == (user, password)
        if self.arguments.mode == "badauth" or not right:
            return AuthResult(success=False, handled=False)
        return AuthResult(success=True)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--starttls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--implicit", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--auth", nargs=2, metavar=("USER", "PASSWORD"))
    parser.add_argument("--dir", required=True)
    parser.add_argument("--fail-first", type=int)
    modes = ["ok", "refuse550", "refusedata", "tempfail451", "badauth", "stall"]
    parser.add_argument("--mode", choices=modes, default="ok")
    return parser.parse_args()


def context(files):
    if not files:
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*files)
    return made


async def main():
    given = arguments()
    handler = Handler(given)
    loop = asyncio.get_running_loop()

    def session():
        return SMTP(
            handler,
            loop=loop,
            hostname="localhost",
            tls_context=context(given.starttls),
            require_starttls=bool(given.starttls),
            authenticator=Authenticator(given) if given.auth else None,
            auth_required=bool(given.auth),
            auth_require_tls=not given.implicit,
            enable_SMTPUTF8=True,
        )

    server = await loop.create_server(session, "127.0.0.1", given.port, ssl=context(given.implicit))
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    # A stalled session may still be open; it ends with us.
    os._exit(0)


asyncio.run(main())
