"""What must hold between the inputs, and what a result must obey: arrays only."""
