"""Sentences: the only place that makes them of codes and facts, for all that people read.

`sentence.py` makes one of a reason, `health.py` one of what the answer to `status` has wrong. The
other files are the words. `sslmctl` loads `health` at every start, so nothing is imported here.
"""
