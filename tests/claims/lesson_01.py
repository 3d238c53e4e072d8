"""The controls of lesson 01: for each claim what must fail it. How: claims.py."""

RIVALS = {
    # Adding noise
    "torch.allclose(add_noise(x_0, eps, 700), theirs, atol=1e-5)": {
        "the weights without their roots": "add_noise = lambda x_0, eps, t: alphas_cumprod[t] * x_0 + (1 - alphas_cumprod[t]) * eps",
        "the step before": "before = add_noise; add_noise = lambda x_0, eps, t: before(x_0, eps, t - 1)",
    },
    'apart["closed form"] < 4': {
        "the weights without their roots": "apart = {'closed form': apart['without roots']}",
        "shares that add up instead of multiplying": "abar = 1 - betas[:400].sum(); "
        "apart = {'closed form': abs(x.var() / (1 - abar) - 1) / (2 / n) ** 0.5}",
        "no step at all": "apart = {'closed form': abs(pixel - abar**0.5 * pixel) / ((1 - abar) / n) ** 0.5}",
    },
    # What drowns first?
    "large - fine > 400": {
        "a picture of noise": "large, fine = drowned(grey, 1, 2), drowned(grey, 16, 31)",
        "everything at once": "fine = large",
    },
    # The score
    "known > 0.85 or t == 0": {
        "an untrained network": "noise_pred = at_first",
        "one Gaussian for the whole shape": "noise_pred = exact(diffusion.Mixture(clean.mean(0, keepdim=True), clean.std().item()))",
        "always 0": "noise_pred = lambda x, t: torch.zeros_like(x)",
        "the score of points that were shuffled": "right = noise_pred; noise_pred = lambda x, t: right(x.flip(0), t)",
    },
    # The sampler
    "off < 0.2 and missed < 0.2": {
        "the noise they came from": "off, missed = measured('noise', starts)",
        "an untrained network": "off, missed = measured('untrained', drawn_by(at_first))",
        "one step": "off, missed = measured('one step', [sample(noise_pred, start, [999], alphas_cumprod)[-1]])",
        "one Gaussian of the same mean and spread": "off, missed = measured('Gaussian', [clean.mean(0) + clean.std(0) * torch.randn(2000, 2, generator=draw)])",
        "one training point, again and again": "off, missed = measured('one point', [clean[:1].repeat(2000, 1)])",
        "half of the shape": "off, missed = measured('half', [x[x[:, 0] > 0] for x in drawn_by(oracle)])",
    },
    # Why so many steps?
    "gaps[1] > 0.9 > 0.02 > gaps[20]": {
        "all on a peak": "gaps = {1: 0.0, 20: 0.0}",
        "twenty steps no better than one": "gaps = {1: gaps[1], 20: gaps[1]}",
        "noise that was never denoised": "gaps = dict.fromkeys(gaps, (line.abs() < 0.5).float().mean().item())",
    },
    # Memoriser and oracle
    "copied > 60": {
        "64 new postcards": "copied = int((nearest(shrink(torch.stack(others), 2), small) < 0.3).sum())",
        "postcards with a little noise": "copied = int((nearest(small[:64] + 0.1 * noises, small) < 0.3).sum())",
    },
    'near["network"] < 0.2 and off["network"] < 0.2': {
        "the memoriser": "near = {'network': near['memoriser']}; off = {'network': off['memoriser']}",
        "always 0": "points = sample(lambda x, t: 0 * x, start, timesteps, alphas_cumprod)[-1]; near = near | {'network': 0.0}; "
        "off = off | {'network': off_shape(points).float().mean().item()}",
        "the noise": "near = {'network': (nearest(start, clean) < limit).float().mean().item()}; "
        "off = {'network': off_shape(start).float().mean().item()}",
    },
    # Back to pictures
    "torch.allclose(alphas_cumprod, c.scheduler.alphas_cumprod.cpu(), atol=1e-5)": {
        "another schedule": "alphas_cumprod = diffusion.make_alphas_cumprod('linear')"
    },
    'away["one-step estimate"] < 2 * by_error or c.world != "postcards"': {
        "the boat under the noise": "away = away | {'one-step estimate': (samples.mean(0) - latents[0]).norm().item()}",
        "all zeros": "away = away | {'one-step estimate': samples.mean(0).norm().item()}",
        "that of another x_900": "away = away | {'one-step estimate': away['from another x_900']}",
        "white noise": "away = away | {'one-step estimate': (samples.mean(0) - noise[0]).norm().item()}",
        "one of the samples": "away = away | {'one-step estimate': (samples.mean(0) - samples[0]).norm().item()}",
    },
    # Further: the last step leaks
    "correlation > 0.8": {
        "another postcard's x_999": "correlation = of_others",
        "noise without a picture": "correlation = torch.corrcoef(torch.stack([true, torch.randn(300, generator=own)]))[0, 1].item()",
    },
    'follows["from x_999"] > 0.8': {"pure noise": "follows = {'from x_999': follows['pure noise']}"},
    # Further: with fresh noise
    'kicks["eta 1", 200] < 0.3 * kicks["eta 1, kicks on top", 200]': {
        "kicks on top": "kicks['eta 1', 200] = kicks['eta 1, kicks on top', 200]",
        "ten steps": "kicks['eta 1', 200] = kicks['eta 1', 10]",
        "the noise": "kicks['eta 1', 200] = diffusion.energy_distance(start, aim)",
    },
    # Further: your own memoriser
    "torch.allclose(answer, helper, atol=1e-3)": {
        "the mean of all": "answer = small.flatten(1).mean(0, keepdim=True)",
        "the nearest one": "answer = small.flatten(1)[torch.cdist(at_500, small.flatten(1)).argmin()][None] + 0.01",
    },
    # Further: what the loss can tell
    "min(gained[1:]) > 0.85": {
        "an untrained network": "gained = [0.0] * len(levels)",
        "the first level, t = 0, counted too": "gained = [1.0, *gained]",
    },
    "least[1] > 0.2": {
        "a training set of one point, whose noise can be read off": "least = [((((add_noise(clean[:1], e[:1], t) - "
        "alphas_cumprod[t].sqrt() * clean[:1]) / (1 - alphas_cumprod[t]).sqrt() - e[:1]) ** 2).mean().item()) for t in levels]",
        "the same memoriser where noise is all": "least = least[::-1]",
    },
    # Further: other targets
    "torch.allclose(x_0_of_v, x_0, atol=1e-4)": {
        "the two weights swapped": "right_way = diffusion_weights; diffusion_weights = lambda t: right_way(t)[::-1]",
        "the noise as velocity": "right_way = diffusion_weights; diffusion_weights = lambda t: (right_way(t)[0], 0 * t)",
    },
    "torch.allclose(eps_of_v, eps, atol=1e-4)": {
        "the two weights swapped": "right_way = diffusion_weights; diffusion_weights = lambda t: right_way(t)[::-1]",
        "the noise as velocity": "right_way = diffusion_weights; diffusion_weights = lambda t: (right_way(t)[0], 0 * t)",
    },
    # Further: flow matching
    "torch.allclose(x_t - t * v, points, atol=1e-5)": {
        "the velocity of the other direction": "v = -v",
        "the noise as velocity": "v = e",
    },
    "torch.allclose(x_t + (1 - t) * v, e, atol=1e-5)": {
        "the velocity of the other direction": "v = -v",
        "the noise as velocity": "v = e",
    },
    "flow_bend > 1.35": {
        "the training lines": "flow_bend = bends['training lines']",
        "the score network's paths in coordinates of their own": "flow_bend = bend(path)",
    },
    "torch.allclose(by_euler, size_2 * by_ddim, atol=1e-5)": {
        "without the factor": "size_2 = 1.0",
        "another answer": "by_ddim = diffusion.reverse_step(x, 0 * answer, signal**2, signal_2**2)[0]",
        "a step that mixes with the first weights": "by_ddim = diffusion.reverse_step(x, answer, signal**2, signal**2)[0]",
    },
    "flow_own[5] < 0.8 * score_own[5] and score_flow[5] < 0.8 * score_own[5]": {
        "the score network on its own path": "flow_own = score_flow = score_own",
        "50 steps, where no path is better": "flow_own, score_own = ({5: one[50]} for one in (flow_own, score_own))",
    },
    "abs(flow_own[50] - score_own[50]) < 2 * scale": {
        "two steps": "flow_own, score_own = ({50: one[2]} for one in (flow_own, score_own))",
        "five steps": "flow_own, score_own = ({50: one[5]} for one in (flow_own, score_own))",
    },
    "min(flow_own[1], score_own[1], score_flow[1]) > 2 * noise_apart": {
        "fifty steps": "flow_own = {1: flow_own[50]}",
        "two true sets": "score_own = {1: scale}",
    },
    "distance < 0.5 * flow_own[1]": {
        "without the scatter": "distance = diffusion.energy_distance(flow_end, aim)",
        "the flow network's own errors": "distance = diffusion.energy_distance(flow_end + (flow_end - exact_end).roll(1, 0), aim)",
        "the oracle": "distance = diffusion.energy_distance(exact_end, aim)",
    },
    'bent["second network"] < 1.1 and stray["second network"][1] < 0.2': {
        "the first network": "bent = {'second network': bent['first network']}; stray = {'second network': stray['first network']}",
        "straight paths of an untrained network": "torch.manual_seed(1); ends = euler(functools.partial(velocity, flow=Denoiser(flow_weights)), begin, 1)[-1]; "
        "stray = {'second network': {1: off_shape(ends).float().mean().item()}}",
        "the noise itself": "stray = {'second network': {1: off_shape(begin).float().mean().item()}}",
    },
}
