"""What holds for whatever a user does: cases are drawn by hypothesis."""
