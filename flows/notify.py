"""``flow.notify``: a command that is called when a run failed, crashed or was cancelled."""

import shlex
import subprocess
from typing import Any

from prefect.client.schemas.objects import FlowRun
from prefect.logging import get_logger
from prefect.states import State

from augment.config import Config

_LIMIT_S = 30


def notify(flow: Any, flow_run: FlowRun, state: State) -> None:
    """A hook of the flow: ``flow.notify`` is called with a message about the run as additional argument.

    Prefect passes arguments by these names. A command that fails is only logged.
    """
    config = Config.model_validate(flow_run.parameters["config"])
    if not config.flow.notify:
        return
    message = f"augment: {flow_run.name} {state.name.lower()}: {state.message or 'no message'}"
    try:
        subprocess.run([*shlex.split(config.flow.notify), message], timeout=_LIMIT_S, check=True,
                       stdin=subprocess.DEVNULL)  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        get_logger("augment").warning("flow.notify: %s", error)
