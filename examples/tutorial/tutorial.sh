#!/usr/bin/env bash
# PyTorch's introduction to automatic differentiation, told with curl: bash tutorial.sh [http://127.0.0.1:8000]
# Replies are JSON on one line. Two small functions read them with sed; jq does it better where it is installed.

set -euo pipefail
server=${1:-http://127.0.0.1:8000}

post() { # PATH, JSON
  curl --silent --show-error --fail-with-body "$server$1" -H 'content-type: application/json' -d "$2"
}

# The values of a tensor of the reply: [0.5,0.1,0.2] of "b":{"dtype":"float64","shape":[3],"data":[0.5,0.1,0.2]}.
data() { # NAME
  sed -E "s/.*\"$1\":\{[^}]*\"data\":([^}]*)\}.*/\1/"
}

# A member of a node of the reply's DAG.
node() { # NAME, MEMBER
  sed 's/{"name":/\n&/g' | grep "^{\"name\":\"$1\"" | sed -E "s/.*\"$2\":([^,]*),.*/\1/"
}

# One layer, z = x w + b, and its loss against y. w and b are the parameters, so they require a gradient.
x='[1, 1, 1, 1, 1]'
y='[0, 0, 0]'
w='{"data": [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9], [1.0, 1.1, 1.2], [1.3, 1.4, 1.5]], "requires_grad": true}'
b='{"data": [0.5, 0.1, 0.2], "requires_grad": true}'
ops='{"op": "matmul", "inputs": ["x", "w"], "output": "xw"},
     {"op": "add", "inputs": ["xw", "b"], "output": "z"},
     {"op": "binary_cross_entropy_with_logits", "inputs": ["z", "y"], "output": "loss"}'
tensors="\"x\": $x, \"y\": $y, \"w\": $w, \"b\": $b"
graph="{\"tensors\": {$tensors}, \"ops\": [$ops]}"

echo "# Forward and backward are one call. The values, and the functions that will carry their gradients back:"
reply=$(post /v1/gradients "{\"graph\": $graph, \"outputs\": [\"z\", \"loss\"]}")
echo "z = $(data z <<<"$reply")"
echo "loss = $(data loss <<<"$reply")"
echo "z.grad_fn = $(node z grad_fn <<<"$reply")"
echo "loss.grad_fn = $(node loss grad_fn <<<"$reply")"

echo "# The gradients of the loss, which loss.backward() leaves in w.grad and b.grad:"
gradient=$(data b <<<"$reply")
echo "w.grad = $(data w <<<"$reply")"
echo "b.grad = $gradient"

echo "# Gradients accumulate onto those that are sent along, as a second backward() adds to .grad:"
reply=$(post /v1/gradients "{\"graph\": $graph, \"wrt\": [\"b\"], \"accumulate\": {\"b\": $gradient}}")
echo "b.grad, accumulated = $(data b <<<"$reply")"

echo "# What no_grad and detach keep out of the record does not require a gradient:"
untracked='{"op": "add", "inputs": ["xw", "b"], "output": "z_no_grad", "no_grad": true},
           {"op": "detach", "inputs": ["z"], "output": "z_detached"}'
reply=$(post /v1/gradients "{\"graph\": {\"tensors\": {$tensors}, \"ops\": [$ops, $untracked]}, \"backward\": \"loss\"}")
for name in z z_no_grad z_detached; do
  echo "$name.requires_grad = $(node "$name" requires_grad <<<"$reply")"
done

echo "# A frozen parameter is a tensor like any other: b gets no gradient when it does not require one."
frozen="{\"tensors\": {\"x\": $x, \"y\": $y, \"w\": $w, \"b\": [0.5, 0.1, 0.2]}, \"ops\": [$ops]}"
reply=$(post /v1/gradients "{\"graph\": $frozen, \"dag\": false}")
echo "gradients, b frozen = $(sed -E 's/.*"gradients":\{(.*)\},"warnings".*/[\1]/; s/:\{[^}]*\}//g' <<<"$reply")"
