"""One zone: which TLSA records it serves, what of them was seen, and when a roll may be (I4)."""
