// PyTorch's introduction to automatic differentiation in JavaScript, which has none of its own.
// Node 18 or newer, nothing to install: node tutorial.mjs [http://127.0.0.1:8000]

const server = process.argv[2] ?? "http://127.0.0.1:8000";

async function post(path, request) {
  const reply = await fetch(server + path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request),
  });
  const answer = await reply.json();
  // A problem document says what is wrong, where in the request, and how to mend it.
  if (!reply.ok) throw new Error(JSON.stringify(answer, null, 2));
  return answer;
}

function show(name, value) {
  console.log(`${name} = ${JSON.stringify(value)}`);
}

function node(reply, name) {
  return reply.dag.nodes.find((node) => node.name === name);
}

// One layer, z = x w + b, and its loss against y. w and b are the parameters, so they require a gradient.
const tensors = {
  x: [1, 1, 1, 1, 1],
  y: [0, 0, 0],
  w: {
    data: [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [1.0, 1.1, 1.2], [1.3, 1.4, 1.5]],
    requires_grad: true,
  },
  b: { data: [0.5, 0.1, 0.2], requires_grad: true },
};
const ops = [
  { op: "matmul", inputs: ["x", "w"], output: "xw" },
  { op: "add", inputs: ["xw", "b"], output: "z" },
  { op: "binary_cross_entropy_with_logits", inputs: ["z", "y"], output: "loss" },
];

console.log("# Forward and backward are one call. The values, and the functions that will carry their gradients back:");
const first = await post("/v1/gradients", { graph: { tensors, ops }, outputs: ["z", "loss"] });
show("z", first.outputs.z.data);
show("loss", first.outputs.loss.data);
show("z.grad_fn", node(first, "z").grad_fn);
show("loss.grad_fn", node(first, "loss").grad_fn);

console.log("# The gradients of the loss, which loss.backward() leaves in w.grad and b.grad:");
show("w.grad", first.gradients.w.data);
show("b.grad", first.gradients.b.data);

console.log("# Gradients accumulate onto those that are sent along, as a second backward() adds to .grad:");
const second = await post("/v1/gradients", {
  graph: { tensors, ops },
  wrt: ["b"],
  accumulate: { b: first.gradients.b }, // a tensor of a reply can go into a request as it is
});
show("b.grad, accumulated", second.gradients.b.data);

console.log("# What no_grad and detach keep out of the record does not require a gradient:");
const untracked = [
  { op: "add", inputs: ["xw", "b"], output: "z_no_grad", no_grad: true },
  { op: "detach", inputs: ["z"], output: "z_detached" },
];
const third = await post("/v1/gradients", { graph: { tensors, ops: [...ops, ...untracked] }, backward: "loss" });
for (const name of ["z", "z_no_grad", "z_detached"]) {
  show(`${name}.requires_grad`, node(third, name).requires_grad);
}

console.log("# A frozen parameter is a tensor like any other: b gets no gradient when it does not require one.");
const frozen = { ...tensors, b: tensors.b.data };
const fourth = await post("/v1/gradients", { graph: { tensors: frozen, ops }, dag: false });
show("gradients, b frozen", Object.keys(fourth.gradients));
