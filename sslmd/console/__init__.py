"""What every program in a shell shares: the connection to the daemon, its answers, texts, tables.

`sslmctl` has to be quick, so nothing imported at start is heavy (no `typing`, `dataclasses`,
`asyncio`).
"""
