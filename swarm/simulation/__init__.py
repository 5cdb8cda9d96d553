"""One arm, round by round."""
