"""Typed configuration: a section per stage, YAML files that override the defaults, dotted ``--set`` on top.

A field made with :func:`Runtime` says how or where to work (device, workers, folders). It is not part of a stage's
identity and must not change its result; all other fields are and may.
"""

from augment.config.fields import Runtime, Section
from augment.config.loading import (
    all_keys,
    differences,
    dump_yaml,
    environment_path,
    find_config,
    load_config,
    shipped_configs,
)
from augment.config.sections import (
    ArmConfig,
    Config,
    DataConfig,
    FilterConfig,
    FlowConfig,
    GanConfig,
    Loss,
    PairsConfig,
    PoseConfig,
    QualityConfig,
    ReidConfig,
    RenderedConfig,
    ReportConfig,
    SubsetConfig,
    SynthesisConfig,
    Transform,
)

__all__ = [
    "ArmConfig", "Config", "DataConfig", "FilterConfig", "FlowConfig", "GanConfig", "Loss", "PairsConfig",
    "PoseConfig", "QualityConfig", "ReidConfig", "RenderedConfig", "ReportConfig", "Runtime", "Section",
    "SubsetConfig", "SynthesisConfig", "Transform", "all_keys", "differences", "dump_yaml", "environment_path",
    "find_config", "load_config", "shipped_configs",
]  # fmt: skip
