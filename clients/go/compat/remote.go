package compat

import (
	"context"
	"net/http"
	"regexp"
	"sync"

	"graphpipe.dev/graphpipe"
)

// Remote asks with one input and gives the first output; both are nested slices.
func Remote(uri string, in any) (any, error) {
	outputs, err := MultiRemote(nil, uri, "", []any{in}, nil, nil)
	if err != nil {
		return nil, err
	}
	if len(outputs) == 0 {
		return nil, graphpipe.Errorf(graphpipe.ErrProtocol, "answer: no outputs")
	}
	return outputs[0], nil
}

// MultiRemote asks with several inputs and gives all outputs, or those that are named, in order.
// Names are the model's own by default. The client may be nil.
func MultiRemote(client *http.Client, uri string, config string, ins []any,
	inputNames, outputNames []string) ([]any, error) {
	inputs := make([]*NativeTensor, len(ins))
	for i, in := range ins {
		inputs[i] = new(NativeTensor)
		if err := inputs[i].InitSimple(in); err != nil {
			return nil, err
		}
	}
	outputs, err := MultiRemoteRaw(client, uri, config, inputs, inputNames, outputNames)
	if err != nil {
		return nil, err
	}
	natives := make([]any, len(outputs))
	for i, output := range outputs {
		if natives[i], err = NativeTensorToNative(output); err != nil {
			return nil, err
		}
	}
	return natives, nil
}

// MultiRemoteRaw is MultiRemote without the conversion. Inputs are sent from the memory that they
// have, and outputs are views of the answer.
func MultiRemoteRaw(client *http.Client, uri string, config string, inputs []*NativeTensor,
	inputNames, outputNames []string) ([]*NativeTensor, error) {
	request := &graphpipe.Request{Config: config, InputNames: inputNames, OutputNames: outputNames}
	for _, input := range inputs {
		tensor, err := input.Build()
		if err != nil {
			return nil, err
		}
		request.Inputs = append(request.Inputs, tensor)
	}
	asker, err := clientFor(client, uri)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	if client != nil && client.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, client.Timeout)
		defer cancel()
	}
	tensors, err := asker.Run(ctx, request)
	if err != nil {
		return nil, err
	}
	outputs := make([]*NativeTensor, len(tensors))
	for i, tensor := range tensors {
		output := native(tensor)
		outputs[i] = &output
	}
	return outputs, nil
}

// --- clients that are kept ----------------------------------------------------------------

const maxKept = 64

var kept = struct {
	sync.Mutex
	clients map[string]*graphpipe.Client
}{clients: map[string]*graphpipe.Client{}}

var withoutPort = regexp.MustCompile(`^(http://(?:\[[^]]*\]|[^:/]+))(/|$)`)

// clientFor is the kept client of a URI, or one that has an http.Client's own connections.
func clientFor(client *http.Client, uri string) (*graphpipe.Client, error) {
	uri = withoutPort.ReplaceAllString(uri, "$1:80$2")
	// without naming the type of our messages: then a server sends only what was known in 2018
	as2018 := graphpipe.WithHeader("Accept", "*/*")
	if client != nil && client.Transport != nil {
		return graphpipe.NewClient(uri, as2018, graphpipe.WithTransport(client.Transport))
	}
	kept.Lock()
	defer kept.Unlock()
	if known, ok := kept.clients[uri]; ok {
		return known, nil
	}
	made, err := graphpipe.NewClient(uri, as2018)
	if err != nil {
		return nil, err
	}
	if len(kept.clients) >= maxKept {
		for old, client := range kept.clients {
			client.Close()
			delete(kept.clients, old)
			break
		}
	}
	kept.clients[uri] = made
	return made, nil
}
