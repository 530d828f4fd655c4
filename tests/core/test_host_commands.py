"""Which commands follow a roll, in their order: what the plan shows is what is run."""

from __future__ import annotations

from sslmd.core.host.commands import DNS, FollowUp, HostCommands, following_roll
from sslmd.core.names import CertId

WEB, ROOT = CertId("example.com", "web"), CertId("ca", "root")
COMMANDS = HostCommands(
    restarts={
        "smtp": (("postfix", "reload"),),
        "web": (("nginx", "-t"), ("nginx", "-s", "reload")),
    },
    after_copy=(("root@Far", ("sync", "all")), ("near", ("true",))),
    dns=(("rndc", "reload", "{zone}"), ("after-dns",)),
)


def test_a_copy_then_each_class_in_the_order_of_the_file_and_the_name_servers_last() -> None:
    servers = {("web", "far"), ("smtp", "far"), ("web", "near"), (DNS, "localhost")}
    assert list(following_roll(COMMANDS, WEB, servers, {"far"})) == [
        FollowUp("far", "", ("sync", "all", "far")),
        FollowUp("far", "smtp", ("postfix", "reload")),
        FollowUp("far", "web", ("nginx", "-t")),
        FollowUp("far", "web", ("nginx", "-s", "reload")),
        FollowUp("localhost", DNS, ("rndc", "reload", "example.com")),
        FollowUp("localhost", DNS, ("after-dns", "--serial_bump", "example.com")),
        FollowUp("near", "web", ("nginx", "-t")),
        FollowUp("near", "web", ("nginx", "-s", "reload")),
    ]


def test_the_group_of_the_own_cas_is_no_zone() -> None:
    assert COMMANDS.restarting(DNS, [ROOT]) == (("after-dns",),)
    assert COMMANDS.restarting(DNS, [ROOT, WEB]) == COMMANDS.restarting(DNS, [WEB])


def test_a_class_that_is_not_there_has_no_commands() -> None:
    assert COMMANDS.restarting("imap", [WEB]) == ()
    assert COMMANDS.after_copy_to("elsewhere") == ()
