"""The depths that a network is trained at, and when it goes on to the next."""
