"""What is trained on and how it is judged: one file a kind of data."""
