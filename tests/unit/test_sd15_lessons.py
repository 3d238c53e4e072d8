"""The table of docs/sd15.md: what it counts is counted right, and every cell of every lesson fits a card and a notebook."""

import json
import re

import pytest
import torch
from diffusers import UNet2DConditionModel

from benchmarks import sd15_lessons as bill
from benchmarks.lessons import NOTEBOOKS, code_cells, source
from tools import setup_cell

SETUP = setup_cell.TEXT.splitlines()[0]

LARGEST = [  # rows at once, learning, what else is kept in GB: the largest calls of the lessons, counted in their cells
    (16, False, 0.0),  # 01: sixteen noises. 04: eight prompts with guidance
    (32, False, 0.2),  # 03: sixteen prompts with guidance, beside the maps of 28 steps
    (24, False, 1.6),  # 05: more rows than any of its calls without a gradient
    (5, True, 1.6),
]  # 05: the loss of five postcards and its backward


def test_the_cells_that_copy_a_unet_are_there():
    for lesson, text in bill.COPIES:
        assert any(
            text in source(cell) for file in NOTEBOOKS if file.name[:2] == lesson for cell in code_cells(file)
        ), text


@pytest.fixture(scope="module")
def prices():
    return bill.Prices()


@pytest.mark.parametrize("rows, learns, kept", LARGEST)
def test_the_largest_calls_fit_a_card(prices, rows, learns, kept):
    whole = sum(prices.weights.values()) + kept * 1e9
    assert whole + prices.call("unet", rows, 1, 1, learns)[1] <= 12e9
    assert bill.BESIDE <= 10e9


def test_every_cell_of_every_lesson_fits_a_card_and_a_computer_without_one_where_nothing_is_trained(prices):
    """12 GB of a card; 10 GB of memory without one. The calls are those that were counted when the table was written."""
    rows = bill.rows_of(json.loads(bill.RESULT.read_text(encoding="utf-8"))["lessons"], prices)
    assert {row["lesson"] for row in rows} == {"01", "02", "03", "04", "05"} and len(rows) > 90
    assert max(row["card"] for row in rows) <= 12e9
    assert not [(row["lesson"], row["does"], row["ram"]) for row in rows if row["ram"] > 10e9 and not row["learns"]]
    assert max(row["ram"] for row in rows) <= 19e9  # as load_components says


def test_the_page_names_the_cells_by_the_numbers_and_lines_that_the_notebooks_have():
    rows = re.findall(r"(?m)^\| (\d\d) +\| +(\d+) \| +`(.+?)` \|", bill.PAGE.read_text(encoding="utf-8"))
    cells = {
        (file.name[:2], str(cell["execution_count"])): bill.first_line(source(cell)).replace("|", r"\|")
        for file in NOTEBOOKS
        for cell in code_cells(file)
        if source(cell).strip() and not source(cell).startswith(SETUP)
    }
    assert len(rows) > 90
    assert [(*cell, does) for *cell, does in rows if cells.get(tuple(cell)) != does] == [], (
        "run python -m benchmarks.sd15_lessons with the numbers of these lessons"
    )


def test_the_page_is_what_was_counted(prices):
    kept = json.loads(bill.RESULT.read_text(encoding="utf-8"))["lessons"]
    assert bill.PAGE.read_text(encoding="utf-8") == bill.page(bill.rows_of(kept, prices), prices)


def test_bytes_alive_are_those_of_tensors_that_live_at_once():
    weight = torch.empty(50, 1000, device="meta")

    def act():
        one = torch.empty(1000, device="meta")  # 4000 bytes
        two = torch.cat([one, one])  # 8000 more
        del one
        three = two[:10] + 1  # a view costs nothing, a sum does: 40
        return weight.t(), three

    assert bill.priced(act, [weight])[1] == 12_000


def test_work_is_what_is_published(prices):
    """0.8 TFLOP for one call of the U-Net at 64 x 64, 2.5 for a decoding."""
    assert prices.weights["unet"] == 2 * 859_520_964
    work, alive = bill.priced(lambda: prices.act("unet", 1, 1, 1, False), prices.all)
    assert work == pytest.approx(0.80e12, rel=0.01) and 30e6 < alive < 200e6
    assert bill.priced(lambda: prices.act("decoder", 1, 1, 1, False), prices.all)[0] == pytest.approx(2.5e12, rel=0.01)


def test_attention_never_holds_a_table_of_places_by_places():
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
    ).to("meta")
    given = (
        torch.empty(1, 4, 64, 64, device="meta"),
        torch.zeros(1, device="meta"),
        torch.empty(1, 77, 8, device="meta"),
    )
    with torch.no_grad():
        assert bill.priced(lambda: unet(*given), unet.parameters())[1] < 4096 * 4096 * 4
