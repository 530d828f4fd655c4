"""The schemes of addresses that Apprise knows, so that a mistyped one is a mistake at once.

The daemon does not load Apprise. A test compares these lists with the Apprise that is installed.
"""

from __future__ import annotations

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

HERE = frozenset(_HERE.split())
PRIVATE = frozenset(_PRIVATE.split())
SCHEMES = PRIVATE | frozenset(_OTHERS.split())

# The addresses of web hooks as services themselves show them, where Apprise knows these.
WEB = "https"
