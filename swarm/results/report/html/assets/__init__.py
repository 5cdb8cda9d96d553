"""The template, the style sheet and the scripts of the page; there is no Python here."""
