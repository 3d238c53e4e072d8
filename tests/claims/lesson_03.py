"""What the claims of lesson 03 are compared with; see claims.py."""

RIVALS = {
    "change[:4].max() < 1e-4 < change[4:].min()": {
        "an encoder that looks ahead and not back": "change = change.flip(0)",
        "the same prompt twice": "change = torch.zeros(77)",
    },
    'read("red", "night") == read("red", "sunset") != read("blue", "sunset")': {
        "a tokenizer that keeps the end": "read = lambda first, last: c.tokenizer(f'a {first} boat' + ' below snowy mountains' * 40"
        " + f' at {last}', verbose=False).input_ids[-c.max_tokens:]",
        "a short prompt": "read = lambda first, last: c.tokenizer(f'a {first} boat at {last}').input_ids",
    },
    'padding["sky and ground"][0] > 12 > 4 > padding["sky and ground"][1]': {
        "the padding of another prompt": "drawn = drawn | {'padding alone': drawn['padding alone'][1:] + drawn['padding alone'][:1]}",
        "the prompts in another order": "sixteen = sixteen[1:] + sixteen[:1]",
    },
    'by_words["object"][0] > 14 > 12 > padding["object"][0]': {
        "the padding in the place of the words": "drawn = drawn | {'words alone': drawn['padding alone']}",
        "the words in the place of the padding": "drawn = drawn | {'padding alone': drawn['words alone']}",
    },
    'by_words["colour"][0] > 14 > 9 > padding["colour"][0]': {
        "the padding in the place of the words": "drawn = drawn | {'words alone': drawn['padding alone']}",
        "the words in the place of the padding": "drawn = drawn | {'padding alone': drawn['words alone']}",
    },
    "abs(by_hand - library) < 1e-4": {
        "captions shuffled": "by_hand = float(contrastive_loss(image_emb, text_emb.roll(1, 0), towers.scale))",
        "asked in one direction": "by_hand = rows_only",
    },
    'abs(rows_only - library) > 1e-2 or towers.world != "postcards"': {"both directions": "rows_only = by_hand"},
    'min(measured.values()) > 2 * max(others.values()) or towers.world != "postcards"': {
        "the next card's answers": "measured = others",
        "one answer for all cards": "measured = {'colour': sum(one.subjects[0].colour == answers[0][0] for one in hundred), "
        "'kind': sum(one.subjects[0].kind == answers[0][1] for one in hundred)}",
    },
    "max(divided for _, divided in most.values()) < 0.2 < 0.8 < most[256][0]": {
        "never divided": "most = {d: [plain, plain] for d, (plain, _) in most.items()}",
        "always divided": "most = {d: [divided, divided] for d, (_, divided) in most.items()}",
    },
    "max(mine) < close": {"all channels as one head": "mine = one_head"},
    'means[0] > 2 * max(means[1:]) or c.world != "postcards"': {
        "all tokens read alike": "means = [1 / 77, 1 / 77, 14 / 77, 61 / 77]",
        "the first word in the place of the start": "means = [means[1], means[0], *means[2:]]",
    },
    'to_end[0] > 2 * to_end[1] or c.world != "postcards"': {
        "the noise levels the other way round": "to_end = to_end[::-1]",
        "all tokens read alike": "to_end = [61 / 77] * 3",
    },
    'to_red < to_first / 4 or c.world != "postcards"': {
        "all tokens read alike": "to_first = to_red = 1 / 77",
        "the article left in": "to_red = to_first",
    },
    'min(unheard) > 4 > 2 > max(falls["start muted"], falls["first word muted"])': {
        "nothing muted": "tests = tests | {'start, value 0': muted['nothing']}",
        "both muted in the place of one": "tests = tests | {'first word muted': muted['start + first word'][:8]}",
        "the value of the first word alone": "tests = tests | {'start, value 0': draw_silent([[1]] * 8)}",
    },
    'still["start + first word, values 0"] > 6': {
        "the pictures of other prompts": "tests = tests | {'start + first word, values 0': tests['start + first word, values 0'][1:] + "
        "tests['start + first word, values 0'][:1]}",
        "the noun and the words after it in their place": "tests = tests | {'start + first word, values 0': tests['noun + words after, values 0'][:8]}",
    },
    'still["noun + words after, values 0"] < 12': {
        "left as they are": "tests = tests | {'noun + words after, values 0': muted['nothing']}"
    },
    'off < 1e-3 or c.world != "postcards"': {
        "nothing taken away": "off = not_taken",
        "the map of another word": "off = (by_you['boat'] - theirs['tree']).abs().max().item()",
    },
    'to_sinks > 1.5 * to_noun or c.world != "postcards"': {
        "all tokens read alike": "to_sinks, to_noun = 2 / 77, sum(stop - i for i, stop in zip(at, ends)) / len(at) / 77",
        "two words in the place of start and first word": "to_sinks = spent[2:4].sum()",
    },
    'unseen["ground"] > 0.9 and own["subjects"] > 3 * unseen["subjects"]': {
        "maps that have not seen their card": "own = unseen",
        "maps of noise": "own, unseen = [{name: float(masks.float().mean()) for name, (_, masks) in marked.items()}] * 2",
        "a bell in the middle": "from helpers.attention import centre_prior; middle = torch.from_numpy(centre_prior(c.image_size)); "
        "own = {name: hit_share(middle.expand_as(masks), masks) for name, (_, masks) in marked.items()}",
    },
    'min(one.pointing for one in six) > 2 * subjects["centre prior"].pointing': {
        "the map of another word": "scores = {'subjects': scores['subjects'] | dict.fromkeys(ways, scores['subjects']['shuffled words'])}",
        "a bell in the middle": "scores = {'subjects': scores['subjects'] | dict.fromkeys(ways, scores['subjects']['centre prior'])}",
    },
    "six[0].iou + 2 * six[0].iou_error < six[1].iou - 2 * six[1].iou_error": {
        "one map six times": "scores = {'subjects': scores['subjects'] | dict.fromkeys(ways, scores['subjects']['default'])}",
        "one card": "scores = {'subjects': {name: one._replace(iou_error=0.5) for name, one in scores['subjects'].items()}}",
    },
    'six[0] is subjects["last layer"]': {
        "one map six times": "scores = {'subjects': scores['subjects'] | dict.fromkeys(ways, scores['subjects']['default'])}",
        "the last layer at its best threshold": "scores = {'subjects': scores['subjects'] | {'last layer': scores['subjects']['last layer']._replace("
        "iou=scores['subjects']['last layer'].best[1])}}",
    },
    "two[0].best[1] + 2 * two[0].best[2] > two[1].best[1] - 2 * two[1].best[2]": {
        "at the fixed threshold": "scores = {'subjects': {name: one._replace(best=(0.4, one.iou, one.iou_error)) for name, one in "
        "scores['subjects'].items()}}"
    },
    'min(left[name] for name in left if "noun +" not in name) > 13': {
        "pictures of other prompts": "muted = muted | {'start + first word': muted['nothing'][1:] + muted['nothing'][:1]}",
        "the words after it muted too": "muted = muted | {'the noun': muted['noun + words after']}",
        "the noun muted with all after it": "muted = muted | {'all after only': muted['noun + all after']}",
    },
    'there["end + padding"]["sky and ground"][0] > 11': {
        "the words after the noun muted too": "muted = muted | {'end + padding': muted['all after only']}",
        "the pictures of other prompts": "muted = muted | {'end + padding': muted['end + padding'][1:] + muted['end + padding'][:1]}",
    },
    'wet["start + first word"] > 8 > 6 > wet["end + padding"]': {
        "nothing muted": "muted = muted | {'start + first word': muted['nothing']}",
        "the words after the noun muted too": "muted = muted | {'end + padding': muted['all after only']}",
    },
    'left["noun + words after"] < 12 and left["noun + all after"] < 6': {
        "nothing muted": "muted = muted | {'noun + words after': muted['nothing']}",
        "the noun alone": "muted = muted | {'noun + all after': muted['the noun']}",
        "all but the noun": "muted = muted | {'noun + all after': muted['all after only']}",
    },
    'there["noun + words after"]["sky and ground"][0] > 13': {
        "end and padding muted too": "muted = muted | {'noun + words after': muted['noun + all after']}",
        "the pictures of other prompts": "muted = muted | {'noun + words after': muted['noun + words after'][1:] + muted['noun + words after'][:1]}",
    },
    'norm[:2].max() < norm[2:].mean() / 2 or c.world != "postcards"': {
        "all values alike": "norm = torch.ones(77)",
        "two words in the place of start and first word": "norm = norm[2:]",
    },
    "ties == 100": {
        "an encoder that heeds the order": "ties = sum(torch.allclose(a, b, atol=1e-2) for a, b in "
        "zip(towers.embed_texts(told['as drawn']), towers.embed_texts(told['swapped'])))"
    },
    "interval(wins, 100)[0] > 0.5": {
        "a bag of words, which guesses": "wins = 50",
        "pictures shuffled": "wins = int(((two_emb.roll(1, 0) * (towers.embed_texts(told['as drawn']) - "
        "towers.embed_texts(told['swapped']))).sum(1) > 0).sum())",
    },
    "interval(wins, 100)[1] < interval(easy, 100)[0]": {
        "whose colour is found as surely as which": "wins = easy",
        "a reader that errs on both": "easy = wins",
    },
    'in_front >= 2 + wrong or towers.world != "postcards"': {"the word of the other card": "in_front = wrong"},
    'shortest["straight"] < 0.98 * shortest["spherical"]': {
        "the arc on both paths": "shortest = dict.fromkeys(shortest, shortest['spherical'])"
    },
}
