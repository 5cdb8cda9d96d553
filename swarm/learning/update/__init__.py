"""What a device trains on in a round: update policies, and the memory that they replay from."""
