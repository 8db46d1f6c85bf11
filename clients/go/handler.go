package graphpipe

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Handler serves a Go function as a model, to the clients of today and of 2018:
//
//	http.ListenAndServe("127.0.0.1:9000", &graphpipe.Handler{Infer: twice})
//
// Calls of the function may run at the same time. The server graphpipe is the one with a queue,
// deadlines, batching and metrics; this one is for functions that have to be in this process.
type Handler struct {
	// Metadata describes the model. Inputs that it names are checked: those of a request have its
	// types and shapes, and names.
	Metadata Metadata
	// Infer gets the inputs, with names if the metadata has them, and gives the outputs that are
	// named, or all. The kind of an error that Errorf made decides about the status; others are a
	// failure of the model.
	Infer func(context.Context, *Request) ([]Tensor, error)
	// MaxBodyBytes is the limit of a request; by default 1 GiB.
	MaxBodyBytes int64
}

const defaultMaxBody = 1 << 30

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/control/") {
		serveControl(w, r)
		return
	}
	switch r.Method {
	case http.MethodPost:
		isNew := accepts(r, mediaType)
		parts, err := h.answer(r, isNew)
		if err != nil {
			writeError(w, err, isNew)
			return
		}
		writeParts(w, http.StatusOK, parts)
	case http.MethodGet, http.MethodHead:
		w.Header().Set("Content-Type", "application/json")
		text, _ := json.MarshalIndent(h.metadata(true), "", "  ")
		_, _ = w.Write(append(text, '\n'))
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		http.Error(w, r.Method+" is not allowed; send a request by POST", http.StatusMethodNotAllowed)
	}
}

// serveControl answers the questions of whoever looks after processes.
func serveControl(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/control/is_alive", "/control/is_ready":
		fmt.Fprintln(w, "ok")
	default:
		http.NotFound(w, r)
	}
}

func accepts(r *http.Request, wanted string) bool {
	for _, one := range strings.Split(strings.Join(r.Header.Values("Accept"), ","), ",") {
		if kind, _, _ := mime.ParseMediaType(one); kind == wanted {
			return true
		}
	}
	return false
}

// answer reads a request and gives the parts of its answer. isNew: for a client that knows the
// types that are newer than 2018.
func (h *Handler) answer(r *http.Request, isNew bool) ([][]byte, error) {
	limit := h.MaxBodyBytes
	if limit <= 0 {
		limit = defaultMaxBody
	}
	data, err := readBody(r.Body, r.ContentLength, limit)
	if errors.Is(err, errTooLarge) {
		return nil, &Error{Kind: ErrInvalidInput, Code: codeTooLarge,
			Message: fmt.Sprintf("the request is over the limit of %d bytes", limit)}
	}
	if err != nil {
		return nil, Errorf(ErrInvalidInput, "the request did not arrive: %v", err)
	}
	request, err := decodeRequest(data)
	if err != nil {
		return nil, &Error{Kind: ErrInvalidInput, Code: codeMalformed, Message: err.Error()}
	}
	if request == nil {
		return encodeMetadata(h.metadata(isNew))
	}
	if err := h.bind(request); err != nil {
		return nil, err
	}
	outputs, err := h.run(r, request)
	if err != nil {
		return nil, err
	}
	if n := len(request.OutputNames); n > 0 && n != len(outputs) {
		return nil, Errorf(ErrModel, "the function gave %d outputs, %d were asked for", len(outputs), n)
	}
	if !isNew {
		outputs = asIn2018(outputs)
	}
	parts, err := encodeAnswer(outputs)
	if err != nil {
		return nil, Errorf(ErrModel, "the function gave what cannot be sent: %v", err)
	}
	return parts, nil
}

