"""DNS: publishing records and observing them at every server."""
