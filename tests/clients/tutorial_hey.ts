// PyTorch's tutorial through the client that @hey-api/openapi-ts makes: the graph on standard input, gradients on
// standard output. The argument is the server's address.
import { readFileSync } from "node:fs";
import { gradients, type Graph } from "./client/index.js";
import { client } from "./client/client.gen.js";

client.setConfig({ baseUrl: process.argv[2]! });
const graph: Graph = JSON.parse(readFileSync(0, "utf8"));
const { data } = await gradients({ body: { graph }, throwOnError: true });
console.log(JSON.stringify({ w: data.gradients["w"], b: data.gradients["b"] }));
