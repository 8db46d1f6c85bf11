package graphpipe

import (
	"context"
	"crypto/tls"
	"errors"
	"mime"
	"net/http"
	"sort"
	"strings"
	"sync"
	"unicode"
)

// Client asks a model of a server. Goroutines may share it: each call has a connection for itself,
// which is kept for the next. The time of a call is its context's, and the server is told; when the
// context ends, so does the connection, and the server stops the run.
type Client struct {
	address   address
	transport http.RoundTripper
	config    *tls.Config
	header    http.Header
	limit     int64
	// the names of outputs by the path of the model, shared with clients for other models
	outputs *sync.Map
}

// Option changes what NewClient makes.
type Option func(*Client)

// WithHeader adds a field to each request, a proxy's token for instance.
func WithHeader(name, value string) Option {
	return func(c *Client) { c.header.Set(name, value) }
}

// WithTLS is how https connects; by default, with the system's certificates.
func WithTLS(config *tls.Config) Option {
	return func(c *Client) { c.config = config }
}

// WithMaxAnswer has answers of more bytes refused; by default, those over 2 GiB.
func WithMaxAnswer(bytes int64) Option {
	return func(c *Client) { c.limit = bytes }
}

// WithTransport has requests sent by another transport, as that of an http.Client. It has to close
// the bodies of requests, as its contract says: calls wait for that.
func WithTransport(transport http.RoundTripper) Option {
	return func(c *Client) { c.transport = transport }
}

// NewClient makes a client for the server at an address, and sends nothing yet: http://HOST[:PORT],
// https://HOST[:PORT], HOST[:PORT] or unix:/path/of/socket. The port is 9000 by default, for https
// 443. Behind it may be the path of a model, /NAME or /NAME/versions/N; behind a socket, :/NAME.
func NewClient(where string, options ...Option) (*Client, error) {
	at, err := parseAddress(where)
	if err != nil {
		return nil, err
	}
	c := &Client{address: at, limit: maxMessageBytes, outputs: new(sync.Map), header: http.Header{
		"Accept": {mediaType}, "Content-Type": {mediaType}, "User-Agent": {"graphpipe-go"}}}
	for _, option := range options {
		option(c)
	}
	for name, values := range c.header {
		for _, value := range append(values, name) {
			if strings.IndexFunc(value, unicode.IsControl) >= 0 {
				return nil, Errorf(ErrInvalidInput, "the header %q has control characters", name)
			}
		}
	}
	if c.transport == nil {
		c.transport = newTransport(at.socket, c.config)
	}
	return c, nil
}

// Model is a client for another model of the server, by "NAME" or "NAME/versions/N", which has the
// same connections.
func (c *Client) Model(name string) *Client {
	other := *c
	other.address = c.address.of(name)
	return &other
}

// Close closes the connections that no call uses.
func (c *Client) Close() {
	if own, ok := c.transport.(*http.Transport); ok {
		own.CloseIdleConnections()
	}
}

// Metadata asks for the names, types and shapes of the model's inputs and outputs.
func (c *Client) Metadata(ctx context.Context) (*Metadata, error) {
	parts, err := encodeMetadataRequest()
	if err != nil {
		return nil, err
	}
	data, err := c.ask(ctx, parts)
	if err != nil {
		return nil, err
	}
	return decodeMetadata(data)
}

// Run sends a request and gives the outputs in order. They share one block of memory.
func (c *Client) Run(ctx context.Context, request *Request) ([]Tensor, error) {
	parts, err := encodeRequest(request)
	if err != nil {
		return nil, err
	}
	data, err := c.ask(ctx, parts)
	if err != nil {
		return nil, err
	}
	tensors, err := decodeAnswer(data, http.StatusOK)
	if n := len(request.OutputNames); err == nil && n > 0 && n != len(tensors) {
		return nil, Errorf(ErrProtocol, "answer: %d outputs, %d were asked for", len(tensors), n)
	}
	return tensors, err
}

