"""Builds blockrank-server as an application of Ray Serve.

PYTHONPATH=deploy python -m rerank_ray num_gpus=1 max_replicas=4     # this machine, or RAY_ADDRESS
serve deploy deploy/rerank_ray/serve.yaml                            # a cluster
"""

from ray import serve

from blockrank_server.service.open_ranker import OpenRanker, open_ranker
from blockrank_server.service.settings import Settings
from rerank_ray.options import ReplicaOptions
from rerank_ray.replica import Replica

# More than a replica can hold, queued and in batches, so that it is the server who refuses: by 429
# with Retry-After. Ray would let requests wait in its proxy, beyond any deadline.
_MAX_ONGOING = 10_000
# Beside drain_timeout_s: until the proxies have heard, and to end the model's thread.
_STOP_MARGIN_S = 15


def build(options: ReplicaOptions) -> serve.Application:
    """Build the application with the settings in the BLOCKRANK_ variables of this process.

    Raises:
        pydantic.ValidationError: a setting is not valid.
    """
    return build_with(options, Settings())


def build_with(
    options: ReplicaOptions, settings: Settings, open_ranker: OpenRanker = open_ranker
) -> serve.Application:
    """Do as build does, with these settings.

    Args:
        open_ranker: gives the ranker; it is called in each replica.
    """
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name="Replica",
        max_ongoing_requests=_MAX_ONGOING,
        autoscaling_config={
            "min_replicas": options.min_replicas,
            "max_replicas": options.max_replicas,
            "target_ongoing_requests": options.target_requests,
            "upscale_delay_s": options.upscale_delay_s,
            "downscale_delay_s": options.downscale_delay_s,
        },
        graceful_shutdown_timeout_s=settings.drain_timeout_s + _STOP_MARGIN_S,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=5,
        ray_actor_options={
            "num_cpus": options.num_cpus,
            "num_gpus": options.num_gpus,
            # OpenMP reads it when it is loaded, which Ray may do before the server's own code runs.
            "runtime_env": {"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}},
        },
    )
    return deployment.bind(settings, open_ranker)
