"""What happens to a message on its way: one transform a file."""
