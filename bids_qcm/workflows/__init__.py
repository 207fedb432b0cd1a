"""nipype workflows, and the functions that plan and run them."""
