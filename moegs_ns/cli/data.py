"""``moegs data``: what is done to data before training."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from moegs_ns.cli.data_check import Check
from moegs_ns.cli.data_download import Download
from moegs_ns.cli.data_layouts import Layouts
from moegs_ns.cli.data_prepare import Prepare

Action = (
    Annotated[Download, tyro.conf.subcommand("download")]
    | Annotated[Prepare, tyro.conf.subcommand("prepare")]
    | Annotated[Check, tyro.conf.subcommand("check")]
    | Annotated[Layouts, tyro.conf.subcommand("layouts")]
)


@dataclass
class Data:
    """Fetch public scenes, make a scene of videos, see whether a scene will train, list the layouts there are."""

    action: tyro.conf.OmitSubcommandPrefixes[tyro.conf.OmitArgPrefixes[Action]]
