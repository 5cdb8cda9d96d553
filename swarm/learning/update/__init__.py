"""What a device trains on in a round: update policies, and the memories that they replay from."""
