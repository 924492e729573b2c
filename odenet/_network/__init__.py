"""Networks whose weights are functions of depth, and how they are evaluated."""
