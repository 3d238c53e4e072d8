"""axe-core, once it is in a page: the serious faults that it finds there."""


def faults(page):
    """{rule: the HTML of what breaks it}."""
    found = page.evaluate("async () => (await axe.run()).violations")
    return {
        one["id"]: [node["html"] for node in one["nodes"]] for one in found if one["impact"] in ("serious", "critical")
    }


def assert_no_faults(page):
    """There are none; and the control, a picture without words, is one."""
    assert faults(page) == {}
    page.evaluate("() => document.querySelector('main').append(new Image())")
    assert list(faults(page)) == ["image-alt"]
