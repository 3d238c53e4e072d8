"""The inputs and outputs of single layers of a network."""

import torch

from helpers import inputs
from helpers.interrupts import block


@block
def caught(*layers):
    """Note what layers are given and return, inside a `with` block: {layer: (input, text, output)} of its last call.

    layers: attention layers, of a U-Net or of a text encoder. input: (B, n, C), what asks. text: (B, T, d), what
    answers: the input itself where a layer reads that. Nothing is copied and nothing is changed.
    """
    if not layers or not all(isinstance(one, torch.nn.Module) for one in layers):
        raise TypeError(
            "caught takes layers of a network, such as c.unet.get_submodule(name), not "
            f"{', '.join(map(inputs.shown, layers)) or 'none'}."
        )
    seen, hooks = {}, []

    def note(layer, args, kwargs, output):
        given = args[0] if args else kwargs["hidden_states"]
        text = kwargs.get("encoder_hidden_states")
        seen[layer] = given, given if text is None else text, output[0] if isinstance(output, tuple) else output

    try:
        hooks += [layer.register_forward_hook(note, with_kwargs=True) for layer in layers]
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
