package graphpipe

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// The messages that are written: requests by clients, answers by a Handler.

var (
	requestLayout         = layout{8, 12, 8, 4}          // req_type, req
	inferLayout           = layout{12, 20, 4, 8, 12, 16} // config, input_names, input_tensors, output_names
	metadataRequestLayout = layout{4, 4}
	tensorLayout          = layout{12, 20, 16, 4, 8, 12}         // type, shape, data, string_val
	answerLayout          = layout{8, 12, 4, 8}                  // output_tensors, errors
	errorLayout           = layout{8, 16, 8, 4}                  // code, message
	ioLayout              = layout{12, 20, 4, 8, 12, 16}         // name, description, shape, type
	metadataLayout        = layout{16, 28, 4, 8, 12, 16, 20, 24} // name, version, server, description, inputs, outputs
)

func checkTensors(what string, tensors []Tensor) error {
	if len(tensors) > maxTensors {
		return Errorf(ErrInvalidInput, "%d %ss; the limit is %d", len(tensors), what, maxTensors)
	}
	for i, tensor := range tensors {
		if err := tensor.check(fmt.Sprintf("%s %d", what, i)); err != nil {
			return err
		}
	}
	return nil
}

func (r *Request) check() error {
	if n := len(r.InputNames); n > 0 && n != len(r.Inputs) {
		return Errorf(ErrInvalidInput, "%d inputs have %d names; name all of them, or none",
			len(r.Inputs), n)
	}
	if len(r.OutputNames) > maxTensors {
		return Errorf(ErrInvalidInput, "%d output names; the limit is %d", len(r.OutputNames),
			maxTensors)
	}
	for _, names := range [][]string{r.InputNames, r.OutputNames} {
		for _, name := range names {
			if err := checkName(name); err != nil {
				return err
			}
		}
	}
	return checkTensors("input", r.Inputs)
}

func encodeRequest(request *Request) ([][]byte, error) {
	if err := request.check(); err != nil {
		return nil, err
	}
	var w writer
	infer := w.request(1, inferLayout)
	w.string(infer+4, request.Config)
	w.strings(infer+8, request.InputNames)
	w.tensors(infer+12, request.Inputs)
	w.strings(infer+16, request.OutputNames)
	return w.finish()
}

func encodeMetadataRequest() ([][]byte, error) {
	var w writer
	w.request(2, metadataRequestLayout)
	return w.finish()
}

// request writes a Request that holds a table with this tag, and gives that table.
func (w *writer) request(tag byte, of layout) int {
	vtable := 0
	root := w.root(requestLayout)
	at := w.table(of, 4, &vtable)
	w.out[root+8] = tag
	w.link(root+4, at)
	return at
}

func encodeAnswer(outputs []Tensor) ([][]byte, error) {
	if err := checkTensors("output", outputs); err != nil {
		return nil, err
	}
	var w writer
	root := w.root(answerLayout)
	w.tensors(root+4, outputs)
	w.vector(root+8, 0, 4)
	return w.finish()
}

func encodeError(code int, message string) ([][]byte, error) {
	var w writer
	vtable := 0
	root := w.root(answerLayout)
	w.vector(root+4, 0, 4)
	first := w.offsets(root+8, 1)
	at := w.table(errorLayout, 8, &vtable)
	w.link(first, at)
	binary.LittleEndian.PutUint64(w.out[at+8:], uint64(code))
	w.string(at+4, message)
	return w.finish()
}

func encodeMetadata(m *Metadata) ([][]byte, error) {
	var w writer
	root := w.root(metadataLayout)
	for i, text := range []string{m.Name, m.Version, m.Server, m.Description} {
		w.string(root+4+4*i, strings.ToValidUTF8(text, "\ufffd"))
	}
	for i, ios := range [][]IO{m.Inputs, m.Outputs} {
		first := w.offsets(root+20+4*i, len(ios))
		for j, io := range ios {
			at := w.table(ioLayout, 4, &w.repeated)
			w.link(first+4*j, at)
			w.string(at+4, io.Name)
			w.string(at+8, strings.ToValidUTF8(io.Description, "\ufffd"))
			w.shape(at+12, io.Shape)
			w.out[at+16] = byte(io.Type)
		}
	}
	return w.finish()
}
