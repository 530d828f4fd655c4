"""`sslmctl doctor`: what usually goes wrong, looked at from outside the daemon.

One file for each thing that is looked at; `command` is the list of them, `symptoms` bounds all
looks in time. Nothing is changed.
"""
