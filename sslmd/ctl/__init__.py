"""sslmctl, the thin client: one file per command.

It has to be quick, so nothing imported at start is heavy (no `typing`, `dataclasses`,
`asyncio`), and it changes nothing itself: it asks the daemon and prints the answers.
"""
