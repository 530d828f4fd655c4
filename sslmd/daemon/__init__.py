"""The resident service: main, scheduler, socket API, notifications, journal."""
