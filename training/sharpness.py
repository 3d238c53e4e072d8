"""What keeps edges in a decoder's pictures: a perceptual colour space, the strength of edges, an image tower, a critic.

Averages of what a latent leaves open are blurred: squared error asks for them, so it is not enough. Sources: Ottosson
2020 (Oklab), Isola et al. 2017 (a critic of patches), Esser et al. 2021 (its gradient weighed at the last layer).
"""

import torch
import torch.nn.functional as F

CONES = torch.tensor(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
LAB = torch.tensor(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
DARKEST = 0.08  # cube roots below this one (sRGB 1.6 of 255) are a straight line, whose slope is finite


def oklab(pixels):
    """Pictures (n, 3, H, W) in -1..1, sRGB, as Oklab: lightness 0..1, then two of colour, within about 0.3 of 0.

    Equal distances look about equally far apart, in the dark too. Values outside -1..1 go on smoothly.
    """
    srgb = (pixels + 1) / 2
    linear = torch.where(srgb > 0.04045, ((srgb.clamp(min=0.04) + 0.055) / 1.055) ** 2.4, srgb / 12.92)
    cones = torch.einsum("ij,njhw->nihw", CONES.to(linear), linear)
    roots = torch.where(
        cones > DARKEST**3, cones.clamp(min=DARKEST**3) ** (1 / 3), cones / (3 * DARKEST**2) + 2 / 3 * DARKEST
    )
    return torch.einsum("ij,njhw->nihw", LAB.to(roots), roots)


def differences(x):
    """Each value less its upper, and less its left neighbour: (n, c, H - 1, W) and (n, c, H, W - 1)."""
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


def edge_energy(pixels):
    """How much edge a picture has: mean |difference| of neighbours in both directions, (n, 3, H, W) in -1..1 -> (n,).

    Both directions are averaged on the range of 2: the postcards' renders have about 0.026.
    """
    return sum(d.abs().mean((1, 2, 3)) for d in differences(pixels)) / 2


def energy_gap(y, x, window=8):
    """How far the strengths of edges differ, window by window, wherever in the window the edges lie; a scalar."""
    return sum(
        (F.avg_pool2d(a.abs(), window) - F.avg_pool2d(b.abs(), window)).abs().mean()
        for a, b in zip(differences(y), differences(x))
    )


def feature_gap(tower, y, x):
    """How far two pictures are apart for an image tower: mean |difference| of its states, in parts of their size.

    tower: a CLIPVisionModel whose size of picture is x's and y's, (n, 3, H, W) in -1..1.
    """
    with torch.no_grad():
        wanted = tower(pixel_values=x, output_hidden_states=True).hidden_states
    found = tower(pixel_values=y, output_hidden_states=True).hidden_states
    return sum((a - b).abs().mean() / b.abs().mean() for a, b in zip(found, wanted)) / len(wanted)


def quantised(y):
    """The 256 steps a saved picture has, -1..1, with the gradient of what is not rounded: so no critic tells renders
    from reconstructions by fractions of a step."""
    return y + (y.clamp(-1, 1).add(1).mul(127.5).round().div(127.5).sub(1) - y).detach()


class Critic(torch.nn.Module):
    """Says of every patch of 38x38 pixels if it is rendered (above 0) or reconstructed: (n, 3, H, W) -> (n, 1, H/8, W/8)."""

    def __init__(self, width=32):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, width, 4, 2, 1),
            torch.nn.LeakyReLU(0.2),
            torch.nn.Conv2d(width, 2 * width, 4, 2, 1),
            torch.nn.LeakyReLU(0.2),
            torch.nn.Conv2d(2 * width, 4 * width, 4, 2, 1),
            torch.nn.LeakyReLU(0.2),
            torch.nn.Conv2d(4 * width, 1, 3, 1, 1),
        )

    def forward(self, pixels):
        return self.layers(pixels)

    def learns(self, y, x):
        """Its own loss, to tell renders x from reconstructions y: hinge, no gradient to y."""
        return F.relu(1 - self(x)).mean() + F.relu(1 + self(quantised(y.detach()))).mean()

    def likes(self, y):
        """The decoder's loss, to be taken for a render: no gradient to the critic."""
        frozen = {name: p.detach() for name, p in self.named_parameters()}
        return -torch.func.functional_call(self, frozen, (quantised(y),)).mean()


def held(loss, main, weight, part):
    """The factor of `loss` that makes its gradient at `weight` `part` times as long as that of `main`; without gradient.

    loss, main: scalars of one graph; weight: the last layer's, which both reach.
    """
    strong, weak = (torch.autograd.grad(scalar, weight, retain_graph=True)[0].norm() for scalar in (main, loss))
    return (part * strong / weak.clamp(min=1e-8)).detach()
