"""Bad runs: damaged zips and pickles, checkpoints of others, records and scores of wrong types. A new case is a new
line."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bad_inputs.bench import checkpoint, cut, loop, record, removed, written
from tests.bad_inputs.cases import RENDER, REPORT, Case, Command, on_run

CKPT = "nerfstudio_models/step-000000001.ckpt"
MEANS = "_model.gaussians.params.means"


def changed_bytes(edit: Callable[[bytearray], Any]) -> Callable[[Path], None]:
    """The checkpoint with other bytes."""

    def change(run: Path) -> None:
        content = bytearray((run / CKPT).read_bytes())
        edit(content)
        (run / CKPT).write_bytes(content)

    return change


def flipped(where: bytes) -> Callable[[Path], None]:
    """With the bits of a few bytes at the first ``where`` turned over."""

    def edit(content: bytearray) -> None:
        start = content.index(where)
        content[start : start + 8] = bytes(255 - byte for byte in content[start : start + 8])

    return changed_bytes(edit)


def repacked(name: str, content: bytes | None) -> Callable[[Path], None]:
    """The checkpoint's zip with another file in the place of ``name``, or none."""

    def change(run: Path) -> None:
        with zipfile.ZipFile(run / CKPT) as old:
            files = {info.filename: old.read(info) for info in old.infolist()}
        with zipfile.ZipFile(run / CKPT, "w", zipfile.ZIP_STORED) as new:
            for file, own in files.items():
                if not file.endswith(f"/{name}"):
                    new.writestr(file, own)
                elif content is not None:
                    new.writestr(file, content)

    return change


def tensors(**changes: Any) -> Callable[[Path], None]:
    """The checkpoint with other means."""
    import torch

    made = {"shape": lambda: torch.zeros(100, 4), "rows": lambda: torch.zeros(7, 3), "list": lambda: [1, 2]}
    return checkpoint(lambda state: state["pipeline"].update({MEANS: made[changes["means"]]()}))


