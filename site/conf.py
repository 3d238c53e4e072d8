"""How Sphinx turns what tools/site.py has laid out into pages. Nothing is executed, and nothing is fetched when a page is read."""

project = "Stable Diffusion from the Inside"
copyright = "its authors; text and pictures CC BY 4.0, code MIT"  # noqa: A001 (Sphinx's name for it)
language = "en"
extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx-mathjax-offline"]
exclude_patterns = ["build"]

nb_execution_mode = "off"  # the outputs are those that are committed, and that the tests run again
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "footer_content_items": ["copyright"],
    "navbar_persistent": [],  # one field to search in, that of the menu
    "use_download_button": False,
    "use_fullscreen_button": False,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
