"""The nipype workflows, and how they are run."""
