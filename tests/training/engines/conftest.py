"""A Ray cluster of two nodes on loopback, started when the first test asks for it and taken down
after the last.
"""

from collections.abc import Iterator

import pytest

LOOPBACK = "127.0.0.2"  # Ray takes 127.0.0.1 for the machine's outer address
SMALL = {"num_cpus": 2, "object_store_memory": 200 << 20, "node_ip_address": LOOPBACK}


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """host:port of a cluster of two nodes with two CPUs each."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DISABLE_IMPORT_WARNING": "1",
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
        }.items():
            environment.setenv(name, value)
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args=SMALL | {"include_dashboard": False})
        try:
            cluster.add_node(**SMALL)
            yield cluster.address
        finally:
            cluster.shutdown()
