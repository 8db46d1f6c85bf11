package compat

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"sync/atomic"
	"time"

	"graphpipe.dev/graphpipe"
)

// Applier is a function that is served, with the tensors as they are: the config of the request, its
// inputs by name, and the names of the outputs that are wanted.
type Applier func(*RequestContext, string, map[string]*NativeTensor, []string) ([]*NativeTensor, error)

// RequestContext is what a served function knows of its request.
type RequestContext struct {
	context.Context
	// CleanupFunc, if it is set, is called when the answer has been made.
	CleanupFunc func()
	isDead      atomic.Bool
}

// IsAlive is false when the client has left, or its time is up.
func (c *RequestContext) IsAlive() bool {
	return !c.isDead.Load() && (c.Context == nil || c.Err() == nil)
}

// SetDead has IsAlive say so.
func (c *RequestContext) SetDead() { c.isDead.Store(true) }

// NativeIOMetadata is an input or output of a model.
type NativeIOMetadata struct {
	Name        string
	Description string
	Shape       []int64
	Type        uint8
}

// NativeMetadataResponse is what a server says of a model.
type NativeMetadataResponse struct {
	Name        string
	Version     string
	Server      string
	Description string
	Inputs      []NativeIOMetadata
	Outputs     []NativeIOMetadata
}

// GetHandlerFunc answers GET, with the body that came.
type GetHandlerFunc func(http.ResponseWriter, *http.Request, []byte) error

// ServeRawOptions is what ServeRaw serves. A CacheFile is taken and ignored: where rows are to be
// kept, put the server graphpipe in front, whose engine `remote` asks this one, with --cache.
type ServeRawOptions struct {
	Listen         string
	CacheFile      string
	Meta           *NativeMetadataResponse
	DefaultInputs  []string
	DefaultOutputs []string
	Apply          Applier
	GetHandler     GetHandlerFunc
}

// Serve serves a function of Go's own types until it fails:
//
//	func apply(context *graphpipe.RequestContext, config string, in [][]float32) ([][]float32, error)
//
// It has an argument for each input, input0 and so on, and a result for each output, output0 and so
// on, and may have an error behind them. Any type is taken by an argument of type any. The config is
// a string, or what JSON is read into. Shapes are those of the slices unless they are given, with -1
// for any size.
func Serve(listen string, cache bool, apply any, inShapes, outShapes [][]int64) error {
	opts := BuildSimpleApply(apply, inShapes, outShapes)
	opts.Listen = listen
	if cache {
		opts.CacheFile = "cache.db"
	}
	return ServeRaw(opts)
}

// ServeRaw serves a function of tensors until it fails.
func ServeRaw(opts *ServeRawOptions) error {
	server := &http.Server{Addr: opts.Listen, Handler: opts.Handler(),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second,
		MaxHeaderBytes: 64 << 10}
	return server.ListenAndServe()
}

