"""What the ``config.yml`` of a run of this project may name. nerfstudio builds whatever such a file names, so a file
that names anything else is not one of ours. A test holds the list against what every method writes.
"""

_MODELS = (
    "experts.ed3dgs.ED3DGSModel",
    "experts.ex4dgs.Ex4DGSModel",
    "experts.four_d_gaussians.FourDGaussiansModel",
    "experts.stg.STGModel",
    "router.fused.FusedModel",
    "router.mixture.MixtureModel",
)
_PARSERS = (
    "scene.dataparsers.blender.BlenderDataParser",
    "scene.dataparsers.hypernerf.HyperNeRFDataParser",
    "scene.dataparsers.n3v.N3VDataParser",
    "scene.dataparsers.technicolor.TechnicolorDataParser",
    "scene.dataparsers.transforms.TransformsDataParser",
)
_OTHERS = (
    "scene.datamanager.DynamicDataManager",
    "training.pipeline.MoegsPipeline",
    "training.schedulers.LogLinearDecay",
)
_ONLY_NAMED = (
    "training.adam.Adam",
    "training.adam.RAdam",
    "training.distillation._NoStudent",
    "training.teaching.DistillPipeline",
    "training.trainer.MoegsTrainer",
)
_ONLY_BUILT = (
    "training.distillation.DistillPipelineConfig",
    "training.distillation.DistillTrainerConfig",
    "training.distillation.StudentModelConfig",
    "training.optimizers.AdamConfig",
    "training.optimizers.RAdamConfig",
    "training.trainer_config.MoegsTrainerConfig",
)
_NERFSTUDIO = (
    "python/name:nerfstudio.utils.writer.LocalWriter",
    "python/object/apply:nerfstudio.utils.writer.EventName",
    "python/object:nerfstudio.configs.base_config.LocalWriterConfig",
    "python/object:nerfstudio.configs.base_config.LoggingConfig",
    "python/object:nerfstudio.configs.base_config.MachineConfig",
    "python/object:nerfstudio.configs.base_config.ViewerConfig",
)

#: Tags without YAML's prefix, such as ``python/name:moegs_ns.experts.stg.STGModel``.
CONFIG_TAGS = frozenset(
    [
        "python/tuple",
        *(f"python/object/apply:pathlib.{kind}" for kind in ("PosixPath", "WindowsPath")),
        *_NERFSTUDIO,
        *(f"python/name:moegs_ns.{name}" for name in (*_MODELS, *_PARSERS, *_OTHERS, *_ONLY_NAMED)),
        *(f"python/object:moegs_ns.{name}Config" for name in (*_MODELS, *_PARSERS, *_OTHERS)),
        *(f"python/object:moegs_ns.{name}" for name in _ONLY_BUILT),
    ]
)
