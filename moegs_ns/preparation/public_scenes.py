"""Public data sets: which may be fetched by a program, from where, and where the others are to be had."""

from dataclasses import dataclass

_N3V_RELEASE = "https://github.com/facebookresearch/Neural_3D_Video/releases/download/v1.0"


@dataclass(frozen=True)
class PublicScene:
    """A scene that may be fetched.

    Attributes:
        data_set: name of the set.
        name: of the scene, and of its folder.
        urls: of one archive, in parts where it is split.
        licence: of the data.
        parser: data parser that reads it.
    """

    data_set: str
    name: str
    urls: tuple[str, ...]
    licence: str
    parser: str


@dataclass(frozen=True)
class ElsewhereSet:
    """A data set whose terms or host leave the fetching to the user.

    Attributes:
        name: of the set.
        home: page that says how to get it.
        files: what of it a scene needs.
        place: folder and files as the data parser wants them.
        parser: data parser that reads it.
    """

    name: str
    home: str
    files: str
    place: str
    parser: str


def _n3v(name: str, *files: str) -> PublicScene:
    urls = tuple(f"{_N3V_RELEASE}/{file}" for file in files or (f"{name}.zip",))
    return PublicScene("n3v", name, urls, "CC BY-NC 4.0", "n3v-data")


#: By name.
SCENES = {
    scene.name: scene
    for scene in (
        _n3v("coffee_martini"),
        _n3v("cook_spinach"),
        _n3v("cut_roasted_beef"),
        _n3v("flame_salmon_1", *(f"flame_salmon_1_split.{part}" for part in ("z01", "z02", "z03", "zip"))),
        _n3v("flame_steak"),
        _n3v("sear_steak"),
    )
}

ELSEWHERE = {
    one.name: one
    for one in (
        ElsewhereSet(
            "technicolor",
            "the authors of 'Dataset and Pipeline for Multi-View Light-Field Video' (Sabater et al. 2017), on request",
            "the undistorted PNG frames of a scene and its cameras_parameters.txt",
            "SCENE/cameras_parameters.txt and SCENE/<Scene>_undist_<frame>_<camera>.png",
            "technicolor-data",
        ),
        ElsewhereSet(
            "hypernerf",
            "https://github.com/google/hypernerf/releases/tag/v0.1",
            "the zip file of a scene",
            "SCENE/scene.json, dataset.json, metadata.json, camera/, rgb/<N>x/, points.npy as they are in the zip",
            "hypernerf-data",
        ),
        ElsewhereSet(
            "d-nerf",
            "https://github.com/albertpumarola/D-NeRF (see its README for the data)",
            "data.zip",
            "SCENE/transforms_train.json, transforms_val.json, transforms_test.json and the image folders beside them",
            "dynamic-blender-data",
        ),
        ElsewhereSet(
            "panoptic-studio",
            "http://domedb.perception.cs.cmu.edu (research use only)",
            "the HD videos and calibration of a sequence",
            "videos for `moegs data prepare`, which writes a scene for n3v-data",
            "n3v-data",
        ),
    )
}
