"""The images that go with an acquisition: find them, align them to the phase, and read them."""
