"""What must hold between inputs, and what a result must obey; arrays only."""
