"""How the rows of an arm are added up, in the clear or under masks, and what goes together with
masks."""
