"""What a person types: the command line, the doctor, reports drawn again, verdicts published."""
