"""What the page shows round by round: devices, and the links between them."""
