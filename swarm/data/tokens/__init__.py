"""How text becomes tokens, the classes that sequence models predict, and text again."""
