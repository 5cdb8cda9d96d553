"""The runs behind a claim: ``plan`` decides what is run, ``trials`` runs it several at a time, ``run`` leads from there to
the verdict, ``page`` shows it, ``suite`` does so for several claims, ``publish``
puts verdicts where a repository shows them."""
