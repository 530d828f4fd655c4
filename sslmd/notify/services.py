"""One message by Apprise, and by nothing else that Apprise can do.

It is a large library with plugins for 180 services. Closed off here: its configuration files,
attachments and templates (files, and URLs that it would fetch), plugins from disk, what it stores,
retries, and the services of a desktop or of this machine. What its plugins make of an address is
their own matter; the process that they run in holds nothing but this address (`notify.main`).
"""

from __future__ import annotations

import logging
import re
from importlib import import_module

from sslmd.core.trouble import Severity
from sslmd.notify import bounded
from sslmd.wire.sending import SendAnswer, SendFailure, ToSend

# Services that show something on this machine, or write to its log.
HERE = frozenset(
    {"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"}
)

bounded.install()

import apprise  # noqa: E402 - it takes what is installed before
from apprise import NotifyBase, NotifyFormat, NotifyType  # noqa: E402
from apprise.common import OverflowMode  # noqa: E402
from apprise.manager_attachment import AttachmentManager  # noqa: E402
from apprise.manager_config import ConfigurationManager  # noqa: E402
from apprise.manager_plugins import NotificationManager  # noqa: E402

# Whom a program reads, and whose texts are taken as they are.
_VERBATIM = frozenset({"form", "forms", "json", "jsons", "xml", "xmls"})

# What chats make of a text, whatever Apprise escapes: mentions that wake up everybody, tags (HTML,
# Slack's `<!channel>`), links with another text. Words of CAs and hosts stand in messages.
_MENTION = re.compile(r"@(?=(?:all|channel|everyone|here|room|team)\b)", re.IGNORECASE)
_SIGNS = str.maketrans({"<": "‹", ">": "›"})

# What is loaded at first use, by those that came with Apprise.
_LATER = ("email.mime.text", "encodings.idna", "idna", "zoneinfo", "charset_normalizer")

_KINDS = {
    Severity.OK: NotifyType.SUCCESS,
    Severity.WARNING: NotifyType.WARNING,
    Severity.CRITICAL: NotifyType.FAILURE,
}


def load() -> None:
    """Load the plugins, and close off what they are not to use; takes a second."""
    # Its lines have addresses in them; what is to be told is told by `bounded`.
    logging.disable(logging.CRITICAL)
    for manager in (AttachmentManager(), ConfigurationManager()):
        manager.load_modules()
        manager.unload_modules(disable_native=True)
    NotificationManager().load_modules()
    for name in _LATER:
        import_module(name)


def send(message: ToSend) -> SendAnswer:
    """Send it; return how that went."""
    asset = apprise.AppriseAsset(
        app_id="sslmd",
        app_desc="certificate daemon",
        app_url="",
        allow_templates=False,
        default_service_retry=0,
        http_redirects=False,
        image_path_mask=False,
        image_url_logo="",
        image_url_mask="",
        interpret_emojis=False,
        interpret_escapes=False,
        pem_autogen=False,
        pgp_autogen=False,
        storage_mode="memory",
    )
    scheme = message.address.partition(":")[0].lower()
    service = _service(message.address, scheme, asset)
    if isinstance(service, SendAnswer):
        return service
    if "overflow=" not in message.address.lower():
        # A text message of 160 characters has the most urgent, and no other 20 follow it.
        service.overflow_mode = OverflowMode.TRUNCATE
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    texts = [message.subject, "\n".join(message.lines)]
    title, body = texts if scheme in _VERBATIM else map(unmarked, texts)
    taken = sender.notify(
        body=body,
        title=title,
        notify_type=_KINDS[message.severity],
        body_format=NotifyFormat.TEXT,
    )
    if taken:
        return SendAnswer()
    return bounded.SEEN.answer or SendAnswer(SendFailure.REFUSED)


def unmarked(text: str) -> str:
    """Return a text of which no chat makes anything but text."""
    return _MENTION.sub("@ ", text.translate(_SIGNS)).replace("](", "] (")


def _service(address: str, scheme: str, asset: apprise.AppriseAsset) -> NotifyBase | SendAnswer:
    plugins = NotificationManager()
    if scheme in HERE:
        return SendAnswer(SendFailure.BAD_ADDRESS)
    if scheme in plugins and not plugins[scheme].enabled:
        return SendAnswer(SendFailure.NEEDS_PACKAGE)
    try:
        service = apprise.Apprise.instantiate(address, asset=asset, suppress_exceptions=False)
    except Exception:  # what plugins raise for an address that they do not like
        service = None
    return service or SendAnswer(SendFailure.BAD_ADDRESS)
