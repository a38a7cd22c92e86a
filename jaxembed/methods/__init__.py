"""One file for each published method. A method puts the parts of the engine together and repeats none of them."""
