"""What a host is to have and to lose, when it is restarted: this machine like any other."""
