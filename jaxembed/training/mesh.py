"""Many devices: one mesh with the axes `data` and `model`, and what lies where on it.

Tables are cut by column (`model`), batches by row (`data`); the partitioner finds the reductions that this needs: of
scores over `model`, of gradients over `data`. The same code runs on one device, where all of this is the identity.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxembed.training.method import Source


def make_mesh(data: int | None = None, model: int = 1) -> Mesh:
    """A mesh of `data` x `model` devices, of all processes; None takes every device there is.

    Raises ValueError when there are not so many, and where several processes would not all take part.
    """
    devices = jax.device_count()
    data = devices // model if data is None else data
    if data < 1 or model < 1 or data * model > devices:
        raise ValueError(
            f"a mesh of {data} x {model} needs {data * model} devices, and there are {devices}: choose a smaller one"
            + ("; on a CPU, jax_num_cpu_devices makes more" if jax.default_backend() == "cpu" else "")
        )
    if jax.process_count() > 1 and data * model < devices:
        raise ValueError(
            f"a mesh of {data} x {model} leaves out some of the {devices} devices of {jax.process_count()} processes: "
            "take them all, or start fewer processes"
        )
    return jax.make_mesh((data, model), ("data", "model"), (AxisType.Auto,) * 2, devices=jax.devices()[: data * model])


@dataclass(frozen=True)
class Layout:
    """Where arrays are placed: on a mesh, or without one on the default device.

    mesh: with the axes `data` and `model`. shard_net: cut the dense rest over `data` too (fully sharded), else replicate.
    """

    mesh: Mesh | None = None
    shard_net: bool = False

    @property
    def several_processes(self) -> bool:
        """Whether devices of other processes take part."""
        return self.mesh is not None and jax.process_count() > 1

    def state(self, shapes: Any) -> Any:
        """Shardings for a `State` of these shapes; None without a mesh."""
        if self.mesh is None:
            return None
        tables = {tuple(table.shape) for table in shapes.params.tables.values()}

        def rows(leaf):
            columns = tuple(leaf.shape) in tables and leaf.shape[-1] % self.mesh.shape["model"] == 0  # pyright: ignore[reportOptionalMemberAccess]
            return self._at(P(*[None] * (leaf.ndim - 1), "model") if columns else P())

        def net(leaf):
            size = self.mesh.shape["data"]  # pyright: ignore[reportOptionalMemberAccess]
            axes = [axis for axis in range(leaf.ndim) if leaf.shape[axis] % size == 0] if self.shard_net else []
            widest = max(axes, key=lambda axis: leaf.shape[axis], default=None)
            return self._at(P(*("data" if axis == widest else None for axis in range(leaf.ndim))))

        replicated = jax.tree.map(lambda _: self._at(P()), shapes)
        return replicated._replace(
            params=replicated.params._replace(
                tables=jax.tree.map(rows, shapes.params.tables), net=jax.tree.map(net, shapes.params.net)
            ),
            rows=jax.tree.map(rows, shapes.rows),
            net=jax.tree.map(net, shapes.net),
        )

    def batch(self, batch: Any) -> Any:
        """A batch cut by its first axis over `data`, where that divides it; inside jit."""
        size = self.mesh.shape["data"] if self.mesh is not None else 1
        if size == 1:
            return batch

        def cut(leaf):
            fits = (
                jnp.ndim(leaf) > 0 and leaf.shape[0] % size == 0 and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
            )
            return jax.lax.with_sharding_constraint(leaf, self._at(P("data"))) if fits else leaf

        return jax.tree.map(cut, batch)

    def moves(
        self, ids: jax.Array, gradients: jax.Array, of: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """What `tables.joined` gives where a table's scatter wants it: all rows everywhere, cut by column as it is.

        Otherwise the partitioner may scatter into a whole table on each device and add the tables up.
        """
        if self.mesh is None or self.mesh.size == 1:
            return ids, gradients, of
        columns = "model" if gradients.shape[-1] % self.mesh.shape["model"] == 0 else None
        constrain = jax.lax.with_sharding_constraint
        everywhere = lambda x: constrain(x, self._at(P()))
        shared = None if of is None else everywhere(of)
        return everywhere(ids), constrain(gradients, self._at(P(None, columns))), shared

    def put(self, tree: Any) -> Any:
        """Host arrays, the same in every process, on every device."""
        if self.mesh is None:
            return jax.device_put(tree)
        everywhere = self._at(P())
        put = lambda leaf: jax.make_array_from_callback(
            np.shape(leaf), everywhere, lambda index: np.asarray(leaf)[index]
        )
        return jax.tree.map(put, tree)

    def read(self, source: Source, i: int) -> dict[str, Any]:
        """Piece `i` of the data as `spread` takes it; each process reads only its share. May run on any thread."""
        if not self.several_processes:
            return self.put(source.piece(i))
        return source.piece(i, jax.process_index(), jax.process_count())

    def spread(self, read: dict[str, Any], rows: int) -> dict[str, Any]:
        """What all processes have read, a piece of so many `rows`, on every device: the processes exchange it.

        As everything that processes do together, all must come to it in the same order: it is for the main thread alone.
        """
        if not self.several_processes:
            return read
        one_axis = jax.make_mesh((jax.device_count(),), ("all",), (AxisType.Auto,))
        return {name: self._joined(one_axis, values, rows) for name, values in read.items()}

    def _joined(self, one_axis: Mesh, share: np.ndarray, rows: int) -> jax.Array:
        # Shares are as long as each other; their devices hold equal parts, so a share is padded to a multiple of them.
        shares, local = jax.process_count(), jax.local_device_count()
        length = -(-len(share) // local) * local
        padded = np.pad(share, [(0, length - len(share))] + [(0, 0)] * (share.ndim - 1))
        cut = NamedSharding(one_axis, P("all"))
        spread = jax.make_array_from_process_local_data(cut, padded, (shares * length, *share.shape[1:]))
        together = jax.jit(
            lambda x: x.reshape(shares, length, *x.shape[1:])[:, : len(share)].reshape(-1, *x.shape[1:])[:rows],
            out_shardings=NamedSharding(one_axis, P()),
        )(spread)
        return jax.device_put(together, self._at(P()))

    @property
    def everywhere(self) -> NamedSharding | None:
        """Whole on every device; None without a mesh."""
        return self._at(P()) if self.mesh is not None else None

    def local(self, array: jax.Array) -> jax.Array:
        """The same values as an array of this process alone, for computations in which the other processes take no part."""
        return array.addressable_data(0) if self.several_processes else array

    def fetch(self, tree: Any) -> Any:
        """Arrays of the mesh as NumPy arrays, whole, in every process."""
        if self.several_processes:
            tree = jax.jit(lambda x: x, out_shardings=self._at(P()))(tree)
        return jax.device_get(tree)

    def _at(self, spec: P) -> NamedSharding:
        assert self.mesh is not None
        return NamedSharding(self.mesh, spec)
