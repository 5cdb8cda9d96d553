"""What is refused of an arm before anything of the swarm's size is allocated."""
