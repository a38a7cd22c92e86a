"""One file a published method: it wires the plugs and says nothing twice."""
