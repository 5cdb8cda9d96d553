"""Message transforms, which change the rows that devices send: one transform a file."""
