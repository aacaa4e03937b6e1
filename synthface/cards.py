"""What a dataset says of itself: a card for people (and Hugging Face), Croissant 1.1 metadata for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_SPLIT_NAMES = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """The dataset's README: a YAML header that tells Hugging Face which files are samples, then prose and tables."""
    counts, generator = manifest["counts"], manifest["generator"]
    splits = counts["splits"]
    configs = "\n".join(f"  - split: {_SPLIT_NAMES.get(name, name)}\n    path: data/{name}-*.tar" for name in splits)
    rows = "\n".join(f"| {name} | {s['images']} | {s['identities']} |" for name, s in splits.items())
    conditions = "\n".join(f"| {name} | {count} |" for name, count in counts["conditions"].items())
    files = "\n".join(f"| `{f['extension']}` | {f['origin']} | {f['description']} |" for f in manifest["sample_files"])
    return f"""---
pretty_name: {json.dumps(manifest["name"])}
license: other
license_name: see-below
task_categories: [image-classification]
tags: [synthetic, faces, webdataset, synthface]
configs:
- config_name: default
  data_files:
{configs}
---
# {manifest["name"]}

{counts["images"]} synthetic face images of {counts["identities"]} identities that don't exist, made by synthface
{manifest["versions"]["synthface"]} with the generator `{generator["name"]}`. No photograph of a person went into an image;
every label is a number that was requested or computed, not annotated by hand. `spec.yaml` is how it was asked for: the same
spec and versions (`manifest.json`) give the same bytes.

| split | images | identities |
|---|---|---|
{rows}

| condition | images |
|---|---|
{conditions}

## Reading it

```python
import synthface

for sample in synthface.open_dataset("path/to/this/folder", split={next(iter(splits))!r}):
    sample["image"], sample["labels"]["yaw_deg"], sample["identity"]

frame = synthface.labels("path/to/this/folder")
```

Shards are plain WebDataset tars: `webdataset`, Hugging Face `datasets` and `tarfile` read them, too.

## What is in a sample

| file | origin | content |
|---|---|---|
| `json` | see below | all labels |
| `cls` | planned | identity number |
{files}

## Labels

The same names in each sample's JSON, in `labels/*.parquet` and in `labels.parquet`. Origin: **planned** by the spec's
counts, **requested** from its distributions, **rendered** from the morphable model's geometry{_estimated(manifest)}.

{label_table(manifest["columns"])}

{promises(manifest)}## Intended use and limits

For training and testing networks where control over pose, light, expression and identity matters: robustness studies,
verification benchmarks, landmark and pose regression, pre-training. Not a sample of any population: results on it say
nothing about accuracy on people, and must be confirmed on real, consented data. Skin tones, shapes and expressions follow
the spec, not a census. Terms of use follow the generator's: see its card.
"""


def _estimated(manifest: Mapping[str, Any]) -> str:
    has_any = any(column["origin"] == "estimated" for column in manifest["columns"])
    return ", **estimated** from the finished picture by a network" if has_any else ""


def promises(manifest: Mapping[str, Any]) -> str:
    """What the dataset promises of itself, as a section; empty where it promises nothing."""
    lines: list[str] = []
    chosen = manifest.get("quality", {}).get("identities")
    if chosen is not None:
        lines.append(
            f"- **Identities** {chosen['found']} of the {chosen['asked']} asked for, chosen among {chosen['drawn']} draws."
        )
        if "separation" in chosen:
            apart = chosen["separation"]
            lines.append(
                f"- **Apart** no two identities are nearer than {apart['min_distance']:g} (1 − cos of centred face recognition "
                f"descriptors of their standard pictures); the nearest two are {apart['nearest']:.3f} apart, "
                f"{apart['compared']} draws were compared."
            )
        if "balance" in chosen:
            balance = chosen["balance"]
            bins = ", ".join(
                f"{low:g} to {high:g}: {count}"
                for low, high, count in zip(balance["edges"], balance["edges"][1:], balance["found"], strict=False)
            )
            lines.append(f"- **Balanced** by `{balance['by']}`, identities per bin: {bins}.")
    audit = manifest.get("quality", {}).get("audit")
    if audit is not None:
        failed = {
            "flag": f"{audit['failed']} failed and are marked `audit_failed`",
            "drop": f"{audit['dropped']} failed and are left out",
            "resample": f"{audit['drawn_again']} were drawn again, {audit['failed']} still fail and are marked `audit_failed`",
        }[audit["on_fail"]]
        lines.append(
            f"- **Audited** {audit['checked']} pictures were looked at by `{audit['estimator']}`; {failed}. Allowed: "
            + ", ".join(f"{name} {factor['limit']:g}" for name, factor in audit["factors"].items())
            + "."
        )
    return "## What it promises\n\n" + "\n".join(lines) + "\n\n" if lines else ""


