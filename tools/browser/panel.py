"""A panel on the page, handled as a person does: by mouse and keyboard, looking at its picture and its text."""

import re
import time

CHANGE_SECONDS, IDLE_SECONDS, STILL_SECONDS = 60, 3, 0.4
LOOK = """root => {
    const pictures = [...root.querySelectorAll('img.widget-image')].map(image => {
        if (!image.complete || !image.naturalWidth) return ''
        const canvas = document.createElement('canvas')
        canvas.width = 160
        canvas.height = Math.max(1, Math.round(160 * image.naturalHeight / image.naturalWidth))
        const brush = canvas.getContext('2d', { willReadFrequently: true })
        brush.drawImage(image, 0, 0, canvas.width, canvas.height)
        let hash = 0
        const colours = new Set()
        const pixels = new Uint32Array(brush.getImageData(0, 0, canvas.width, canvas.height).data.buffer)
        for (const pixel of pixels) { hash = (Math.imul(hash, 31) + pixel) | 0; colours.add(pixel) }
        return colours.size > 1 ? `${image.naturalWidth}x${image.naturalHeight} ${hash}` : 'blank'
    })
    const text = [...root.querySelectorAll('.widget-html-content')].map(one => one.innerText).join(' | ')
    const bars = [...root.querySelectorAll('.progress-bar')].map(one => one.style.width)
    return { pictures, text, bars }
}"""
BUSY = "root => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status !== 'idle'"
CUT_OFF = """root => {
    const found = [], ink = document.createElement('canvas').getContext('2d')
    const shown = element => element.offsetParent !== null
    for (const one of root.querySelectorAll('.widget-label, .widget-readout, button, .widget-html-content'))
        if (shown(one) && one.scrollWidth > one.clientWidth + 1) found.push(`"${one.innerText}" is cut off`)
    for (const one of root.querySelectorAll('select')) {
        const style = getComputedStyle(one)
        ink.font = `${style.fontSize} ${style.fontFamily}`
        const room = one.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)
        for (const option of one.options)
            if (shown(one) && ink.measureText(option.text).width > room)
                found.push(`"${option.text}" does not fit its menu`)
    }
    const area = root.closest('.jp-OutputArea-output')
    if (area.scrollWidth > area.clientWidth + 1) found.push(`it is ${area.scrollWidth} wide in ${area.clientWidth}`)
    const edge = area.getBoundingClientRect().right + 1
    for (const one of root.querySelectorAll('img, button, select, input, .slider-container'))
        if (shown(one) && one.getBoundingClientRect().right > edge) found.push(`${one.tagName} ends outside the page`)
    return found
}"""


class Panel:
    """What a cell shows. root: a Playwright locator of its box."""

    def __init__(self, root):
        self.root = root

    def look(self):
        """{"pictures": [fingerprint; '' if there is none, 'blank' if of one colour], "text": ..., "bars": [...]}."""
        return self.root.evaluate(LOOK)

    def cut_off(self):
        """What a reader can not read or reach, in words."""
        return self.root.evaluate(CUT_OFF)

    def controls(self):
        """All that can be moved, in the order of the page."""
        boxes = self.root.locator(".widget-slider, .widget-dropdown, .widget-toggle-buttons, .widget-text")
        return [Control(box) for box in boxes.all() if box.is_visible()]

    def button(self, name):
        return self.root.get_by_role("button", name=name, exact=True)

    def buttons(self):
        """Names of the push buttons."""
        return self.root.locator("button.widget-button:not(.widget-toggle-button)").all_inner_texts()

    def changed(self, before, part):
        """What it shows once one part of it differs from `before`; None if the kernel came to rest without that."""
        idle = end = time.monotonic()
        while time.monotonic() - idle < IDLE_SECONDS and time.monotonic() - end < CHANGE_SECONDS:
            if self.look()[part] != before[part]:
                return self.settled()
            if self.root.evaluate(BUSY):
                idle = time.monotonic()
            time.sleep(0.05)
        return None

    def settled(self):
        """What it shows once the kernel rests and nothing has changed for a moment."""
        before, since = self.look(), time.monotonic()
        while time.monotonic() - since < STILL_SECONDS:
            time.sleep(0.05)
            now = self.look()
            if now != before or self.root.evaluate(BUSY):
                before, since = now, time.monotonic()
        return before


class Control:
    """A slider, menu, row of buttons or line of text. box: a Playwright locator."""

    def __init__(self, box):
        self.box = box
        kinds = re.findall(r"widget-(slider|dropdown|toggle-buttons|text)", box.get_attribute("class"))
        self.kind, label = kinds[0], box.locator(".widget-label")
        self.name = label.first.inner_text() if label.count() else ""
        self.handle = box.locator(".noUi-handle")

    @property
    def value(self):
        """What it stands at, as it is known on the page."""
        if self.kind == "slider":
            return float(self.handle.get_attribute("aria-valuenow"))
        if self.kind == "dropdown":
            return self.box.locator("select").evaluate("menu => menu.selectedIndex")
        if self.kind == "toggle-buttons":
            buttons = self.box.locator("button")
            return buttons.evaluate_all("all => all.findIndex(one => one.classList.contains('mod-active'))")
        return self.box.locator("input").input_value()

    def others(self):
        """Up to three values that it could stand at instead."""
        if self.kind == "text":
            return ["a green house and a tree"]
        if self.kind == "slider":
            low, high = (float(self.handle.get_attribute(f"aria-value{end}")) for end in ("min", "max"))
            near = [high, low] if self.value < (low + high) / 2 else [low, high]
            return [near[0] * 0.8 + near[1] * 0.2, near[0], near[1]]
        count = self.box.locator("option, button").count()
        return [i for i in range(count) if i != self.value][:3]

    def move(self, value):
        """Bring it to a value (a slider: near it), as a person does."""
        if self.kind == "slider":
            self.drag(value)
        elif self.kind == "dropdown":
            self.box.locator("select").select_option(index=value)
        elif self.kind == "toggle-buttons":
            self.box.locator("button").nth(value).click()
        else:
            self.box.locator("input").fill(value)
            self.box.locator("input").press("Enter")

    def drag(self, value):
        """Take the handle with the mouse, move it, let it go."""
        self.box.scroll_into_view_if_needed()
        low, high = (float(self.handle.get_attribute(f"aria-value{end}")) for end in ("min", "max"))
        track, knob = self.box.locator(".noUi-base").bounding_box(), self.handle.bounding_box()
        mouse, y = self.box.page.mouse, knob["y"] + knob["height"] / 2
        mouse.move(knob["x"] + knob["width"] / 2, y)
        mouse.down()
        mouse.move(track["x"] + track["width"] * (value - low) / (high - low), y, steps=4)
        mouse.up()

    def restore(self, value):
        """Bring it back to exactly this value: a slider near it by mouse, then by the arrow keys."""
        if self.kind != "slider":
            self.move(value)
            return
        self.drag(value)
        self.handle.focus()
        for _ in range(1000):
            now = self.value
            if abs(now - value) < 1e-6:
                return
            self.handle.press("ArrowRight" if now < value else "ArrowLeft")
        raise AssertionError(f"The arrow keys do not bring {self.name} back to {value}.")
