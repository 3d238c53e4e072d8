"""The controls of lesson 04: for each claim what must fail it. How: claims.py."""

RIVALS = {
    # A block, opened
    "emb_off < near": {
        "waves of one frequency": "emb_off = off(layers(torch.cat([torch.full((1, width // 2), float(t)).cos(), torch.full((1, width // 2), float(t)).sin()], 1)"
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
    "apart <= 2": {
        "another scale of guidance": "apart = np.abs(np.asarray(weaker, int) - np.asarray(theirs, int)).max()",
        "another seed": "apart = np.abs(np.asarray(generate(c, prompt, seed=1), int) - np.asarray(theirs, int)).max()",
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
    "gain > error and fully[1].mean() > 0.9": {
        "the prompt fully heard": "gain, error = mean_of(fully[7.5] - fully[1])",
        "guidance 1 against itself": "gain, error = mean_of(faint[1] - faint[1])",
        "pictures of other prompts": "gain, error = mean_of(judge.shares(drawn['faintly heard'][7.5], asked[1:] + asked[:1]) - faint[1])",
        "no room left by the faint prompt": "fully = faint",
    },
    # Steps
    "off(arrived, plain) < 10 * near": {
        "latents that are not divided": "arrived = raw",
        "Euler in half as many steps": "arrived = euler(slope, begin / abars[0].sqrt(), torch.cat([sigmas[:-1:2], sigmas[-1:]])) * shrink",
        "guidance 3": "plain = guided",
    },
    # Further: a second-order solver
    'orders["Heun"] > orders["Euler"] + 0.5': {
        "Euler in the place of Heun": "orders = orders | {'Heun': orders['Euler']}",
        "Heun without its second look": "field, z, many = worlds['the exact line']; true_end = heun(field, z, karras(many)); orders = orders | "
        "{'Heun': -order([(24, off(euler(field, z, karras(12)), true_end)), "
        "(96, off(euler(field, z, karras(48)), true_end))])}",
    },
    'crossed or c.world != "postcards"': {
        "Heun with as many steps as Euler, for twice the calls": "field, z, many = worlds['the exact line']; end = heun(field, z, karras(many)); "
        "crossed = off(heun(field, z, karras(8)), end) > off(euler(field, z, karras(8)), end)",
        "Euler against itself": "crossed = all(pair == ['Euler', 'Heun'] for pair in (['Euler', 'Euler'],))",
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
    "max(in_eps) < 4 * min(in_eps)": {"the change of the estimate of x_0": "in_eps = in_x0"},
    # Further: a negative prompt
    "one_way > other_way and by_chance(one_way, other_way) < 0.05": {
        "no negative prompt in both": "one_way, other_way = only_one(red[''], red[''])",
        "the two swapped": "one_way, other_way = other_way, one_way",
        "green hills in the place of red cliffs": "one_way, other_way = only_one(red[''], red['green hills'])",
    },
    # Further: fresh noise, and what calls buy
    "far_off and right and ended[0, 250][0] < 0.1": {
        "the noise itself as the samples": "right = of_noise < 0.1 * of_noise",
        "no fresh noise": "far_off = ended[0, 250][0] > 0.5",
        "fresh noise in both": "ended = {(0, 250): ended[1, 250]}",
    },
    "same": {
        "DDIM's own stops": "same = all(np.array_equal(one, other) for one, other in zip(gallery['DDIM', 2], gallery['2M', 2]))",
        "eight calls of 2M": "same = all(np.array_equal(one, other) for one, other in zip(gallery['first order', 2], gallery['2M', 8]))",
    },
    "worse > better and by_chance(worse, better) < 0.05": {
        "seven steps again": "worse, better = only_one(few > few, few > few)",
        "fewer steps in the place of more": "worse, better = better, worse",
        "scale 3": "few, many = at_ends['scale 3, 7 steps'], at_ends['scale 15, 13 steps']; worse, better = only_one(few > many, many > few)",
    },
    "at_two[0] > at_two[1]": {
        "first order on the same stops": "at_two = mean_of(gained['2M', 2] - gained['first order', 2])",
        "eight calls of both": "at_two = mean_of(less['8 calls, 2M minus DDIM'])",
        "pictures of other prompts": "at_two = mean_of(judge.shares(gallery['2M', 2], scenes[1:] + scenes[:1]) - gained['DDIM', 2])",
    },
    "to_guided < 0.5 * to_plain": {
        "without guidance both times": "to_guided = to_plain",
        "the other way round": "to_guided, to_plain = to_plain, to_guided",
        "guided pictures of the prompts beside them": "to_guided = far_apart(gallery['distilled', 8], gallery['DDIM', '2 x 8'][1:] + gallery['DDIM', '2 x 8'][:1])",
    },
    # Further: a flow's clock
    "same_stops < 10 * near": {
        "another clock's stops": "same_stops = off(flow(noise, timesteps[::5], torch.cat([abars[:-1:5], abars[-1:]])), plain)",
        "no velocity": "same_stops = off(noise, plain)",
    },
    # Further: from your own drawing
    'moved[0] < 0.7 * moved[-1] or c.world != "postcards"': {
        "full strength both times": "moved = [moved[-1], moved[-1]]",
        "begun from noise alone": "moved = [far_from_own(noise_alone), moved[-1]]",
    },
    # Further: keep a part, paint the rest
    'ours["4 times, 7 stops"] < 0.6 * ours["once, 7 stops"] or c.world != "postcards"': {
        "each step once again": "ours = ours | {'4 times, 7 stops': ours['once, 7 stops']}",
        "as many calls, and no repeats": "ours = ours | {'4 times, 7 stops': ours['once, 28 stops']}",
        "a part put in without a look": "ours = ours | {'4 times, 7 stops': seams_of([np.where(np.arange(c.image_size)[None, :, None] < edge, "
        "np.asarray(card), np.roll(np.asarray(card), 40, 0))], seam_solution).mean()}",
    },
    "np.array_equal(kept, np.asarray(card))": {"as decoded, not laid over": "kept = decoded"},
    # Further: a museum of failures
    "names == truth": {
        "every loop called sound": "names = ['healthy'] * 6",
        "the exhibits in another order": "names = names[::-1]",
    },
    # Further: where it ends, and the bill
    "not set(mixed) & set(pairs)": {
        "the pairs that were left out": "mixed = pairs",
        "half of them": "mixed = mixed[:3] + pairs[3:]",
    },
    'exact_read["right"].mean() > 0.95 and exact_read["wrong"].mean() < 0.05': {
        "one colour for all": "exact_read = exact_read | {'wrong': exact_read['right']}",
        "the cards swapped": "exact_read = {'right': exact_read['wrong'], 'wrong': exact_read['right']}",
        "cards of the pairs in another order": "exact_read = exact_read | {'right': all_coloured(exact_cards['right'], texts[1:] + texts[:1])}",
        "an instrument that cannot read them": "exact_read = exact_read | {'right': all_coloured([np.roll(np.asarray(one), 1, 2) "
        "for one in exact_cards['right']], texts)}",
    },
    'max(bill, key=bill.get) == "U-Net, 50 answers" or c.world != "postcards"': {
        "the text encoder's seconds": "bill = bill | {'U-Net, 50 answers': bill['text encoder']}"
    },
}
