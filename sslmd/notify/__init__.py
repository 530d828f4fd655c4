"""The program that sends messages: Apprise, and the local sendmail(8).

A process of its own for each message and address, without keys and without files of ours
(docs/decisions/2026-12-01-who-sends-messages.md). The daemon speaks to it by `wire.sending`, and
starts it by name or through systemd's socket, so nothing else of the program imports this room.
"""
