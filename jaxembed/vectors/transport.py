"""What it costs to move one distribution to another: the linear program of optimal transport, solved exactly."""

import numpy as np


def transport_cost(costs: np.ndarray, have: np.ndarray, want: np.ndarray) -> float:
    """The least cost of moving the masses `have` [n] to `want` [m], where a unit from i to j costs `costs[i, j]` [n, m].

    Both masses add up to the same. Raises RuntimeError where the solver finds no solution.
    """
    from scipy.optimize import linprog
    from scipy.sparse import eye_array, kron, vstack

    n, m = costs.shape
    leaves = kron(eye_array(n), np.ones((1, m)))
    arrives = kron(np.ones((1, n)), eye_array(m), format="csr")
    # The last equation follows from the others, as both masses add up to the same.
    equations, masses = vstack([leaves, arrives[:-1]], format="csr"), np.concatenate([have, want[:-1]])
    found = linprog(costs.ravel(), A_eq=equations, b_eq=masses, method="highs")
    if not found.success:
        raise RuntimeError(f"no cheapest transport was found: {found.message}")
    return max(float(found.fun), 0.0)
