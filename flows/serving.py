"""``augment serve``: execute runs that are started from the page of a Prefect server."""

from prefect import serve
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.settings import PREFECT_API_URL

from augment.base.errors import UsageError
from augment.config import Config
from augment.pipeline.stages import STAGES
from flows.pipeline import pipeline_flow
from flows.server import check_server


def deployments(config: Config) -> list[RunnerDeployment]:
    """A deployment for the pipeline, and one per stage with those it needs. ``config``: defaults of their forms."""
    values = config.model_dump(mode="json")
    return [
        pipeline_flow.to_deployment(
            stage or "everything", parameters={"config": values, "until": stage}, tags=["augment"],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for stage in (None, *(stage.name for stage in STAGES))
    ]  # fmt: skip


def serve_stages(config: Config, limit: int) -> None:
    """Execute runs, at most ``limit`` at once, until Ctrl-C. Raises :class:`UsageError` where no server is set."""
    if not PREFECT_API_URL.value():
        raise UsageError(
            "PREFECT_API_URL is not set. Start a server with `prefect server start`, then set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api."
        )
    check_server(PREFECT_API_URL.value())
    serve(*deployments(config), limit=limit)
