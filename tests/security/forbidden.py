"""What no source of this project may call, because data of unknown origin could then run code, leave their folder or
reach the network. Read from the source with ``ast``; nothing is imported."""

import ast
from collections.abc import Iterator

#: Modules that build objects out of data, or parse what can refer to elsewhere; and where each may be imported.
MODULES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("dill", "cloudpickle", "joblib", "shelve", "marshal", "tarfile", "xml", "lxml"), ()),
    "pickle": ("moegs_ns/runs/checkpoints.py", "moegs_ns/router/ensemble.py", "moegs_ns/compat.py"),  # its error's name
    "yaml": (
        "moegs_ns/benching/suite_files.py",
        "moegs_ns/runs/config_vetting.py",
        "moegs_ns/training/trainer_config.py",  # writes it
    ),
    "zipfile": ("moegs_ns/preparation/archives.py",),
    "urllib.request": ("moegs_ns/preparation/download.py",),
    **dict.fromkeys(("requests", "httpx", "ftplib", "http.server", "socketserver"), ()),
    "socket": ("moegs_ns/reporting/lpips.py",),  # for a limit in time
}
#: Names of builtins that run text.
_BUILTINS = ("eval", "exec", "compile", "__import__")
#: Calls by their dotted name, and where each may stand.
_CALLS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("os.system", "os.popen", "subprocess.getoutput", "tempfile.mktemp"), ()),
    **dict.fromkeys(("pickle.load", "pickle.loads", "pickle.Unpickler", "runpy.run_path", "torch.jit.load"), ()),
    **dict.fromkeys(("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"), ()),
    **dict.fromkeys(("torch.hub.load", "torch.package.PackageImporter"), ()),
    **dict.fromkeys(("cv2.imread", "cv2.VideoCapture", "imageio.imread", "plt.imread", "mediapy.read_video"), ()),
    "Image.open": ("moegs_ns/scene/media_files.py",),
    "np.fromregex": (),
}
#: Calls that need an argument of this very value.
_NEED: dict[str, tuple[str, str]] = {
    "torch.load": ("weights_only", "True"),
    "np.load": ("allow_pickle", "False"),
    "yaml.compose": ("Loader", "yaml.SafeLoader"),
    "yaml.parse": ("Loader", "yaml.SafeLoader"),
}
#: Methods of archives that write where their names lead.
_METHODS = ("extract", "extractall", "unpack_archive")


def faults(source: str, file: str) -> Iterator[str]:
    """Sentences on what a file should not do.

    Args:
        source: its text.
        file: its path in the checkout, with slashes.
    """
    for node in ast.walk(ast.parse(source)):
        for module in _imported(node):
            for name, places in MODULES.items():
                if (module == name or module.startswith(f"{name}.")) and file not in places:
                    yield f"{file}:{node.lineno}: imports {module}"  # type: ignore[attr-defined]
        if isinstance(node, ast.Call):
            yield from (f"{file}:{node.lineno}: {fault}" for fault in _faults_of_call(node, file))


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _faults_of_call(call: ast.Call, file: str) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in _BUILTINS or (name in _CALLS and file not in _CALLS[name]):
        yield f"calls {name}"
    if name in _NEED:
        argument, value = _NEED[name]
        if given.get(argument) != value:
            yield f"calls {name} without {argument}={value}"
    if isinstance(call.func, ast.Attribute) and call.func.attr in _METHODS:
        yield f"calls {name}"
    if given.get("shell", "False") != "False":
        yield f"calls {name} through a shell"
    writing = len(call.args) > 1 and ast.unparse(call.args[1]) == "'w'"
    if name == "av.open" and not writing and file != "moegs_ns/scene/media_files.py":
        yield "opens a video without open_video"
