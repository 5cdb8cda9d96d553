"""A network that fails, in virtual time: who is there, who is awake, which messages arrive and
when. All of it a pure function of (seed, round)."""
