"""What a person types: the command that runs a scenario, and in ``commands`` those beside it."""
