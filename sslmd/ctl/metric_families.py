"""The metrics of `sslmctl metrics`: each with its name, what it says, its labels and its values.

Tables: a family is a row. docs/monitoring/prometheus.md is made of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

from sslmd.console.answers import Cert, Fields
from sslmd.core.trouble import Severity, troubles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from prometheus_client.core import Metric

Rows = Iterable[tuple[tuple[str, ...], float]]


def gauge(name: str, text: str, labels: Sequence[str], rows: Rows) -> Metric:
    """Return a family of numbers that go up and down."""
    family = GaugeMetricFamily(f"sslmd_{name}", text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _counter(name: str, text: str, labels: Sequence[str], rows: Rows) -> Metric:
    family = CounterMetricFamily(f"sslmd_{name}", text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


# --- certificates ------------------------------------------------------------------------

_CERT, _SET = ("certificate",), ("certificate", "generation")
_OfCert = Callable[[Cert, str, datetime], Rows]


def _of_sets(field: str, *within: str) -> _OfCert:
    def rows(cert: Cert, name: str, now: datetime) -> Rows:
        del now
        for generation in ("curr", "next"):
            one = cert.sub(generation)
            for part in within:
                one = one.sub(part)
            if when := one.time(field):
                yield (name, generation), when.timestamp()

    return rows


def _time(field: str) -> _OfCert:
    def rows(cert: Cert, name: str, now: datetime) -> Rows:
        del now
        if when := cert.time(field):
            yield (name,), when.timestamp()

    return rows


def _severity(cert: Cert, name: str, now: datetime) -> Rows:
    wrong = troubles(cert.status, now)  # the worst first
    yield (name,), float(wrong[0].severity if wrong else Severity.OK)


def _failures(cert: Cert, name: str, now: datetime) -> Rows:
    del now
    yield (name,), float(cert.number("attempts"))


def _phase(cert: Cert, name: str, now: datetime) -> Rows:
    del now
    yield (name, cert.text("phase")), 1.0


def _replace_now(cert: Cert, name: str, now: datetime) -> Rows:
    del now
    if cert.text("replace_now"):
        yield (name,), 1.0


def _dane(cert: Cert, name: str, now: datetime) -> Rows:
    del now
    if report := cert.sub("dane"):
        yield (name,), float(report.flag("ok"))


_OF_CERTS: Sequence[tuple[str, str, Sequence[str], _OfCert]] = (
    (
        "certificate_not_before_timestamp_seconds",
        "From when it is valid.",
        _SET,
        _of_sets("not_before"),
    ),
    (
        "certificate_not_after_timestamp_seconds",
        "When it expires.",
        _SET,
        _of_sets("not_after"),
    ),
    (
        "certificate_renew_timestamp_seconds",
        "When its renewal begins.",
        _CERT,
        _time("renew_at"),
    ),
    (
        "certificate_roll_timestamp_seconds",
        "When what is on deck is rolled.",
        _CERT,
        _time("roll_at"),
    ),
    (
        "certificate_failures",
        "Failures in a row.",
        _CERT,
        _failures,
    ),
    (
        "certificate_last_failure_timestamp_seconds",
        "When it failed last, while that is not made good.",
        _CERT,
        _time("failed_at"),
    ),
    (
        "certificate_severity",
        "How bad it is: 0 well, 1 a warning, 2 critical, as in sslmctl check.",
        _CERT,
        _severity,
    ),
    (
        "certificate_phase",
        "1 for the phase that it is in.",
        ("certificate", "phase"),
        _phase,
    ),
    (
        "certificate_replace_now",
        "1 where its CA wants it replaced now.",
        _CERT,
        _replace_now,
    ),
    (
        "certificate_dane_ok",
        "Whether TLSA records, name servers and ports fitted when they were compared last.",
        _CERT,
        _dane,
    ),
    (
        "certificate_renewal_window_start_timestamp_seconds",
        "Begin of the window in which its CA wants it renewed (RFC 9773).",
        _SET,
        _of_sets("start", "renewal_info"),
    ),
    (
        "certificate_renewal_window_end_timestamp_seconds",
        "End of the window in which its CA wants it renewed (RFC 9773).",
        _SET,
        _of_sets("end", "renewal_info"),
    ),
    (
        "certificate_renewal_window_looked_timestamp_seconds",
        "When its CA was asked for that last.",
        _SET,
        _of_sets("looked_at", "renewal_info"),
    ),
)


def of_certs(certs: Sequence[Cert], now: datetime) -> Iterator[Metric]:
    """Yield what is known of certificates; a family at a time, as the format wants it."""
    named = [(cert, cert.name.replace("/", ":")) for cert in certs]
    for name, text, labels, rows in _OF_CERTS:
        found = (row for cert, own in named for row in rows(cert, own, now))
        yield gauge(name, text, labels, found)
    servers = Counter(
        (server.text("class"), server.text("host"), server.text("state"))
        for cert in certs
        for server in cert.subs("servers")
    )
    yield gauge(
        "server_certificates",
        "Certificates of a server class on a host, by how far they are.",
        ("class", "host", "state"),
        ((key, float(number)) for key, number in sorted(servers.items())),
    )


# --- the daemon ----------------------------------------------------------------------------

_OfDaemon = Callable[[Fields], Rows]


def _stamp(field: str) -> _OfDaemon:
    def rows(own: Fields) -> Rows:
        if when := own.time(field):
            yield (), when.timestamp()

    return rows


def _each(of: str, label: str, field: str) -> _OfDaemon:
    """Return the numbers of the things in a list; a flag is 1 or 0."""

    def rows(own: Fields) -> Rows:
        for one in own.subs(of):
            yield (one.text(label),), one.real(field)

    return rows


def _limits(field: str) -> _OfDaemon:
    def rows(own: Fields) -> Rows:
        for ca in own.subs("cas"):
            for one in ca.subs("limits"):
                yield (ca.text("ca"), one.text("limit")), one.real(field)

    return rows


def _jobs(own: Fields) -> Rows:
    for job in own.subs("jobs"):
        for state in ("queued", "running"):
            yield (job.text("kind"), state), float(job.number(state))


def _alarms(own: Fields) -> Rows:
    for one in own.subs("alarms"):
        silenced = str(one.flag("silenced")).lower()
        yield (one.text("kind"), one.text("severity"), silenced), float(one.number("number"))


_OF_DAEMON: Sequence[tuple[str, str, Sequence[str], _OfDaemon]] = (
    (
        "info",
        "The version that runs.",
        ("version",),
        lambda own: [((own.text("version"),), 1.0)],
    ),
    (
        "start_time_seconds",
        "When the daemon started.",
        (),
        _stamp("started"),
    ),
    (
        "last_plan_timestamp_seconds",
        "When it last decided what comes next.",
        (),
        _stamp("planned_at"),
    ),
    (
        "loop_lag_seconds",
        "By how much a timer of the daemon was late, at most, in the last minutes.",
        (),
        lambda own: [((), own.real("loop_lag"))],
    ),
    (
        "config_refused",
        "Whether the configuration on disk was refused.",
        (),
        lambda own: [((), float(own.flag("refused")))],
    ),
    (
        "jobs",
        "Jobs that wait and that run.",
        ("kind", "state"),
        _jobs,
    ),
    (
        "ca_failed_validations",
        "Failed validations of the last hour.",
        ("ca",),
        _each("cas", "ca", "failed_validations"),
    ),
    (
        "ca_limit_most",
        "How many a limit allows.",
        ("ca", "limit"),
        _limits("most"),
    ),
    (
        "ca_limit_used_ratio",
        "How much of a limit is taken, 0 to 1: of an account, a name or a domain, the most.",
        ("ca", "limit"),
        _limits("used"),
    ),
    (
        "zone_trouble",
        "Whether TLSA records cannot be published or looked at.",
        ("zone",),
        _each("zones", "zone", "trouble"),
    ),
    (
        "zone_changing",
        "Whether name servers do not show all changes yet.",
        ("zone",),
        _each("zones", "zone", "changed"),
    ),
    (
        "zone_late_certificates",
        "Sets on deck that wait too long for records.",
        ("zone",),
        _each("zones", "zone", "waiting"),
    ),
    (
        "zone_name_servers",
        "Name servers that were asked last.",
        ("zone",),
        _each("zones", "zone", "servers"),
    ),
    (
        "zone_name_servers_heard",
        "Of these, the ones that answered.",
        ("zone",),
        _each("zones", "zone", "heard"),
    ),
    (
        "network_process_up",
        "Whether the network process runs.",
        (),
        lambda own: [((), float(own.sub("network_process").flag("up")))],
    ),
    (
        "alarms",
        "Alarms that are raised.",
        ("kind", "severity", "silenced"),
        _alarms,
    ),
)

_COUNTERS: Sequence[tuple[str, str, Sequence[str], _OfDaemon]] = (
    (
        "events",
        "Events, as in the journal.",
        ("event",),
        _each("events", "event", "number"),
    ),
    (
        "ca_certificates",
        "Certificates that a CA issued.",
        ("ca",),
        _each("cas", "ca", "issued"),
    ),
    (
        "network_process_starts",
        "How often it was started.",
        (),
        lambda own: [((), float(own.sub("network_process").number("starts")))],
    ),
)


def of_daemon(own: Fields) -> Iterator[Metric]:
    """Yield the daemon's own numbers."""
    for name, text, labels, rows in _OF_DAEMON:
        yield gauge(name, text, labels, rows(own))
    spent = SummaryMetricFamily(
        "sslmd_job_duration_seconds", "Jobs that have ended, however.", labels=("kind",)
    )
    for job in own.subs("jobs"):
        spent.add_metric((job.text("kind"),), job.number("ended"), job.real("seconds"))
    yield spent
    for name, text, labels, rows in _COUNTERS:
        yield _counter(name, text, labels, rows(own))