// run calls the function, with the time that the client gives it.
func (h *Handler) run(r *http.Request, request *Request) (outputs []Tensor, err error) {
	ctx := r.Context()
	if said := r.Header.Get("X-GraphPipe-Timeout-Ms"); said != "" {
		ms, err := strconv.ParseUint(said, 10, 32)
		if err != nil || ms == 0 {
			return nil, Errorf(ErrInvalidInput, "X-GraphPipe-Timeout-Ms is %q; it has to be 1 to "+
				"4294967295", said)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
		defer cancel()
	}
	defer func() {
		if why := recover(); why != nil {
			outputs, err = nil, Errorf(ErrModel, "the function panicked: %v", why)
		}
	}()
	return h.Infer(ctx, request)
}

// --- inputs and outputs by name -----------------------------------------------------------

// bind gives the inputs their names and types, or says why they are not the model's.
func (h *Handler) bind(request *Request) error {
	known, n := h.Metadata.Inputs, len(request.Inputs)
	if len(request.InputNames) == 0 {
		if len(known) > 0 && n > len(known) {
			return Errorf(ErrInvalidInput, "%d inputs came; the model has %d", n, len(known))
		}
		for _, io := range known[:min(n, len(known))] {
			request.InputNames = append(request.InputNames, io.Name)
		}
	}
	for i, name := range request.InputNames {
		if slices.Index(request.InputNames, name) < i {
			return Errorf(ErrInvalidInput, "input %q came twice", name)
		}
	}
	if len(known) > 0 {
		for _, io := range known {
			if !slices.Contains(request.InputNames, io.Name) {
				return Errorf(ErrInvalidInput, "input %q is missing", io.Name)
			}
		}
		for i, name := range request.InputNames {
			if err := bindInput(&request.Inputs[i], name, known); err != nil {
				return err
			}
		}
	}
	for _, name := range request.OutputNames {
		if len(h.Metadata.Outputs) > 0 && find(h.Metadata.Outputs, name) == nil {
			return Errorf(ErrInvalidInput, "there is no output %q; the model has %s", name,
				listed(h.Metadata.Outputs))
		}
	}
	return nil
}

func bindInput(tensor *Tensor, name string, known []IO) error {
	io := find(known, name)
	if io == nil {
		return Errorf(ErrInvalidInput, "there is no input %q; the model has %s", name, listed(known))
	}
	came := *tensor
	if io.Type == Bool && came.Type == Uint8 { // what clients of 2018 have for it
		came.Type = Bool
	}
	if io.Type == BFloat16 && came.Type == Float32 {
		came = narrowed(came)
	}
	fits := (io.Type == Null || io.Type == came.Type) &&
		(io.Type == Null && len(io.Shape) == 0 || len(io.Shape) == len(came.Shape))
	for i := 0; fits && i < len(io.Shape); i++ {
		fits = io.Shape[i] < 0 || io.Shape[i] == came.Shape[i]
	}
	if !fits {
		return Errorf(ErrInvalidInput, "input %q is %v; the model wants %s", name, *tensor,
			shapeText(io.Type, io.Shape))
	}
	if _, err := Data[bool](came); came.Type == Bool && err != nil {
		return Errorf(ErrInvalidInput, "input %q: %v", name, err)
	}
	*tensor = came
	return nil
}

func find(ios []IO, name string) *IO {
	for i := range ios {
		if ios[i].Name == name {
			return &ios[i]
		}
	}
	return nil
}

func listed(ios []IO) string {
	var names []string
	for _, io := range ios {
		names = append(names, io.String())
	}
	return strings.Join(names, ", ")
}

// --- types that are newer than 2018 -------------------------------------------------------

func typeIn2018(t Type) Type {
	switch t {
	case Bool:
		return Uint8
	case BFloat16:
		return Float32
	}
	return t
}

func asIn2018(tensors []Tensor) []Tensor {
	old := slices.Clone(tensors)
	for i, tensor := range old {
		if halves, err := Data[BF16](tensor); err == nil {
			wide := make([]byte, 0, 2*len(tensor.Data))
			for _, half := range halves {
				wide = binary.LittleEndian.AppendUint32(wide, uint32(half)<<16)
			}
			old[i].Data = wide
		}
		old[i].Type = typeIn2018(tensor.Type)
	}
	return old
}

// narrowed is a float32 tensor as bfloat16.
func narrowed(wide Tensor) Tensor {
	floats, _ := Data[float32](wide)
	halves := make([]BF16, len(floats))
	for i, f := range floats {
		halves[i] = NewBF16(f)
	}
	narrow := NewTensor(halves)
	narrow.Shape = wide.Shape
	return narrow
}

// metadata is what is sent of it, with the types of 2018 unless the client knows newer ones.
func (h *Handler) metadata(isNew bool) *Metadata {
	said := h.Metadata
	if said.Server == "" {
		said.Server = "graphpipe-go"
	}
	for _, ios := range []*[]IO{&said.Inputs, &said.Outputs} {
		*ios = append([]IO{}, *ios...)
		for i := range *ios {
			io := &(*ios)[i]
			io.Shape = append([]int64{}, io.Shape...)
			if !isNew {
				io.Type = typeIn2018(io.Type)
			}
		}
	}
	return &said
}

// --- answers ------------------------------------------------------------------------------

const codeMalformed, codeTooLarge = 2, 7

// writeError sends an error with the status of its kind: as a message to those who know one, as
// text to the clients of 2018.
func writeError(w http.ResponseWriter, err error, isNew bool) {
	code, status := 10, http.StatusInternalServerError
	if errors.Is(err, context.DeadlineExceeded) {
		code, status = 16, http.StatusGatewayTimeout
	}
	var said *Error
	if errors.As(err, &said) {
		for _, k := range kinds {
			if k.kind == said.Kind {
				code, status = k.codes[0], k.statuses[0]
			}
		}
		switch said.Code {
		case codeMalformed:
			code = codeMalformed
		case codeTooLarge:
			code, status = codeTooLarge, http.StatusRequestEntityTooLarge
			w.Header().Set("Connection", "close")
		}
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if !isNew {
		http.Error(w, oneLine(err.Error()), status)
		return
	}
	parts, _ := encodeError(code, oneLine(err.Error()))
	writeParts(w, status, parts)
}

func writeParts(w http.ResponseWriter, status int, parts [][]byte) {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(size))
	w.WriteHeader(status)
	for _, part := range parts {
		if _, err := w.Write(part); err != nil {
			return // the client has gone
		}
	}
}
