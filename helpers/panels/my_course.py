"""What the reader has made so far, and a button that hands it over as one file."""

import base64
import html
import sys

import ipywidgets as widgets

from helpers import my_course, runtime
from helpers.panels.base import Still, row, sentence

LARGEST = 30_000_000  # bytes of a file that a page carries in a link
ONE = {"concepts": "concept", "pictures": "picture", "answers": "answer"}


class Kept(Still):
    """How much lies in `my_course`, counted when it is shown, and Download: everything as my_course.zip.

    On Colab the browser is asked to save it; elsewhere a link in the page does so, or the sentence says where it lies.
    """

    def __init__(self):
        self.count, self.download = widgets.Button(description="Count again"), widgets.Button(description="Download")
        self.line = widgets.HTML()
        self.count.on_click(lambda button: self.show())
        self.download.on_click(lambda button: self.hand_over())
        super().__init__([self.line, row([self.count, self.download])])
        self.show()

    def show(self):
        """Say what is there."""
        try:
            counted = my_course.contents()
        except OSError as problem:
            self.line.value = f"<b>{sentence(str(problem))}</b>"
            return
        said = ", ".join(f"{n} {ONE[kind] if n == 1 else kind}" for kind, n in counted.items())
        self.line.value = sentence(f"Kept in {my_course.folder()}: {said}.")

    def hand_over(self):
        """Pack everything and give it to the browser."""
        try:
            path = my_course.pack()
            if runtime.place() == "colab" and "google.colab" in sys.modules:
                from google.colab import files

                files.download(str(path))
                self.line.value = sentence(f"{path.name} is on its way to your browser.")
            elif path.stat().st_size <= LARGEST:
                inside = base64.b64encode(path.read_bytes()).decode()
                self.line.value = (
                    f'<a download="{html.escape(path.name)}" href="data:application/zip;base64,{inside}">'
                    f"Save {html.escape(path.name)}</a> "
                    f"{sentence(f'(it also lies at {path}).')}"
                )
            else:
                self.line.value = sentence(f"Everything lies in {path}: take it from there.")
        except Exception as problem:  # a button's caller would say nothing of it
            self.line.value = f"<b>{sentence(str(problem))}</b>"
