"""JupyterLab as the course starts it: `make lab`, and the browser tests.

    python -m tools.lab [options of jupyter lab]

It opens in notebooks/, and its kernels' messages leave at once. JupyterLab by itself lets the system hold a
small message back until the browser has confirmed the one before it (Nagle's algorithm); browsers confirm late,
so that every other slider would answer 40 ms later than it could.
"""

import os
import sys

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyterlab.labapp import LabApp


class PromptConnection(ZMQChannelsWebsocketConnection):
    """The way of messages from a kernel to the browser, without Nagle's algorithm."""

    def connect(self):
        self.websocket_handler.set_nodelay(True)
        return super().connect()


OPTIONS = {
    "LabApp.default_url": "/lab/tree/notebooks",
    "ServerApp.kernel_websocket_connection_class": f"tools.lab.{PromptConnection.__name__}",
    "ServerApp.allow_root": hasattr(os, "getuid") and os.getuid() == 0,
}


def main(arguments):
    """Start it with OPTIONS, but for those that are given otherwise."""
    given = {argument.lstrip("-").partition("=")[0] for argument in arguments}
    options = [f"--{name}={value}" for name, value in OPTIONS.items() if name not in given]
    LabApp.launch_instance([*options, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
