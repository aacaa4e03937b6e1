"""`python -m training <stage> …`: every stage of making the generator."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping

import click

from synthface.errors import SynthfaceError

#: Stage to "module:command"; a stage is imported when it is called.
STAGES: Mapping[str, str] = {
    "prepare": "training.photos.cli:prepare",
    "correspond": "training.fit.cli:correspond",
    "fit": "training.fit.cli:fit",
    "morphable": "training.morphable.cli:morphable",
    "recognition": "training.recognition.cli:recognition",
    "parser": "training.parser.cli:parser",
    "reconstruct": "training.reconstruct.cli:reconstruct",
    "extract": "training.reconstruct.cli:extract",
    "vae": "training.vae.cli:vae",
    "toy": "training.gan.cli:toy",
    "pack": "training.gan.cli:pack",
    "bank": "training.gan.cli:bank",
    "gan": "training.gan.cli:gan",
    "export": "training.gan.cli:export",
    "resolve": "training.gan.cli:resolve",
    "evaluate": "training.evaluate.cli:evaluate",
}


class _Stages(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(STAGES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in STAGES:
            return None
        module, _, name = STAGES[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.command(cls=_Stages)
def main() -> None:
    """Train the generator, stage by stage. Each recipe's header holds its exact command."""


if __name__ == "__main__":
    try:
        main(prog_name="python -m training")
    except SynthfaceError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
