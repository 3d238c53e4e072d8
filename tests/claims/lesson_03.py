"""What the claims of lesson 03 are compared with; see claims.py."""

FP = "(1e-4 if c.dtype == torch.float32 else 2e-2)"
ONE_PICTURE_ON = "muted['nothing'][1:] + muted['nothing'][:1]"

RIVALS = {
    "change[:4].max() < 1e-4 < change[4:].min()": {
        "an encoder that looks ahead and not back": "change = change.flip(0)",
        "the same prompt twice": "change = torch.zeros(77)"},
    'read("red", "night") == read("red", "sunset") != read("blue", "sunset")': {
        "a tokenizer that keeps the end": "read = lambda first, last: c.tokenizer(f'a {first} boat' + ' below snowy mountains' * 40"
                                          " + f' at {last}', verbose=False).input_ids[-c.max_tokens:]",
        "a short prompt": "read = lambda first, last: c.tokenizer(f'a {first} boat at {last}').input_ids"},
    'scenery["padding alone"] > 0.75 > 0.6 > scenery["another\'s padding"]': {
        "the padding of another prompt": "drawn = drawn | {'padding alone': drawn[\"another's padding\"]}",
        "the prompts in another order": "named = named[1:] + named[:1]"},
    'thing["words alone"] > 0.75 > 0.5 > thing["padding alone"]': {
        "the end token in the place of the words": "drawn = drawn | {'words alone': drawn['end token alone']}",
        "the words in the place of the padding": "drawn = drawn | {'padding alone': drawn['words alone']}"},
    "abs(by_hand - library) < 1e-4": {
        "captions shuffled": "by_hand = shuffled",
        "asked in one direction": "by_hand = float(F.cross_entropy(towers.scale * cosines, torch.arange(8)))"},
    'min(measured.values()) > 2 * max(others.values()) or towers.world != "postcards"': {
        "the next card's answers": "measured = others",
        "one answer for all cards": "measured = {'colour': sum(one.subjects[0].colour == answers[0][0] for one in fresh), "
                                    "'kind': sum(one.subjects[0].kind == answers[0][1] for one in fresh)}"},
    "max(divided for _, divided in most.values()) < 0.2 < 0.8 < most[256][0]": {
        "never divided": "most = {d: [plain, plain] for d, (plain, _) in most.items()}",
        "always divided": "most = {d: [divided, divided] for d, (_, divided) in most.items()}"},
    f"max(mine) < {FP}": {"all channels as one head": "mine = one_head"},
    "max(abs(sum(shares) - 1) for shares in budgets.values()) < 1e-3": {
        "a softmax over the places": "at_300 = looked.probabilities(path, 1).mean(0); "
                                      "shares = (at_300 / at_300.sum((0, 1))).mean((0, 1)); budgets = {'one layer': tuple(shares)}"},
    '(to_start > 0.3 and early > 2 * late) or c.world != "postcards"': {
        "all tokens read alike": "to_start = 1 / 77",
        "a word in its place": "to_start = looked.probabilities(path, 1).mean(0)[..., 3].mean()",
        "one noise level twice": "early = late"},
    'min(nouns[way].pointing for way in ways) > 2 * nouns["centre prior"].pointing': {
        "the map of another word": "scores = {'nouns': scores['nouns'] | dict.fromkeys(ways, scores['nouns']['shuffled words'])}",
        "a bell in the middle": "scores = {'nouns': scores['nouns'] | dict.fromkeys(ways, scores['nouns']['centre prior'])}"},
    "second > 1.4 * lowest": {
        "one map six times": "scores = {'nouns': scores['nouns'] | dict.fromkeys(ways, scores['nouns']['default'])}"},
    'min(there[name] for name in ("the start", "the noun", "all after only")) > 11': {
        "pictures of other prompts": f"muted = muted | {{'the noun': {ONE_PICTURE_ON}}}",
        "the start of another prompt": f"muted = muted | {{'the start': {ONE_PICTURE_ON}}}",
        "muted together": "muted = muted | {'all after only': muted['noun + all after']}"},
    'max(there["noun + words after"], there["noun + all after"]) <= 7': {
        "nothing muted": "muted = muted | {'noun + words after': muted['nothing']}",
        "the noun alone": "muted = muted | {'noun + all after': muted['the noun']}"},
    "ties == 100": {
        "an encoder that heeds the order": "ties = sum(torch.allclose(a, b, atol=1e-2) for a, b in "
                                           "zip(towers.embed_texts(told['as drawn']), towers.embed_texts(told['exchanged'])))"},
    "interval(wins, 100)[0] > 0.5": {
        "a bag of words, which guesses": "wins = 50",
        "pictures shuffled": "wins = int(((two_emb.roll(1, 0) * (towers.embed_texts(told['as drawn']) - "
                             "towers.embed_texts(told['exchanged']))).sum(1) > 0).sum())"},
    'interval(wins, 100)[1] < interval(easy, 100)[0]': {
        "whose colour is found as surely as which": "wins = easy",
        "a reader that errs on both": "easy = wins"},
    'calls == {"text encoder": 1, "image encoder": 0, "U-Net": 25}': {
        "CLIP reading eight cards": "calls = dict.fromkeys(calls, 0)\n"
                                    "hook = parts['image encoder'].register_forward_hook("
                                    "lambda *_: calls.update({'image encoder': 1}))\n"
                                    "towers.embed_images(cards)\nhook.remove()"},
    "apart(again, image) < (0.01 if c.dtype == torch.float32 else 1)": {"another seed": "again = other_seed"},
    f"causal < {FP}": {"without the mask": "causal = seeing_all"},
    'on["noun and words after"] > 2 * max(on["the noun"], on["words after it"])': {
        "the words after it alone": "dials = dials | {'noun and words after': dials['words after it']}",
        "the noun alone": "dials = dials | {'noun and words after': dials['the noun']}"},
    'hits >= 2 or towers.world != "postcards"': {
        "the word of the other card": "hits = sum(next(iter(near)) == other for _, _, _, other, near in rows)"},
    'shortest["straight"] < 0.98 * shortest["spherical"]': {
        "the arc on both ways": "shortest = dict.fromkeys(shortest, shortest['spherical'])"},
}