// Infer sends inputs by name and gives outputs by name: those that are named, or all.
func (c *Client) Infer(ctx context.Context, inputs map[string]Tensor,
	outputs ...string) (map[string]Tensor, error) {
	request := &Request{OutputNames: outputs}
	for name := range inputs {
		request.InputNames = append(request.InputNames, name)
	}
	sort.Strings(request.InputNames)
	for _, name := range request.InputNames {
		request.Inputs = append(request.Inputs, inputs[name])
	}
	if len(outputs) == 0 {
		names, err := c.outputNames(ctx)
		if err != nil {
			return nil, err
		}
		request.OutputNames = names
	}
	tensors, err := c.Run(ctx, request)
	if errors.Is(err, ErrInvalidInput) {
		c.outputs.Delete(c.address.url.Path) // the model may be another one now
	}
	if err != nil {
		return nil, err
	}
	named := make(map[string]Tensor, len(tensors))
	for i, tensor := range tensors {
		named[request.OutputNames[i]] = tensor
	}
	return named, nil
}

// Infer sends one input, and gives the elements of the one output that is named, or that the model
// has. Where its shape is wanted too, use Client.Run.
func Infer[Out Element](ctx context.Context, c *Client, input Tensor, output ...string) ([]Out, error) {
	tensors, err := c.Run(ctx, &Request{Inputs: []Tensor{input}, OutputNames: output})
	if err != nil {
		return nil, err
	}
	if len(tensors) != 1 {
		return nil, Errorf(ErrInvalidInput, "the model has %d outputs; name the one that is wanted",
			len(tensors))
	}
	return Data[Out](tensors[0])
}

// outputNames are the model's, asked for once.
func (c *Client) outputNames(ctx context.Context) ([]string, error) {
	if known, ok := c.outputs.Load(c.address.url.Path); ok {
		return known.([]string), nil
	}
	metadata, err := c.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	if len(metadata.Outputs) == 0 {
		return nil, Errorf(ErrInvalidInput, "the model does not say what its outputs are; name them")
	}
	var names []string
	for _, io := range metadata.Outputs {
		names = append(names, io.Name)
	}
	c.outputs.Store(c.address.url.Path, names)
	return names, nil
}

// ask sends a message and gives the body of the answer, unless the server refuses.
func (c *Client) ask(ctx context.Context, parts [][]byte) ([]byte, error) {
	answer, trip, err := c.send(ctx, parts)
	if err != nil {
		return nil, err
	}
	defer func() { <-trip.body.closed }()
	defer answer.Body.Close()
	if answer.StatusCode < 200 {
		return nil, Errorf(ErrProtocol, "%s: answer: HTTP %d, which nobody asked for", c.address.label,
			answer.StatusCode)
	}
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if answer.StatusCode != http.StatusOK {
		return nil, readRefusal(answer, kind)
	}
	if strings.HasPrefix(kind, "text/") {
		return nil, Errorf(ErrProtocol, "%s: %s is no answer of GraphPipe", c.address.label, kind)
	}
	data, err := readBody(answer.Body, answer.ContentLength, c.limit)
	if errors.Is(err, errTooLarge) {
		return nil, Errorf(ErrProtocol, "%s: answer: over the limit of %d bytes", c.address.label,
			c.limit)
	}
	if err != nil {
		return nil, c.failure(ctx, trip, err)
	}
	return data, nil
}

const maxReasonBytes = 1 << 20

// readRefusal is the error that an answer with another status than 200 stands for. If its reason
// cannot be had in full, the status says more than half of it.
func readRefusal(answer *http.Response, kind string) error {
	status := answer.StatusCode
	data, err := readBody(answer.Body, answer.ContentLength, maxReasonBytes)
	if err != nil {
		return refusal(status, 0, "")
	}
	if kind != mediaType {
		return refusal(status, 0, string(data))
	}
	if _, err := decodeAnswer(data, status); err != nil && !errors.Is(err, ErrProtocol) {
		return err
	}
	return refusal(status, 0, "")
}
