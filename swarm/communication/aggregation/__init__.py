"""How a device combines what it heard with its own row: one rule a file."""
