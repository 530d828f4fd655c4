"""What comes before an order at an ACME CA: the checks, and the account where CAA names one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sslmd.config.model import ServiceConfig, Validation
from sslmd.core.errors import Transient
from sslmd.core.names import CertId
from sslmd.dns.aims import Aim, Learnt
from sslmd.issuers import certbot
from sslmd.issuers.certbot import LogMark, Place, Server
from sslmd.issuers.directory import Directory
from sslmd.issuers.problems import ProblemKind, read_problem, to_error
from sslmd.processes import start
from sslmd.workers.preflight import Preflight
from sslmd.workers.tools import Tools, wanted_of

# For certbot to register, order, and hand in every challenge.
HANDING_IN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What to order, where, and in which folders. `label` stands before what is told of it."""

    service: ServiceConfig
    server: Server
    place: Place
    csr: bytes
    label: str = ""

    @property
    def cert(self) -> CertId:
        """The certificate's name."""
        return self.service.id

    @property
    def is_http(self) -> bool:
        """Whether names are validated by files on web servers."""
        return self.server.validation is Validation.HTTP_01


class AccountLostError(Exception):
    """The CA does not know our account any more."""


def check_issued(attempt: Attempt, tools: Tools) -> None:
    """Raise `Transient` if Let's Encrypt has issued too many for exactly these names (I14).

    It happens where several certificates have the same names, and where what was issued was of no
    use here, again and again.
    """
    if attempt.label:
        return  # a test server's limits are not ours to keep
    if spent := tools.issuances().exhausted(wanted_of(attempt.service, tools.config)):
        text, again = spent
        raise Transient(text, retry_at=again)


async def cleared(
    attempt: Attempt, served: Directory, programs: tuple[str, str], tools: Tools
) -> tuple[Preflight, Mapping[str, Aim]]:
    """Check what can be known before an order; return the checks, and where challenges go."""
    checks = Preflight(
        attempt.cert,
        tools.config,
        tools.resolver,
        served,
        attempt.server.validation,
        await tools.in_thread(certbot.account_uri, attempt.place.home, attempt.server.url),
        lambda: _make_account(attempt, programs[0], tools),
        lambda text: tools.tell("order-trouble", f"{attempt.label}{text}", attempt.cert),
        tools.learnt.setdefault(attempt.cert, Learnt()),
    )
    return checks, await checks.run(attempt.service.spec.all_names())


async def _make_account(attempt: Attempt, program: str, tools: Tools) -> str:
    """Make an account at the CA before anything is ordered; return its URL.

    Raises `Transient` or `Permanent` in the CA's own words.
    """
    place, server = attempt.place, attempt.server
    tools.progress(attempt.cert, f"{attempt.label}makes an account at {server.url}")
    await tools.in_thread(certbot.prepare, place, attempt.csr, server)
    try:
        before = await tools.in_thread(certbot.log_mark, place)
        run = await start(
            certbot.register_command(server, place, program),
            cwd=place.home,
            env=certbot.environment(server, place),
            umask=0o077,
        )
        try:
            async with asyncio.timeout(HANDING_IN.total_seconds()):
                status = await run.wait()
            await run.rest_of_output()
        except TimeoutError:
            raise Transient(f"the CA at {server.url} does not make an account in time") from None
        finally:
            await run.end()
        if status != 0:
            raise await problem_of(attempt, status, run.text, before, tools)
    finally:
        tools.progress(attempt.cert, "")
        await tools.in_thread(certbot.clear, place)
    account = await tools.in_thread(certbot.account_uri, place.home, server.url)
    if not account:
        raise Transient(f"certbot made an account at {server.url}, and left none: {run.said}")
    text = f"{attempt.label}made an account at the CA before the order: {account}"
    tools.tell("account-made", text, attempt.cert)
    return account


async def problem_of(
    attempt: Attempt, status: int, output: str, before: LogMark, tools: Tools
) -> Exception:
    """Return what to raise for a certbot that failed; its log must not be as `before`."""
    log = await tools.in_thread(certbot.read_log, attempt.place, before)
    now = tools.now()
    problem = read_problem(status, output, log, now, attempt.server.url)
    if problem.kind is ProblemKind.ACCOUNT_LOST:
        return AccountLostError(problem.text)
    return to_error(problem, now)
