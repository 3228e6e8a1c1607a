"""NerfBaselines' specs of moegs_ns: four dynamic-splat experts, and the loader of scenes with times.

Out of its tree: ``NERFBASELINES_REGISTER=integrations/nerfbaselines/moegs_spec.py`` with that folder on PYTHONPATH.
In its tree: this file and the two beside it lie in ``nerfbaselines/methods``.
"""

from nerfbaselines import register

# Names that begin with a dot are looked up beside the spec, which works in NerfBaselines' own tree only.
_BESIDE = "." if __name__.startswith("nerfbaselines.") else ""

_DESCRIPTION = (
    "{family}, as an expert of moegs_ns: reimplemented on nerfstudio and gsplat under Apache-2.0, with CPU kernels. "
    "Dynamic scenes need times in the cameras' metadata, which the loader 'moegs' gives; on data sets without times it "
    "shows one instant."
)

_INSTALL = """# Install moegs_ns with nerfstudio, which brings gsplat
pip install torch==2.1.2 torchvision==0.16.2 'numpy<2.0.0' --index-url https://download.pytorch.org/whl/cu118
pip install moegs_ns
pip install lpips==0.1.4 importlib_metadata typing_extensions
"""

_EXPERTS = (
    {
        "id": "moegs-stg",
        "class": "Stg",
        "family": "Spacetime Gaussians",
        "title": "Spacetime Gaussian Feature Splatting for Real-Time Dynamic View Synthesis",
        "authors": ["Zhan Li", "Zhang Chen", "Zhong Li", "Yi Xu"],
        "paper": "https://arxiv.org/pdf/2312.16812",
    },
    {
        "id": "moegs-4dgaussians",
        "class": "FourDGaussians",
        "family": "4DGaussians",
        "title": "4D Gaussian Splatting for Real-Time Dynamic Scene Rendering",
        "authors": [
            *("Guanjun Wu", "Taoran Yi", "Jiemin Fang", "Lingxi Xie", "Xiaopeng Zhang", "Wei Wei", "Wenyu Liu"),
            *("Qi Tian", "Xinggang Wang"),
        ],
        "paper": "https://arxiv.org/pdf/2310.08528",
    },
    {
        "id": "moegs-ed3dgs",
        "class": "ED3DGS",
        "family": "E-D3DGS",
        "title": "Per-Gaussian Embedding-Based Deformation for Deformable 3D Gaussian Splatting",
        "authors": ["Jeongmin Bae", "Seoha Kim", "Youngsik Yun", "Hahyun Lee", "Gun Bang", "Youngjung Uh"],
        "paper": "https://arxiv.org/pdf/2404.03613",
    },
    {
        "id": "moegs-ex4dgs",
        "class": "Ex4DGS",
        "family": "Ex4DGS",
        "title": "Fully Explicit Dynamic Gaussian Splatting",
        "authors": ["Junoh Lee", "Changyeon Won", "Hyunjun Jung", "Inhwan Bae", "Hae-Gon Jeon"],
        "paper": "https://arxiv.org/pdf/2410.15629",
    },
)

for _expert in _EXPERTS:
    register(
        {
            "id": _expert["id"],
            "method_class": f"{_BESIDE}moegs_method:{_expert['class']}",
            "conda": {
                "environment_name": "moegs",
                "python_version": "3.11",
                "install_script": _INSTALL,
            },
            "metadata": {
                "name": f"{_expert['family']} (moegs_ns)",
                "description": _DESCRIPTION.format(family=_expert["family"]),
                "paper_title": _expert["title"],
                "paper_authors": _expert["authors"],
                "paper_link": _expert["paper"],
                "licenses": [{"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}],
            },
            "presets": {},
            "implementation_status": {},
        }
    )

register({"id": "moegs", "load_dataset_function": f"{_BESIDE}moegs_scenes:load_scene"})
