"""One notebook, open in JupyterLab in a browser: its cells run, what they show, what went wrong on the page."""

import json
from pathlib import Path

from tools.browser.needed import needed_cells, shows_panel
from tools.browser.panel import Panel

OPEN_SECONDS, RUN_SECONDS = 180, 600
NOTHING = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'
READY = """cells => {
    const shown = window.jupyterapp?.shell.currentWidget
    return shown?.content?.widgets?.length === cells && shown.sessionContext?.session?.kernel?.status === 'idle'
}"""
RUN = """which => {
    const app = window.jupyterapp, notebook = app.shell.currentWidget.content
    notebook.deselectAll()
    notebook.activeCellIndex = which[0]
    which.forEach(i => notebook.select(notebook.widgets[i]))
    window.ran = null
    app.commands.execute('notebook:run-cell').then(() => { window.ran = true }, problem => { window.ran = problem })
}"""
PROBLEMS = """() => window.jupyterapp.shell.currentWidget.content.widgets.flatMap((cell, i) =>
    cell.model.type !== 'code' ? [] : cell.model.sharedModel.outputs
        .filter(output => output.output_type === 'error')
        .map(output => `cell ${i + 1}: ${output.ename}: ${output.evalue}`))"""
GO_TO = """i => {
    const notebook = window.jupyterapp.shell.currentWidget.content
    notebook.deselectAll()
    notebook.activeCellIndex = i
    return notebook.scrollToItem(i, 'start')
}"""


class Lesson:
    """A committed notebook in a page of its own. file: Path; address: of it in a running Lab.

    errors: what the page threw and what it wrote on its console as an error, in words.
    """

    def __init__(self, browser, file, address):
        self.cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        self.code = [i for i, cell in enumerate(self.cells) if cell["cell_type"] == "code"]
        self.errors = []
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.route(
            lambda url: "//127.0.0.1:" not in url,
            lambda route: route.fulfill(content_type="image/svg+xml", body=NOTHING),
        )
        context.set_default_timeout(1000 * OPEN_SECONDS)
        self.page = context.new_page()
        self.page.on("pageerror", lambda problem: self.errors.append(f"thrown: {problem}"))
        self.page.on("console", self.note)
        self.page.goto(address)
        self.page.wait_for_function(READY, arg=len(self.cells))

    def note(self, message):
        if message.type == "error":
            self.errors.append(f"console: {message.text} ({message.location.get('url', '')})")

    def run_what_panels_need(self):
        """Run the needed cells, in order. Raises AssertionError with the error of a cell that fails."""
        needed = needed_cells([self.cells[i] for i in self.code])
        self.page.evaluate(RUN, [self.code[i] for i in needed])
        self.page.wait_for_function("() => window.ran !== null", timeout=1000 * RUN_SECONDS)
        problems = self.page.evaluate(PROBLEMS)
        assert not problems, "\n".join(problems)

    def panel(self, i):
        """The Panel that cell i shows, counted from 0 over all cells, scrolled to where a reader sees it."""
        self.page.evaluate(GO_TO, i)
        cell = self.page.locator(f'.jp-Notebook [data-windowed-list-index="{i}"]')
        return Panel(cell.locator(".jp-OutputArea-output > .widget-vbox").first)

    def close(self):
        self.page.evaluate("() => { window.jupyterapp.shell.currentWidget.sessionContext.shutdown() }")
        self.page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.sessionContext.session")
        self.page.context.close()


def panel_cells(file):
    """Numbers of the cells of a committed notebook that show a panel, counted from 0 over all cells."""
    cells = json.loads(Path(file).read_text(encoding="utf-8"))["cells"]
    return [i for i, cell in enumerate(cells) if cell["cell_type"] == "code" and shows_panel(cell)]
