"""What comes before an order at an ACME CA: checks, counts, the account where CAA names one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sslmd.acme import accounts, certbot
from sslmd.acme.certbot import AcmeServer, LogMark, OrderFolders
from sslmd.acme.directory import Directory
from sslmd.acme.problems import read_problem, to_error
from sslmd.acme.refusals import ProblemKind
from sslmd.config.model import ServiceConfig, Validation
from sslmd.core.errors import Transient
from sslmd.core.limits import failed_too_often
from sslmd.core.names import CertId
from sslmd.core.words.sentence import say
from sslmd.dns.aims import Aim, Learnt
from sslmd.processes import start
from sslmd.workers.preflight import Preflight
from sslmd.workers.tools import Ordering, wanted_of

# For certbot to register, to order, and to hand in its first challenge: a few questions to the CA,
# of which a silent one, or one that sends a byte now and then, would have the answers for ever.
BEGINNING = timedelta(seconds=60)

# For it to hand in every challenge: each has a hook of its own.
HANDING_IN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What to order, where, and in which folders. `label` stands before what is told of it."""

    service: ServiceConfig
    server: AcmeServer
    place: OrderFolders
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


def check_issued(attempt: Attempt, ordering: Ordering) -> None:
    """Raise `Transient` if Let's Encrypt has issued too many for exactly these names (I14).

    It happens where several certificates have the same names, and where what was issued was of no
    use here, again and again.
    """
    if attempt.label:
        return  # a test server's limits are not ours to keep
    if spent := ordering.standings.issuances(ordering.site).exhausted(
        wanted_of(attempt.service, ordering.site.config)
    ):
        why, again = spent
        raise Transient(why, retry_at=again)


async def cleared(
    attempt: Attempt, served: Directory, programs: tuple[str, str], ordering: Ordering
) -> tuple[Preflight, Mapping[str, Aim]]:
    """Check what can be known before an order; return the checks, and where challenges go."""
    checks = Preflight(
        attempt.cert,
        ordering.site.config,
        ordering.resolver,
        served,
        attempt.server.validation,
        await ordering.threads.in_thread(
            accounts.account_uri, attempt.place.home, attempt.server.url
        ),
        lambda: _make_account(attempt, programs[0], ordering),
        lambda why: ordering.telling.tell(
            "order-trouble", f"{attempt.label}{say(why)}", attempt.cert
        ),
        ordering.learnt.setdefault(attempt.cert, Learnt()),
    )
    return checks, await checks.run(attempt.service.spec.all_names())


async def count_offered(attempt: Attempt, ordering: Ordering) -> None:
    """Count the names of an order that was cut short after it was offered as failed.

    Nobody knows how it went; a daemon that is killed again and again may not run into the CA's
    limits. Raises `Transient` where a name has failed too often now.
    """
    names = await ordering.threads.in_thread(certbot.offered, attempt.place)
    if not names:
        return
    await ordering.threads.in_thread(certbot.forget_offered, attempt.place)
    if attempt.label:
        return  # a test server's limits are not ours to keep
    ordering.telling.count(attempt.cert, names)
    if worst := failed_too_often(
        ordering.standings.state_of(attempt.cert).failed, names, ordering.site.now()
    ):
        name, again = worst
        raise Transient(
            f"orders with {name} were cut short too often while the CA validated it",
            retry_at=again,
        )


async def _make_account(attempt: Attempt, program: str, ordering: Ordering) -> str:
    """Make an account at the CA before anything is ordered; return its URL.

    Raises `Transient` or `Permanent` in the CA's own words.
    """
    place, server = attempt.place, attempt.server
    ordering.telling.progress(attempt.cert, f"{attempt.label}makes an account at {server.url}")
    await ordering.threads.in_thread(certbot.prepare, place, attempt.csr, server)
    try:
        before = await ordering.threads.in_thread(certbot.log_mark, place)
        run = await start(
            certbot.register_command(server, place, program),
            cwd=place.home,
            env=certbot.environment(server, place),
            umask=0o077,
        )
        try:
            async with asyncio.timeout(BEGINNING.total_seconds()):
                status = await run.wait()
            await run.rest_of_output()
        except TimeoutError:
            raise Transient(
                f"the CA at {server.url} made no account within {BEGINNING.seconds} s, and certbot "
                "was ended; it is asked again"
            ) from None
        finally:
            await run.end()
        if status != 0:
            raise await problem_of(attempt, status, run.text, before, ordering)
    finally:
        ordering.telling.progress(attempt.cert, "")
        await ordering.threads.in_thread(certbot.clear, place)
    account = await ordering.threads.in_thread(accounts.account_uri, place.home, server.url)
    if not account:
        raise Transient(f"certbot made an account at {server.url}, and left none: {run.said}")
    text = f"{attempt.label}made an account at the CA before the order: {account}"
    ordering.telling.tell("account-made", text, attempt.cert)
    return account


async def problem_of(
    attempt: Attempt, status: int, output: str, before: LogMark, ordering: Ordering
) -> Exception:
    """Return what to raise for a certbot that failed; its log must not be as `before`."""
    log = await ordering.threads.in_thread(certbot.read_log, attempt.place, before)
    now = ordering.site.now()
    # The words of a CA are long, if it wants.
    problem = await ordering.threads.in_thread(
        read_problem, status, output, log, now, attempt.server.url
    )
    if problem.kind is ProblemKind.ACCOUNT_LOST:
        return AccountLostError(problem.text)
    return to_error(problem, now)
