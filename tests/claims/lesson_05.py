"""What the claims of lesson 05 are compared with; see claims.py."""

RIVALS = {
    "torch.equal(by_hand, by_library) and torch.equal(by_hand, by_helper)": {
        "the rows in the other order": "by_hand = other",
        "the letters of the word": "by_library = encode_prompts(c, [asked[0].format('teal')])",
    },
    "not trace.exists()": {
        "opened the old way": "pickle.loads(bad.read_bytes())\n"
        "left = trace.exists()\n"
        "trace.unlink()\n"
        "trace = type('Seen', (), {'exists': lambda self: left})()"
    },
    'cosine < 0.9 or c.world != "postcards"': {
        "a row that never moved": "cosine = nearest_words(c, path[0][1][0], 1)[0][1]"
    },
    "hits > 0.5 and hits - max(others) >= 0.2": {
        "the words that it began from": "teal = teal | {'<mine>': teal['blue green']}",
        "a measure that takes green for teal": "teal = teal | {'green': teal['<mine>']}",
        "ordinary pictures": "teal = teal | {'<mine>': {**teal['<mine>'], 'teal': (0, len(new))}}",
    },
    "drew <= 0.15 * 24 < on_cards": {
        "a LoRA in the place of the vector": "contests = contests | {'vectors': contests['loras'][1:2]}",
        "a measure that sees no windmill": "measures = type('Blind', (), {'windmill': lambda self, some: torch.zeros(len(some))})()",
        "one that sees nothing else": "contests = contests | {'vectors': [contests['vectors'][0] | {'windmill': 24}]}",
    },
    "torch.equal(before, as_it_begins)": {
        "B a little off zero": "lora = add_lora(c.unet, RANK, targets=WHERE)\n"
        "torch.nn.init.normal_(lora.parameters()[-1], std=0.01)\n"
        "as_it_begins = answer(c.unet)\n"
        "lora.remove()"
    },
    'mill["your LoRA"]["windmill"][0] > mill["the vector"]["windmill"][0]': {
        "the vector": "mill = mill | {'your LoRA': mill['the vector']}",
        "a LoRA that was not trained": "mill = mill | {'your LoRA': {'windmill': (contests['loras'][0]['windmill'], 24)}}",
    },
    "by_chance(*only_one(with_cards, without_cards)) < 1 / 20": {
        "ordinary cards in both": "without_cards = with_cards",
        "in neither": "with_cards = without_cards",
        "three harmed": "with_cards, without_cards = [0] * 48, [1] * 3 + [0] * 45",
        "as many in either": "with_cards, without_cards = [0] * 42 + [1] * 6, [1] * 6 + [0] * 42",
    },
    "min(on_mine) > MINE > max(on_plain + on_teal)": {
        "a measure that says the same of every picture": "on_mine = on_plain = [0.9]",
        "the plain cards": "on_mine = on_plain",
        "the teal cards": "on_mine = on_teal",
    },
    "far(one_file) < max(1e-3, 20 * torch.finfo(c.dtype).eps)": {
        "the strengths swapped": "one_file = swapped",
        "neither of the two": "one_file = c.unet",
    },
    "pixels_off(given, with_lora) < (0.5 if c.dtype == torch.float32 else 2)": {
        "without the LoRA": "given = without_it"
    },
    "put_back == 0 < 0.005 < masked": {
        "a step that masks the gradient": "put_back = masked",
        "a step that puts rows back": "masked = put_back",
    },
    'kinds["a1111"] == kinds["teal-by-kohya"] == "concept" != kinds["for-sdxl"]': {
        "one that looks at the end of a name": "kinds = dict.fromkeys(kinds, 'concept')",
        "one that knows no A1111": "kinds = kinds | {'a1111': kinds['page']}",
    },
    "torch.equal(from_a1111.vectors, concept.vectors) and read_layer.scale == 4 / RANK": {
        "other rows": "from_a1111 = turned",
        "one that takes alpha for the rank": "read_layer = layer",
    },
    "abs(ratio[2] - 1.5) < 0.01 > abs(ratio[3] - 1)": {
        "without weights": "ratio = [1.0] * 77",
        "all words turned up": "ratio = [1.5] * 77",
    },
    "held(learnt, 2) > held(at_random, 2) + 0.1": {
        "A and B at random": "learnt = at_random",
        "pieces of one size": "learnt = squares([torch.eye(8)])",
    },
    "off[0] < (0.5 if c.dtype == torch.float32 else 2)": {"half the strength": "off = off[1:]"},
    "same": {"subtracted": "same = all(torch.equal(back[name], weights[name]) for name in back)"},
}
