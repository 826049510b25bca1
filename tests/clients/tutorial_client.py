"""PyTorch's tutorial through the client that openapi-python-client makes.

The graph is on standard input, gradients go to standard output. The argument is the server's address.
"""

import json
import sys

from gradd_client import Client
from gradd_client.api.derivatives import gradients
from gradd_client.models import GradientsReply, GradientsRequest, Graph

graph = Graph.from_dict(json.load(sys.stdin))
reply = gradients.sync(client=Client(sys.argv[1]), body=GradientsRequest(graph=graph))
assert isinstance(reply, GradientsReply), reply
json.dump(reply.gradients.to_dict(), sys.stdout)
