// PyTorch's tutorial through the client that openapi-generator makes for TypeScript: the graph on standard input,
// gradients on standard output. The argument is the server's address.
import { readFileSync } from "node:fs";
import { Configuration, DerivativesApi, type Graph } from "./client/index.js";

const graph: Graph = JSON.parse(readFileSync(0, "utf8"));
const api = new DerivativesApi(new Configuration({ basePath: process.argv[2] }));
const reply = await api.gradients({ gradientsRequest: { graph } });
console.log(JSON.stringify({ w: reply.gradients["w"], b: reply.gradients["b"] }));
