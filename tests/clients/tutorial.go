// PyTorch's tutorial through the client that openapi-generator makes for Go: the graph on standard input, gradients on
// standard output. The argument is the server's address.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"

	"gradd"
)

func main() {
	var graph gradd.Graph
	if err := json.NewDecoder(os.Stdin).Decode(&graph); err != nil {
		log.Fatal(err)
	}
	configuration := gradd.NewConfiguration()
	configuration.Servers = gradd.ServerConfigurations{{URL: os.Args[1]}}
	call := gradd.NewAPIClient(configuration).DerivativesAPI.Gradients(context.Background())
	reply, _, err := call.GradientsRequest(*gradd.NewGradientsRequest(graph)).Execute()
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(reply.Gradients); err != nil {
		log.Fatal(err)
	}
}
