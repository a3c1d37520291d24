"""Pictures that note who reads them; as a program, prepares a folder of them.

    noted_pictures.py FOLDER NOTES CACHE SECONDS

Imports no TensorFlow: processes that decode pictures import this module.
"""

import dataclasses
import os
import sys
import time

from PIL import Image

from ncsn_tf.data.collection import PictureFolder, open_folder
from ncsn_tf.data.decoding import PictureError


@dataclasses.dataclass(frozen=True)
class NotedPictures(PictureFolder):
    """A folder's pictures, each read in so many seconds; a line "PROCESS PLACE" of each reading."""

    notes: str
    seconds: float = 0.0

    def read(self, place: int) -> Image.Image:
        with open(self.notes, "a") as file:
            file.write(f"{os.getpid()} {place}\n")
        if {"tensorflow", "keras"} & sys.modules.keys():
            raise PictureError(self.names[place], "TensorFlow is imported")
        time.sleep(self.seconds)
        return super().read(place)


def noted(folder, notes, seconds=0.0):
    """The `NotedPictures` of a folder."""
    found = open_folder(str(folder))
    return NotedPictures(found.origin, found.names, found.left_out, str(notes), seconds)


def read_notes(notes):
    """([processes], [places]) that were read."""
    lines = [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []
    return [int(process) for process, _ in lines], [int(place) for _, place in lines]


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from noted_pictures import noted  # by the name that other processes know it by

    from ncsn_tf.commands.console import run_command
    from ncsn_tf.data import preparation, prepared

    def main(argv):
        _, place, notes, cache, seconds = argv
        prepared._FEW = 0
        preparation._SYNC_EVERY, preparation._PART_PICTURES = 0.05, 4
        pictures = noted(place, notes, float(seconds))
        found = prepared.prepare_collection(pictures, (4, 4, 1), 0, cache)
        print("prepared", found.pixels)

    run_command(main)
