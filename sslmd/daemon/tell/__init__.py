"""Telling what happens: the journal, log files, and a sentence for every event."""
