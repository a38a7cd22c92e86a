"""The data that methods train on and how vectors are judged: one file for each kind of data."""
