"""Small datasets in the hubs' formats, written by the libraries that the hubs' tools write them with."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset
from PIL import Image

from calip_core.datasets.task import Split, Task

NAMES = ("a red thing", "a green thing", "a blue thing")
SIZES = {"train": 30, "test": 45}


def picture(number, seed=0):
    """Picture ``number`` of class ``number % 3``: noise in the colour of its class."""
    pixels = np.random.default_rng((seed, number)).integers(0, 90, (24, 32, 3))
    pixels[..., number % 3] += 120
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(image, kind="png"):
    stream = io.BytesIO()
    image.save(stream, kind, **({"lossless": True} if kind == "webp" else {}))
    return stream.getvalue()


def write_shards(root, sizes=SIZES, kind="webp", most=20):
    """What CLIP_benchmark's ``convert_dataset`` writes: ``webdataset.ShardWriter``, ``nshards.txt`` and the lists."""
    for seed, (split, size) in enumerate(sizes.items()):
        (root / split).mkdir(parents=True)
        with webdataset.ShardWriter(str(root / split / "%d.tar"), maxcount=most, verbose=0) as sink:
            for number in range(size):
                image = encoded(picture(number, seed), kind)
                sink.write({"__key__": f"s{number:07d}", kind: image, "cls": number % 3})
            shards = sink.shard
        (root / split / "nshards.txt").write_text(f"{shards}\n")
    (root / "classnames.txt").write_text("".join(f"{name}\n" for name in NAMES))
    (root / "zeroshot_classification_templates.txt").write_text("a photo of {c}.\na picture of {c}.\n")
    return root


def features(**changes):
    """What ``datasets`` writes into the schema of an image dataset."""
    columns = {"image": {"_type": "Image"}, "label": {"names": list(NAMES), "_type": "ClassLabel"}} | changes
    return {"huggingface": json.dumps({"info": {"features": {k: v for k, v in columns.items() if v}}})}


def table(rows, **columns):
    """Rows of bytes, path and label as a table like those of ``datasets``."""
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    contents = pa.array([{"bytes": content, "path": path} for content, path, _ in rows], image)
    labels = pa.array([label for _, _, label in rows], pa.int64())
    return pa.table({"image": contents, "label": labels}).replace_schema_metadata(features(**columns))


def rows_of(size, seed=0, kind="png"):
    return [(encoded(picture(number, seed), kind), f"{number}.{kind}", number % 3) for number in range(size)]


def write_tables(root, sizes=SIZES, files=2, row_group=7):
    """``data/SPLIT-00000-of-0000N.parquet``, as the Hub's and ``datasets``' own writers lay them out."""
    (root / "data").mkdir(parents=True)
    for seed, (split, size) in enumerate(sizes.items()):
        rows = rows_of(size, seed)
        for number in range(files):
            part = rows[number * size // files : (number + 1) * size // files]
            path = root / "data" / f"{split}-{number:05d}-of-{files:05d}.parquet"
            pq.write_table(table(part), path, row_group_size=row_group)
    return root


class Pictures:
    """Reads the same pictures without any file."""

    def __init__(self, seed):
        self.seed = seed

    def __call__(self, index):
        return picture(index, self.seed)


def plain_task(name, templates):
    """The same pictures, labels and prompts as a task without any file: what the readers are compared with."""
    splits = {split: Split(Pictures(seed), np.arange(size) % 3) for seed, (split, size) in enumerate(SIZES.items())}
    splits["val"] = Split(Pictures(0), [])
    return Task(name, name, NAMES, templates, splits, "CC0", "here")


def pixels(split):
    return [image.tobytes() for image, _ in split]


def path_of(task_name):
    return Path(task_name.partition(":")[2])
