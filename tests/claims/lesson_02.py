"""What fails the claims of lesson 02 in the place of what was measured. How: claims.py."""

RIVALS = {
    'on_postcards(c, times["attention"] > 10 * times["other"])': {
        "attention that grows with the number of places, as all the rest does": "work = {name: tuple({'attention': one['other'], 'other': one['other']} for one in pair) for name, pair in work.items()}"
    },
    "factor == 3 * side**2 / channels": {
        "a plan in which every block halves the sides": "side = 2 ** len(c.vae.config.block_out_channels)",
        "the picture itself as its latents": "factor = x.numel() / x.numel()",
    },
    'on_postcards(c, share["own"] > share["another"] + 0.2)': {
        "a tenth of the pixels chosen at random": "share = {**share, 'own': share_on(torch.rand(wrong.shape, generator=torch.Generator().manual_seed(0)))}",
        "an error that is the same everywhere, noise": "even, share = torch.randn(16, 3, H * H, generator=torch.Generator().manual_seed(1)).square().mean(1), {}\n"
        "for name, rank in (('own', steep), ('another', steep.roll(1, 0))):\n"
        "    share[name] = (even.gather(1, rank.topk(H * H // 10).indices).sum(1) / even.sum(1)).mean().item()",
        "one error map for all the cards": "share = {**share, 'own': share['another']}",
    },
    "on_postcards(c, min(reach[1.5] + reach[4]) > cell.thumbnail())": {
        "a small picture, in which a number is the colour of its own patch": "from helpers.latents import preview_of\n"
        "small = preview_of(c)\n"
        "reach = {}\n"
        "for move in (1.5, 4):\n"
        "    moved = latents.clone()\n"
        "    moved[0, 0, row, column] += move\n"
        "    change = (small.rgb(moved) - small.rgb(latents)).abs().mean(1)[0]\n"
        "    reach[move] = [1 - (change[row, column] / change.sum()).item()]",
        "a thumbnail, enlarged smoothly": "reach = {move: [cell.thumbnail()] * 16 for move in (1.5, 4)}",
        "a reach that only a move beyond all latents has": "reach = {**reach, 1.5: [cell.thumbnail()] * 16}",
    },
    "on_postcards(c, mirrored and not shifted)": {
        "small pictures, which can be mirrored": "from helpers.latents import shrink\n"
        "tiny = shrink(sixteen, side)\n"
        "shifted, mirrored = (psnr(tiny, copy + 1e-3).mean().item() < 50\n"
        "                     for copy in (tiny.roll(2, -1).roll(-2, -1), tiny.flip(-1).flip(-1)))",
        "the same test with the shift twice": "mirrored = shifted",
    },
    'on_postcards(c, fair > quality["mirrored"] + 4)': {
        "the mirrored latents in the place of their control": "fair = quality['mirrored']",
        "copies that look the other way": "fair = psnr(sixteen, control.flip(-1)).mean().item()",
    },
    "torch.allclose(ours, posterior.kl().float().cpu(), rtol=1e-2)": {
        "a KL without its one half": "ours = 2 * ours",
        "standard deviations taken for variances": "ours = kl_divergence(Normal(mean, logvar.exp()), prior).sum()",
    },
    'columns[0.02]["psnr"] > columns[3.0]["psnr"] + 1 > columns[3000.0]["psnr"] + 5': {
        "three networks with one beta": "columns = {beta: columns[3.0] for beta in BETAS}",
        "three untrained networks": "columns = {beta: look_at(TinyVAE()) for beta in BETAS}",
    },
    "3 * far[3.0] < min(far[0.02], far[3000.0])": {
        "an untrained network in the middle": "far = {**far, 3.0: look_at(TinyVAE())['apart']}",
        "the mean picture 400 times": "far = {**far, 3.0: apart(unseen.mean(0, keepdim=True).expand(400, -1, -1, -1))}",
        "grain of the brightness of true pictures": "far = {**far, 3.0: apart(unseen.mean() + unseen.std() * torch.randn(unseen.shape))}",
    },
    "on_postcards(c, big > 3 * low > 6 * high)": {
        "clouds of the width that beta 0.02 gives": "big = low",
        "clouds as wide as the prior": "big = means.std().item()",
        "untrained networks": "fresh, logs = TinyVAE().encoder(unseen).detach().chunk(2, 1)\n"
        "low = high = (fresh.std() / (logs / 2).exp().median()).item()",
    },
    "few == 16 and many == 0 and 3 <= middle <= 7": {
        "the network with the tiny beta in the middle": "middle = few",
        "the collapsed one in the middle": "middle = many",
        "untrained networks": "few, middle, many = [int(look_at(TinyVAE())['used'].sum())] * 3",
    },
    "least[k] < 0.5 < min(parts[k] for parts in kept.values())": {
        "copies that keep every factor alike": "least = [1.0] * 3",
        "the factor of the largest effect": "least = kept[3]",
        "an untrained network": "kept = {one: [arrives(TinyVAE(), one)[1]] * 3 for one in kept}",
    },
    "on_postcards(c, one < blur / 2 and ten < elsewhere / 5)": {
        "a blur": "one = blur",
        "another postcard": "one = elsewhere",
        "a hundred standard deviations": "ten = (to_pixels([cloud.pictures[100]]) - still).abs().mean().item() * 127.5",
    },
    "on_postcards(c, abs(spread * scale - 1) < 0.3)": {
        "no factor": "scale = 1.0",
        "the factor of another autoencoder, Stable Diffusion's": "scale = 0.18215",
    },
    "on_postcards(c, forgotten > right + 100)": {
        "raw latents that had a standard deviation of 1 anyway": "forgotten = crossover(abars, 1.0)"
    },
    'on_postcards(c, strong["blurred"] + 0.1 < strong["copies"] < 0.9)': {
        "copies that are blurred": "copy = avg_pool2d(tests['untouched'], 3, 1, 1, count_include_pad=False)\n"
        "strong = {**strong, 'copies': edges(copy) / edges(sixteen)}",
        "the mean of all the postcards": "strong = {**strong, 'copies': edges(sixteen.mean(0, keepdim=True)) / edges(sixteen)}",
        "the originals themselves": "strong = {**strong, 'copies': edges(sixteen) / edges(sixteen)}",
    },
    'on_postcards(c, small["copies"] + 0.1 < shapes["copies"] < 0.9)': {
        "copies of less contrast, of which nothing is soft or missing": "_, *both = (edges(one) / edges(true) for one, true in zip(parts(0.9 * sixteen), originals))\n"
        "shapes, small = ({'copies': one} for one in both)",
        "large shapes as sharp as the originals'": "shapes = {'copies': edges(originals[1]) / edges(originals[1])}",
        "large shapes and small things exchanged": "shapes, small = small, shapes",
    },
    "of_mean < 0.9 * of_best": {
        "the smallest sun in the place of the mean": "of_mean, of_best = contest(suns[:1], squared_error)",
        "the middle sun": "of_mean, of_best = contest(suns[10:11], squared_error)",
    },
    "on_postcards(c, max(one.abs().max() for one in damaged.values()) <= 1)": {
        "cards of full contrast": "damaged = {name: one / 0.75 for name, one in damaged.items()}"
    },
    'on_postcards(c, seen_by["blurred"] > 2 * seen_by["brighter"])': {
        "squared error, the same for all": "seen_by = {name: squared_error(one, clean).mean().item() for name, one in damaged.items()}"
    },
    "after > 0.8 > before + 0.15": {
        "an untrained critic": "after = before",
        "a critic to whom everything is real": "after = 0.5",
    },
    "true_ones > max(copied.values()) + 0.4": {
        "true pictures in the place of the copies": "copied = {**copied, 3.0: called_real(others)}",
        "an untrained critic": "fresh = nn.Sequential(nn.Conv2d(3, 16, 4, 2, 1), nn.SiLU(), nn.Flatten(), nn.Linear(4096, 1)).requires_grad_(False)\n"
        "true_ones = (fresh(unseen) > 0).float().mean().item()\n"
        "copied = {beta: (fresh(columns[beta]['rebuilt']) > 0).float().mean().item() for beta in nets}",
    },
    "on_postcards(c, r2 > 0.5)": {
        "a matrix fitted to the colours of the wrong cards": "r2 = r2_wrong",
        "the mean colour everywhere": "r2 = Preview(torch.zeros(channels, 3), rgb[:80].mean((0, 2, 3))).explains(scaled[80:], rgb[80:])",
    },
    'all(a == b for a, b in calls["U-Net"])': {
        "the decoder, which does change the size": "calls = {**calls, 'U-Net': calls['VAE decoder']}"
    },
    "[len(shapes) for shapes in calls.values()] == [0, 10, 1]": {
        "a belief: the encoder is called too, and all once": "calls = {name: [((), ())] for name in calls}"
    },
    'on_postcards(c, left["latents"] > 2 * left["pixels"])': {
        "grain of the same strength": "left = {**left, 'latents': left['pixels']}",
        "as much damage as in latents, pixel by pixel, without any shape": "one = damage['latents'].flatten()[torch.randperm(damage['latents'].numel())].view(3, H, H)\n"
        "left = {**left, 'latents': (shrink(one[None], side).std() / one.std()).item()}",
    },
    "MINE_TOO or gap[0.02][1] > 2 * gap[0.02][2] and gap[3.0][1] < 2 * gap[3.0][2]": {
        "the two networks exchanged": "gap = {0.02: gap[3.0], 3.0: gap[0.02]}",
        "an untrained network": "gap = {**gap, 0.02: gaps(TinyVAE())}",
    },
    "abs(by_us - usual) < 1e-3": {"decibels of a range of 1": "by_us = by_us - 20 * torch.tensor(2.0).log10().item()"},
    "on_postcards(c, costs[1] > 10 * costs[0])": {"a decoding for a preview": "costs = [costs[1], costs[1]]"},
}
