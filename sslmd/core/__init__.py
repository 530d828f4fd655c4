"""Pure rules: what to do, when and why. No I/O, no clock, no logging; handed the time."""
