"""PyTorch's tutorial through the client that openapi-generator makes for Python.

The graph is on standard input, gradients go to standard output. The argument is the server's address.
"""

import json
import sys

from gradd_client import ApiClient, Configuration, DerivativesApi, GradientsRequest, Graph

graph = Graph.from_json(sys.stdin.read())
with ApiClient(Configuration(host=sys.argv[1])) as client:
    reply = DerivativesApi(client).gradients(GradientsRequest(graph=graph))
json.dump({name: result.to_dict() for name, result in reply.gradients.items()}, sys.stdout)