def scores(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change ``eval_test.json``."""

    def change(run: Path) -> None:
        content = json.loads((run / "eval_test.json").read_text("utf8"))
        edit(content)
        (run / "eval_test.json").write_text(json.dumps(content), "utf8")

    return change


def put(place: str, value: Any) -> Callable[[Path], None]:
    """The record with another value at ``scene.fps``, say."""
    *parents, last = place.split(".")

    def edit(content: dict[str, Any]) -> None:
        for parent in parents:
            content = content[parent]
        content[last] = value

    return record(edit)


def drop(place: str) -> Callable[[Path], None]:
    """The record without it."""
    part, last = place.split(".")
    return record(lambda content: content[part].pop(last))


def render(*spoil: Callable[[Path], object], kind: str = "stg") -> Command:
    return on_run(RENDER, kind, *spoil)


def report(*spoil: Callable[[Path], object]) -> Command:
    return on_run(REPORT, "scored", *spoil)


RUN_CASES = [
    # zips and pickles
    Case("checkpoint without its end", render(cut("nerfstudio_models/*.ckpt", 0.97)), (CKPT, "whole checkpoint")),
    Case(
        "checkpoint of zeros", render(changed_bytes(lambda all: all.__setitem__(slice(None), bytes(len(all))))), (CKPT,)
    ),
    Case("checkpoint with a flipped start", render(changed_bytes(lambda all: all.__setitem__(0, 0))), (CKPT, "whole")),
    Case("checkpoint with a flipped pickle", render(flipped(b"pipeline")), (CKPT, "whole checkpoint")),
    Case("checkpoint without a pickle", render(repacked("data.pkl", None)), (CKPT, "whole checkpoint")),
    Case("checkpoint with an empty pickle", render(repacked("data.pkl", b"")), (CKPT, "whole checkpoint")),
    Case("checkpoint with a cut pickle", render(repacked("data.pkl", b"\x80\x02}q\x00")), (CKPT, "whole checkpoint")),
    Case("checkpoint without a tensor", render(repacked("0", None)), (CKPT, "whole checkpoint")),
    Case("checkpoint with half a tensor", render(repacked("0", b"\0")), (CKPT,)),
    Case("checkpoint that is a pickle", render(written(CKPT, pickle.dumps({"step": 1}))), (CKPT, "whole checkpoint")),
    Case("checkpoint that is a picture", render(written(CKPT, b"\x89PNG\r\n\x1a\n" + bytes(99))), (CKPT, "whole")),
    Case("checkpoint that is a folder", render(removed(CKPT), lambda run: (run / CKPT).mkdir()), ("step-.*ckpt",)),
    Case("checkpoint that links to itself", render(loop(CKPT)), ("step-.*ckpt",)),
    Case("record that links to itself", render(loop("run.json")), ("run.json", "found none")),
    # what checkpoints hold
    Case("checkpoint of a list", render(checkpoint(lambda state: state.pop("step"))), (CKPT, r"without \['step'\]")),
    Case("checkpoint of a text for a model", render(checkpoint(lambda state: state.update(pipeline="x"))), (CKPT,)),
    Case("checkpoint of a text for a step", render(checkpoint(lambda state: state.update(step="x"))), (CKPT,)),
    Case(
        "checkpoint of no tensors",
        render(checkpoint(lambda state: state.update(pipeline={}))),
        (CKPT, "STGModel", "means"),
    ),
    Case("checkpoint of another shape", render(tensors(means="shape")), (CKPT, "means")),
    Case("checkpoint of other rows", render(tensors(means="rows")), (CKPT,)),
    Case("checkpoint of a list for a tensor", render(tensors(means="list")), (CKPT,)),
    Case(
        "checkpoint of a mixture without experts",
        render(checkpoint(lambda state: state["pipeline"].pop("_model._extra_state", None)), kind="mixture"),
        ("mixture|MixtureModel|expert",),
    ),
    Case(
        "checkpoint of an expert in a mixture", render(put("expert.name", "router"), put("expert.config", {})), ("run",)
    ),
    # records
    Case("record of a list", render(written("run.json", "[1]")), ("run.json", "schema_version")),
    Case("record that is no text", render(written("run.json", b"\xff\xfe")), ("run.json", "expected JSON")),
    Case("record without an expert's name", render(drop("expert.name")), ("name of the expert", "run.json")),
    Case("record with a number for an expert", render(put("expert", 3)), ("a table as expert", "run.json", "found 3")),
    Case("record with a list for a scene", render(put("scene", [1])), ("a table as scene", "run.json")),
    Case("record with a word for frames", render(put("scene.num_frames", "x")), ("whole number as scene.num_frames",)),
    Case("record without frames", on_run(("export",), "stg", drop("scene.num_frames")), ("num_frames", "run.json")),
    Case("record without cameras", render(put("scene.cameras", None)), ("a table as scene.cameras", "run.json")),
    Case("record of a camera in words", render(put("scene.cameras.test", "cam00")), ("a list as scene.cameras.test",)),
    Case("record of an unknown layout", render(put("scene.layout", "cube")), ("layout|parser", "cube")),
    Case("record without data", on_run(("export",), "stg", drop("scene.data")), ("data", "run record")),
    Case("record with words for a rate", render(put("expert.config.ssim_weight", "x")), ("ssim_weight", "'x'")),
    Case("record with words for a degree", render(put("expert.config.sh_degree", "3")), ("an integer for sh_degree",)),
    Case("record of an unknown head", render(put("expert.config.head", "all")), ("head", "'all'")),
    Case(
        "record of a text for experts",
        render(put("model.experts", "stg"), kind="mixture"),
        ("a list as model.experts",),
    ),
    Case(
        "record of a parser's unknown option", render(put("datamanager.dataparser", {"a": 1})), ("N3VDataParser", "'a'")
    ),
    Case("record of a parser's text", render(put("datamanager.dataparser.downscale", "x")), ("downscale", "'x'")),
    # scores
    Case("scores zero-length", report(written("eval_test.json", b"")), ("eval_test.json", "found no JSON", "ns-eval")),
    Case("scores of a list", report(written("eval_test.json", "[1]")), ("eval_test.json", "ns-eval")),
    Case("scores without a protocol", report(scores(lambda all: all["results"].pop("protocol"))), ("eval_test.json",)),
    Case(
        "scores in words", report(scores(lambda all: all["results"].update(psnr="x"))), ("numbers for psnr", "ns-eval")
    ),
    Case(
        "scores of another step",
        report(scores(lambda all: all["results"]["protocol"].update(step=99))),
        ("step 1 .*step 99", "ns-eval"),
    ),
    Case("scores of another run", report(scores(lambda all: all.update(results={}))), ("eval_test.json", "ns-eval")),
]
