"""Delivery to production and to servers, restarts, probes."""
