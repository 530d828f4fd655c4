"""`python -m sslmd.notify`."""

from sslmd.notify.main import main

main()
