"""Whom to tell: addresses as Apprise writes them, and what of them is seen without Apprise.

No message repeats an address: it may hold a password or a token.
"""

from __future__ import annotations

import re
from typing import Any

from sslmd.config.addresses import is_host
from sslmd.config.kinds import AliveUrl, NotifyAddress
from sslmd.config.report import nearest
from sslmd.config.values import wrong
from sslmd.core.names import shown

# Characters.
MOST = 2000

_SCHEME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,40}")
# As sendmail(8) gets it as an argument; see `sslmd.notify.mail`.
_RECIPIENT = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9._+=/~-]*(?:@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*)?"
)
_URL = re.compile(
    r"https?://(?P<at>[^/?#@]*@)?(?:\[(?P<ip6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?:[/?][A-Za-z0-9._~!$&'()*+,;=:@/?%-]*)?"
)
_RIGHT = "write mailto:root, ntfys://host/topic, or another address as https://appriseit.com says"


# --- the schemes of addresses that Apprise knows ---------------------------------------------

# The daemon does not load Apprise, and yet a mistyped one is a mistake at once. A test compares
# these lists with the Apprise that is installed.

# Services that show something on this machine, or write to its log: not for a daemon.
_HERE = """
    blink1 dbus gio glib gnome kde macosx qt syslog windows
"""

# Services whose addresses always hold a secret: a token, a key, or a password.
_PRIVATE = """
    46elks acs apprise apprises aprs atalk awswhatsapp azure bale bark barks betterstack
    bluesky brevo bsky bulksms bulkvs burstsms chanify clickatell clicksend cliq cm d7sms
    dapnet dingtalk discord dot eight00com elks evolution evolutions exotel feishu
    firehydrant flock flowtriq flowtriqs fluxer fluxers freemobile gchat github goalert
    goalerts gotify gotifys groundmail groupme guilded gupshup hassio hassios httpsms humhub
    humhubs ifttt ilert incidentio infobip instagram jira join kakao kakaotalk kaleyra
    kavenegar klr kook kudosity kumulos lark lauther lfg line mailersend mailgun matrix
    matrixs mmost mmosts mobilemessage mobilemsg mqtt mqtts msg91 msgbird nctalk nctalks
    nexmo nostr notica noticas notifiarr notifico notificos notifyapp notifyre o365 octopush
    onesignal opsgenie opsimate opsimates pagerduty pagertree parsep parseps pbul pinglet
    pinglets pingram pjet pjets postmark pover prowl psafer psafers push pushdeer pushdeers
    pushed pushme pushplus pushward pushy qq reddit resend revolt ringc ryver schan sendgrid
    sendpulse serwersms ses session sessions seven sfr signalgrid signl4 simplepush sinch
    slack smpp smpps smsc smsmanager smsmgr smstunnel smtp2go sns sogs sparkpost spike
    splunk spugpush spush squadcast stackfield strmlabs synology synologys telesign telnyx
    tgram threema trigv trigvs tweet twilio twist twitter vapid viber victorops voipms
    vonage webex wechat wecom wecombot whapi whatsapp workflow workflows wpush wxpusher
    wxteams x xmpp xmpps youlmk zalo zcliq zohocliq zoom zulip
"""

# The others.
_OTHERS = """
    amqp amqps deltachat deltachats emby embys enigma2 enigma2s fcm form forms gorush
    gorushs growl irc ircs jellyfin jellyfins json jsons kodi kodis lametric lametrics
    mailto mailtos mastodon mastodons misskey misskeys ncloud nclouds ntfy ntfys onebot
    onebots plivo rocket rockets rsyslog signal signals smseagle smseagles toot toots xbmc
    xbmcs xmatters xml xmls
"""

LOCAL_SCHEMES = frozenset(_HERE.split())
PRIVATE_SCHEMES = frozenset(_PRIVATE.split())
SCHEMES = PRIVATE_SCHEMES | frozenset(_OTHERS.split())

# The addresses of web hooks as services themselves show them, where Apprise knows these.
WEB = "https"


def notify_address(value: Any) -> NotifyAddress:
    """Check one address."""
    if not isinstance(value, str):
        raise wrong("it is not a text", _RIGHT)
    whole = value.strip()
    scheme, colon, rest = whole.partition(":")
    scheme = scheme.lower()
    # What stands before a colon may be anything, until it is seen to be a scheme.
    if not colon or not (
        scheme in SCHEMES or (_SCHEME.fullmatch(scheme) and rest.startswith("//"))
    ):
        raise wrong("an address is not one of Apprise", _RIGHT)
    if len(whole) > MOST:
        raise wrong(f"an address ({scheme}) has more than {MOST} characters", _RIGHT)
    if not whole.isprintable() or any(char.isspace() for char in whole):
        raise wrong(f"an address ({scheme}) has spaces or control characters", "leave them out")
    if scheme in LOCAL_SCHEMES:
        problem = f"{scheme} shows messages on this machine, where no one may sit"
        raise wrong(problem, _RIGHT)
    if scheme not in SCHEMES and scheme != WEB:
        near = nearest(scheme, SCHEMES)
        hint = near if near.startswith("did you mean") else _RIGHT
        raise wrong(f"Apprise does not know the scheme {shown(scheme)}", hint)
    if scheme == "mailto" and not rest.startswith("//"):
        if not _RECIPIENT.fullmatch(rest):
            raise wrong(
                "mailto: is followed by something that is not a mail address",
                "write mailto:user@host, without ? or commas; mailto://… is for a mail server that "
                "Apprise speaks to",
            )
    elif not rest.startswith("//") or len(rest) < 3:
        raise wrong(f"an address ({scheme}) has no // and nothing after it", _RIGHT)
    return NotifyAddress(whole)


def holds_secret(address: NotifyAddress) -> bool:
    """Whether there is a secret in it, as far as its form tells."""
    if address.is_local_mail:
        return False
    authority = re.split(r"[/?#]", address.text.partition("://")[2])[0]
    user, at, _ = authority.rpartition("@")
    return bool(at and ":" in user) or address.scheme in PRIVATE_SCHEMES or address.scheme == WEB


def alive_url(value: Any) -> AliveUrl | None:
    """Check the URL of a dead man's switch; "" stands for none."""
    remedy = "write https://host/path"
    if not isinstance(value, str):
        raise wrong("it is not a text", remedy)
    url = value.strip()
    if not url:
        return None
    found = _URL.fullmatch(url)
    host = (found["ip6"] or found["host"]) if found else ""
    if found is None or not is_host(host) or not 1 <= int(found["port"] or 443) <= 65535:
        raise wrong("it is not a URL", remedy)
    if found["at"]:
        raise wrong("it has a user or a password in it", remedy)
    return AliveUrl(url, host)
