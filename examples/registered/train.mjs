// A training loop in JavaScript over a registered graph: logistic regression by gradient descent, in batches.
// Node 18 or newer, nothing to install: node train.mjs [http://127.0.0.1:8000]

const server = process.argv[2] ?? "http://127.0.0.1:8000";

async function send(method, path, request) {
  const reply = await fetch(server + path, {
    method,
    headers: { "content-type": "application/json" },
    body: request && JSON.stringify(request),
  });
  if (reply.status === 204) return null;
  const answer = await reply.json();
  // A problem document says what is wrong, where in the request, and how to mend it.
  if (!reply.ok) throw new Error(JSON.stringify(answer, null, 2));
  return answer;
}

function show(name, value) {
  console.log(`${name} = ${JSON.stringify(value)}`);
}

// A hundred points, and whether each lies above a line.
const points = Array.from({ length: 100 }, (_, i) => [Math.cos(i), Math.sin(2 * i)]);
const labels = points.map(([x, y]) => (x + 2 * y > 0.5 ? 1 : 0));

// What stays the same goes to the server once. The last batch is smaller than the others, so its size is null: any.
// The parameters have values to start from; every call of the loop sends newer ones.
const graph = {
  tensors: {
    x: { shape: [null, 2] },
    y: { shape: [null] },
    w: { data: [0, 0], requires_grad: true },
    b: { data: 0, requires_grad: true },
  },
  ops: [
    { op: "mv", inputs: ["x", "w"], output: "xw" },
    { op: "add", inputs: ["xw", "b"], output: "logits" },
    { op: "binary_cross_entropy_with_logits", inputs: ["logits", "y"], output: "loss" },
  ],
};
const { id, needs } = await send("POST", "/v1/graphs", { graph });
show("needs", needs);

const rate = 2;
const size = 32;
let w = graph.tensors.w.data;
let b = graph.tensors.b.data;
const losses = [];

for (let epoch = 0; epoch < 10; epoch++) {
  for (let start = 0; start < points.length; start += size) {
    const tensors = { x: points.slice(start, start + size), y: labels.slice(start, start + size), w, b };
    const { outputs, gradients } = await send("POST", `/v1/graphs/${id}/gradients`, { tensors, dag: false });
    losses.push(outputs.loss.data);
    w = w.map((value, i) => value - rate * gradients.w.data[i]);
    b -= rate * gradients.b.data;
  }
}
show("first loss", losses[0]);
show("last loss", losses.at(-1));
show("w", w);
show("b", b);

// The same graph, without gradients, on all points at once.
const { outputs } = await send("POST", `/v1/graphs/${id}/forward`, {
  tensors: { x: points, y: labels, w, b },
  outputs: ["logits"],
});
const right = outputs.logits.data.filter((logit, i) => logit > 0 === (labels[i] === 1)).length;
show("points on the right side", right);

// Whoever registers the same graph gets the same id, so deleting it is for who knows that nobody else needs it.
await send("DELETE", `/v1/graphs/${id}`);