// Handler is what ServeRaw serves, for programs that listen themselves.
func (opts *ServeRawOptions) Handler() http.Handler {
	handler := &graphpipe.Handler{Infer: opts.infer}
	if opts.Meta != nil {
		handler.Metadata = metadataOf(opts.Meta)
	}
	if opts.GetHandler == nil {
		return handler
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			handler.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<10))
		if err == nil {
			err = opts.GetHandler(w, r, body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}

func metadataOf(meta *NativeMetadataResponse) graphpipe.Metadata {
	ios := func(natives []NativeIOMetadata) []graphpipe.IO {
		var made []graphpipe.IO
		for _, io := range natives {
			made = append(made, graphpipe.IO{Name: io.Name, Description: io.Description,
				Shape: io.Shape, Type: graphpipe.Type(io.Type)})
		}
		return made
	}
	return graphpipe.Metadata{Name: meta.Name, Version: meta.Version, Server: meta.Server,
		Description: meta.Description, Inputs: ios(meta.Inputs), Outputs: ios(meta.Outputs)}
}

// infer calls the Applier, which has names for all that it gets.
func (opts *ServeRawOptions) infer(ctx context.Context, request *graphpipe.Request) ([]graphpipe.Tensor,
	error) {
	names := request.InputNames
	if len(names) == 0 {
		names = opts.DefaultInputs
	}
	if len(names) < len(request.Inputs) {
		return nil, graphpipe.Errorf(graphpipe.ErrInvalidInput, "%d inputs came; the model has %d",
			len(request.Inputs), len(names))
	}
	inputs := make(map[string]*NativeTensor, len(request.Inputs))
	for i, tensor := range request.Inputs {
		input := native(tensor)
		inputs[names[i]] = &input
	}
	wanted := request.OutputNames
	if len(wanted) == 0 {
		wanted = opts.DefaultOutputs
	}
	about := &RequestContext{Context: ctx}
	defer func() {
		if about.CleanupFunc != nil {
			about.CleanupFunc()
		}
	}()
	outputs, err := opts.Apply(about, request.Config, inputs, wanted)
	if err != nil {
		return nil, err
	}
	tensors := make([]graphpipe.Tensor, len(outputs))
	for i, output := range outputs {
		if tensors[i], err = output.Build(); err != nil {
			return nil, graphpipe.Errorf(graphpipe.ErrModel, "output %d: %v", i, err)
		}
	}
	return tensors, nil
}

// --- functions of Go's own types ----------------------------------------------------------

// simple is a function with its inputs and outputs.
type simple struct {
	function        reflect.Value
	inputs, outputs []NativeIOMetadata
}

var errorType = reflect.TypeOf((*error)(nil)).Elem()

// BuildSimpleApply makes what ServeRaw serves of a function of Go's own types; see Serve.
func BuildSimpleApply(apply any, inShapes, outShapes [][]int64) *ServeRawOptions {
	s := &simple{function: reflect.ValueOf(apply)}
	of := s.function.Type()
	for i := 2; i < of.NumIn(); i++ {
		s.inputs = append(s.inputs, ioOf("input", i-2, of.In(i), inShapes))
	}
	for i := 0; i < of.NumOut(); i++ {
		if !of.Out(i).Implements(errorType) {
			s.outputs = append(s.outputs, ioOf("output", i, of.Out(i), outShapes))
		}
	}
	opts := &ServeRawOptions{Apply: s.apply, Meta: &NativeMetadataResponse{Name: "SimpleModel",
		Description: "a Go function", Inputs: s.inputs, Outputs: s.outputs}}
	for _, io := range s.inputs {
		opts.DefaultInputs = append(opts.DefaultInputs, io.Name)
	}
	for _, io := range s.outputs {
		opts.DefaultOutputs = append(opts.DefaultOutputs, io.Name)
	}
	return opts
}

// ioOf describes an argument or result; one of type any is of any type and shape.
func ioOf(kind string, i int, of reflect.Type, shapes [][]int64) NativeIOMetadata {
	io := NativeIOMetadata{Name: kind + strconv.Itoa(i)}
	for ; of.Kind() == reflect.Slice || of.Kind() == reflect.Array; of = of.Elem() {
		size := int64(-1)
		if of.Kind() == reflect.Array {
			size = int64(of.Len())
		}
		io.Shape = append(io.Shape, size)
	}
	if of.Kind() != reflect.Interface {
		flat := reflect.MakeSlice(reflect.SliceOf(of), 0, 0)
		if tensor, err := tensorOf(flat.Interface()); err == nil {
			io.Type = uint8(tensor.Type)
		}
	}
	if i < len(shapes) && len(shapes[i]) > 0 {
		io.Shape = shapes[i]
	}
	return io
}

func (s *simple) apply(about *RequestContext, config string, inputs map[string]*NativeTensor,
	wanted []string) ([]*NativeTensor, error) {
	of := s.function.Type()
	said := reflect.New(of.In(1))
	if of.In(1).Kind() == reflect.String {
		said.Elem().SetString(config)
	} else if err := json.Unmarshal([]byte(config), said.Interface()); err != nil {
		return nil, graphpipe.Errorf(graphpipe.ErrInvalidInput, "config: %v", err)
	}
	arguments := []reflect.Value{reflect.ValueOf(about), said.Elem()}
	for i, io := range s.inputs {
		argument, err := s.argument(io, inputs[io.Name], of.In(i+2))
		if err != nil {
			return nil, err
		}
		arguments = append(arguments, argument)
	}
	return s.results(s.function.Call(arguments), wanted)
}

func (s *simple) argument(io NativeIOMetadata, input *NativeTensor, of reflect.Type) (reflect.Value, error) {
	if input == nil {
		return reflect.Value{}, graphpipe.Errorf(graphpipe.ErrInvalidInput, "input %q is missing", io.Name)
	}
	value, err := NativeTensorToNative(input)
	if err != nil {
		return reflect.Value{}, err
	}
	v := reflect.ValueOf(value)
	if !v.Type().AssignableTo(of) {
		return v, graphpipe.Errorf(graphpipe.ErrInvalidInput, "input %q is a %v; the function takes a %v",
			io.Name, v.Type(), of)
	}
	return v, nil
}

// results are the outputs that are wanted, unless the function gave an error.
func (s *simple) results(values []reflect.Value, wanted []string) ([]*NativeTensor, error) {
	made := map[string]*NativeTensor{}
	for i, value := range values {
		if err, ok := value.Interface().(error); ok {
			return nil, err
		}
		if value.Type().Implements(errorType) {
			continue
		}
		name := "output" + strconv.Itoa(i)
		made[name] = new(NativeTensor)
		if err := made[name].InitSimple(value.Interface()); err != nil {
			return nil, graphpipe.Errorf(graphpipe.ErrModel, "%s: %v", name, err)
		}
	}
	var outputs []*NativeTensor
	for _, name := range wanted {
		if made[name] == nil {
			return nil, graphpipe.Errorf(graphpipe.ErrInvalidInput, "there is no output %q", name)
		}
		outputs = append(outputs, made[name])
	}
	return outputs, nil
}
