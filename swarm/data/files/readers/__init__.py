"""Tables in every format, read column by column within bounds."""
