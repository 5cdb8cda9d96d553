"""Models that devices keep for themselves beside the one that they share."""