def label_table(columns: list[Mapping[str, Any]]) -> str:
    """A Markdown table of columns, the 52 expressions in one row."""
    lines = ["| label | type | unit | frame | origin | meaning |", "|---|---|---|---|---|---|"]
    expressions = [c["name"] for c in columns if c["name"].startswith("expression_")]
    for column in columns:
        name, meaning = f"`{column['name']}`", column["description"]
        if column["name"] in expressions:
            if column["name"] != expressions[0]:
                continue
            name = f"`expression_<name>` ({len(expressions)})"
            meaning = "Action at 0 (relaxed) to 1 (full); left and right are the subject's. Names: " + ", ".join(
                e.removeprefix("expression_") for e in expressions
            )
        shape = " × ".join(str(size) for size in column["shape"])
        kind = f"{column['dtype']} ({shape})" if shape else column["dtype"]
        lines.append(f"| {name} | {kind} | {column['unit']} | {column['frame']} | {column['origin']} | {meaning} |")
    return "\n".join(lines)


_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "arrayShape": "cr:arrayShape",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES = {
    "float32": "sc:Float",
    "int64": "sc:Integer",
    "int32": "sc:Integer",
    "uint8": "sc:Integer",
    "bool": "sc:Boolean",
    "string": "sc:Text",
}


def croissant(manifest: Mapping[str, Any]) -> bytes:
    """Croissant 1.1 JSON-LD: shards as file objects, labels as records, joined to pictures by key.

    Source: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
    """
    hashes = {record["name"]: record for record in manifest["files"]}
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": manifest["name"],
        "description": f"{manifest['counts']['images']} labelled synthetic face images, made by synthface.",
        "version": "1.0.0",
        "license": "https://schema.org/copyrightNotice",
        "url": "https://example.org/synthface",
        "citeAs": "See CITATION.cff of synthface.",
        "datePublished": "2026-01-01",
        "rai:dataCollectionType": "Synthetic",
        "rai:dataLimitation": "Not a sample of any population; no real person is shown.",
        "distribution": [*_shard_objects(manifest), _file_object("labels.parquet", hashes["labels.parquet"])],
        "recordSet": [_label_records(manifest), _picture_records(manifest)],
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _file_object(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    kind = "application/x-parquet" if name.endswith(".parquet") else "application/x-tar"
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{record['bytes']} B",
        "encodingFormat": kind,
        "sha256": record["sha256"],
    }


def _shard_objects(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    objects = [_file_object(shard["tar"]["name"], shard["tar"]) for shard in manifest["shards"]]
    picture = manifest["sample_files"][0]
    pictures = {
        "@type": "cr:FileSet",
        "@id": "pictures",
        "name": "pictures",
        "containedIn": [{"@id": shard["tar"]["name"]} for shard in manifest["shards"]],
        "encodingFormat": picture["media_type"],
        "includes": f"*.{picture['extension']}",
    }
    return [*objects, pictures]


def _label_records(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "labels",
        "name": "labels",
        "key": {"@id": "labels/key"},
        "field": [_label_field(column) for column in manifest["columns"]],
    }


def _label_field(column: Mapping[str, Any]) -> dict[str, Any]:
    field = {
        "@type": "cr:Field",
        "@id": f"labels/{column['name']}",
        "name": column["name"],
        "description": column["description"],
        "dataType": _TYPES[column["dtype"]],
        "source": {"fileObject": {"@id": "labels.parquet"}, "extract": {"column": column["name"]}},
    }
    if column["shape"]:
        size = 1
        for extent in column["shape"]:
            size *= extent
        field |= {"isArray": True, "arrayShape": str(size)}
    return field


def _picture_records(manifest: Mapping[str, Any]) -> dict[str, Any]:
    source = {"fileSet": {"@id": "pictures"}}
    key = {
        "@type": "cr:Field",
        "@id": "samples/key",
        "name": "key",
        "description": "The sample's name: what stands before the first dot of its file names.",
        "dataType": "sc:Text",
        "source": source | {"extract": {"fileProperty": "filename"}, "transform": {"regex": r"^([^.]+)\."}},
        "references": {"field": {"@id": "labels/key"}},
    }
    image = {
        "@type": "cr:Field",
        "@id": "samples/image",
        "name": "image",
        "description": manifest["sample_files"][0]["description"],
        "dataType": "sc:ImageObject",
        "source": source | {"extract": {"fileProperty": "content"}},
    }
    return {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "key": {"@id": "samples/key"},
        "field": [key, image],
    }
