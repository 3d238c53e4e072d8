"""The controls of lesson 04: for each claim what must fail it. How: claims.py."""

RIVALS = {
    # A block, opened
    "emb_off < near": {
        "waves of one frequency":
            "emb_off = off(layers(torch.cat([torch.full((1, width // 2), float(t)).cos(), torch.full((1, width // 2), float(t)).sin()], 1)"
            ".to(x_t)).detach(), library)",
        "the time of the step before": "emb_off = other_off",
    },
    "block_off < near": {
        "the empty prompt": "block_off = no_words",
        "no time": "block_off = no_time",
        "no attention": "block_off = off(residual_block(middle.resnets[1], residual_block(middle.resnets[0], caught['x'], caught['emb']), "
                        "caught['emb']).detach(), caught['out'])",
    },
    # The loop
    "levels_off <= 2": {
        "another scale of guidance": "levels_off = np.abs(np.asarray(weaker, int) - np.asarray(theirs, int)).max()",
        "another seed": "levels_off = np.abs(np.asarray(generate(c, prompt, seed=1), int) - np.asarray(theirs, int)).max()",
    },
    # Guidance
    "off(-difference / (1 - abar) ** 0.5, gradient) < 1e-3": {
        "one answer in place of the difference": "difference = one_answer",
        "the classes swapped": "difference = -difference",
        "no answer": "difference = 0 * difference",
    },
    "reached == 1": {
        "samples that are not guided at all": "reached = min([s for s in ends if (ends[0] > 0).all()], default=None)",
        "samples of both classes": "reached = min([s for s in ends if (everything.sample(4000)[:, 0] > 0).all()], default=None)",
    },
    "ends[15].mean() > ends[1].mean() + 0.2 and ends[15].std() < ends[1].std() / 2": {
        "the class itself": "ends = ends | {15: wanted.sample(4000)[:, 0]}",
        "guidance 1 again": "ends = ends | {15: ends[1]}",
    },
    'bought["half heard"] > 0.12': {
        "the prompt fully heard": "bought = {'half heard': bought['the prompt']}",
        "pictures of other prompts": "bought = {'half heard': judge.agreement(drawn['half heard'][1], asked[1:] + asked[:1])['mean'].right "
                                     "- fidelity['half heard'][0]}",
    },
    'abs(bought["the prompt"]) < 0.12': {
        "the prompt half heard": "bought = bought | {'the prompt': bought['half heard']}",
    },
    'fidelity["the prompt"][-1] < fidelity["the prompt"][0] - 0.08': {
        "guidance 7.5 in place of 15": "fidelity = fidelity | {'the prompt': fidelity['the prompt'][:2]}",
        "guidance 1 again": "fidelity = fidelity | {'the prompt': fidelity['the prompt'][:1]}",
    },
    # Steps
    "off(arrived, plain) < 10 * near": {
        "latents that are not divided": "arrived = wrong",
        "Euler in half as many steps": "arrived = euler(slope, begin / abars[0].sqrt(), torch.cat([sigmas[:-1:2], sigmas[-1:]])) * shrink",
        "guidance 3": "plain = guided",
    },
    'fits["Heun"] > fits["Euler"] + 0.5 or c.world != "postcards"': {
        "Euler in the place of Heun": "races = {name: {'Euler': lines['Euler'], 'Heun': lines['Euler']} for name, lines in races.items()}",
        "Heun without its second look": "heun = euler; races = {name: {'Euler': lines['Euler'], 'Heun': [(calls, off(heun(worlds[name][0], "
                                        "worlds[name][1], karras(calls)), worlds[name][1] * 0 + 1)) for calls in (8, 12)]} "
                                        "for name, lines in races.items() if name == 'the exact line'}",
    },
    # Further: operate on the U-Net
    'far["no skips"] > 2 * far["another seed"] or c.world != "postcards"': {
        "the skips left in": "far = far | {'no skips': far['time stands still']}",
        "another seed": "far = far | {'no skips': np.abs(coarse(generate(c, prompt, seed=2)) - coarse(results['intact'])).mean()}",
    },
    "abs(x0_moved / eps_moved / factor - 1) < 100 * near": {
        "the same change in both": "in_x0 = in_eps",
        "the factor of another level": "some_levels = (500,) * 5",
    },
    "max(in_eps) < 4 * min(in_eps)": {
        "the change of the estimate of x_0": "in_eps = in_x0",
    },
    # Further: a negative prompt
    'warm["red cliffs"] < warm[""] / 2 and warm["green hills"] > warm[""] / 2': {
        "the empty negative prompt": "warm = warm | {'red cliffs': warm['']}",
        "green hills in the place of red cliffs": "warm = warm | {'red cliffs': warm['green hills']}",
        "one that takes the colour of any tree": "warm = warm | {'green hills': warm['red cliffs']}",
    },
    # Further: fresh noise, and what calls buy
    "far_off and right and dice[0, 250][0] < 0.1": {
        "the noise itself as the samples": "right = of_noise < 0.1 * of_noise",
        "no fresh noise": "far_off = dice[0, 250][0] > 0.5",
        "fresh noise in both": "dice = {(0, 250): dice[1, 250]}",
    },
    "gains[0] > 0.05 and abs(gains[-1]) < 0.06": {
        "DDIM against itself": "gains = [0.0, 0.0, 0.0]",
        "two calls against eight": "gains = [gains[0], found['ddim'][-1][1] - found['ddim'][0][1]]",
    },
    # Further: when is it decided?
    'early < late - 1 and slowest == "weather"': {
        "no words in both": "early = late",
        "the two swapped": "early, late = late, early",
        "the attribute that settles first": "slowest = min(means, key=lambda name: means[name][0])",
    },
    # Further: a flow's clock
    "same_stops < 10 * near": {
        "another clock's stops": "same_stops = off(flow(noise, timesteps[::5], torch.cat([abars[:-1:5], abars[-1:]])), plain)",
        "no velocity": "same_stops = off(noise, plain)",
    },
    'differ[40] < differ[5] / 2 or c.world != "postcards"': {
        "five steps both times": "differ = {5: differ[5], 40: differ[5]}",
        "another noise": "differ = differ | {40: off(flow(noise.flip(-1), *even_in_tau(40, scheduler.timesteps[0])), usual)}",
    },
    'out["picture"].shape == tokens["picture"].shape and words_move > 0.01': {
        "words that read only words": "words_move = off(joint_attention({'text': turned['text']}, layers_of)['text'], alone['text'])",
    },
    # Further: from your own drawing
    'moved[0] < 0.7 * moved[-1] or c.world != "postcards"': {
        "full strength both times": "moved = [moved[-1], moved[-1]]",
        "begun from noise alone": "moved = [far_from_own(noise_alone), moved[-1]]",
    },
    # Further: keep a part, paint the rest
    'better < jumps or c.world != "postcards"': {
        "each step once again": "better = jumps",
        "a part put in without a look": "better = seams([np.roll(np.asarray(card), 40, 0) * (np.arange(c.image_size) >= edge)"
                                        "[None, :, None] + np.asarray(card) * (np.arange(c.image_size) < edge)[None, :, None]]).mean()",
    },
    "np.array_equal(kept, np.asarray(card))": {
        "as decoded, not laid over": "kept = decoded",
    },
    # Further: a museum of failures
    "names == truth": {
        "every loop called sound": "names = ['healthy'] * 6",
        "the exhibits in another order": "names = names[::-1]",
    },
    # Further: where it ends, and the bill
    'right_in["one thing"] > 0.7 and right_in["an unknown word"] < 0.3': {
        "pictures of one thing read as all": "right_in = {name: right_in['one thing'] for name in right_in}",
        "pictures of the unknown word read as all": "right_in = {name: right_in['an unknown word'] for name in right_in}",
    },
    'max(bill, key=bill.get) == "U-Net, 25 calls" or c.world != "postcards"': {
        "the text encoder's seconds": "bill = bill | {'U-Net, 25 calls': bill['text encoder']}",
    },
}
