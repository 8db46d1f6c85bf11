package graphpipe

import (
	"math"
	"slices"
)

// The messages that are read: answers by clients, requests by a Handler.

func newReader(data []byte, what string, kind error) *reader {
	r := &reader{data: data, budget: math.MaxInt, what: what, kind: kind}
	if len(data) < math.MaxInt/16 {
		r.budget = 8*len(data) + 1<<20
	}
	return r
}

// decodeAnswer reads the tensors of an InferResponse, which are views of it but for strings. An
// error that it carries comes as one.
func decodeAnswer(data []byte, status int) ([]Tensor, error) {
	r := newReader(data, "answer", ErrProtocol)
	root := r.table(r.follow(0))
	var carried *Error
	root.each(1, 1, func(at int) {
		failure := r.table(at)
		code := int64(0)
		if place := failure.place(0, 8); place != 0 {
			code = r.i64(place)
		}
		carried = refusal(status, code, failure.string(1))
	})
	var tensors []Tensor
	if carried == nil {
		root.each(0, maxTensors, func(at int) {
			tensors = append(tensors, r.table(at).tensor("output_tensors", len(tensors)))
		})
	}
	if r.err != nil {
		return nil, r.err
	}
	if carried != nil {
		return nil, carried
	}
	return tensors, nil
}

func decodeMetadata(data []byte) (*Metadata, error) {
	r := newReader(data, "answer", ErrProtocol)
	root := r.table(r.follow(0))
	metadata := &Metadata{Name: root.string(0), Version: root.string(1), Server: root.string(2),
		Description: root.string(3)}
	for i, ios := range []*[]IO{&metadata.Inputs, &metadata.Outputs} {
		root.each(4+i, maxTensors, func(at int) {
			t := r.table(at)
			*ios = append(*ios, IO{Name: t.name(0), Description: t.string(1),
				Type: t.elementType(3, Null), Shape: t.shape(2, -1)})
			r.spend(8 * maxRank)
		})
	}
	if r.err != nil {
		return nil, r.err
	}
	return metadata, nil
}

// decodeRequest reads a Request: nil without an error is one for metadata.
func decodeRequest(data []byte) (*Request, error) {
	r := newReader(data, "request", ErrInvalidInput)
	root := r.table(r.follow(0))
	tag := 0
	if at := root.place(0, 1); at != 0 {
		tag = int(data[at])
	}
	if r.err == nil && tag == 2 {
		return nil, nil
	}
	if tag != 1 {
		r.fail("its tag is %d; 1 and 2 are known", tag)
	}
	var infer table
	if at := root.place(1, 4); at != 0 {
		infer = r.table(r.follow(at))
	} else {
		r.fail("has no table")
	}
	if r.err != nil {
		return nil, r.err
	}
	request := &Request{Config: infer.string(0), InputNames: infer.names(1),
		OutputNames: infer.names(3)}
	infer.each(2, maxTensors, func(at int) {
		tensor := r.table(at).tensor("input_tensors", len(request.Inputs))
		request.Inputs = append(request.Inputs, tensor)
	})
	request.InputNames = infer.namesOf(request.InputNames, len(request.Inputs))
	if r.err != nil {
		return nil, r.err
	}
	return request, nil
}

// namesOf are as many names as there are inputs, or none. More are sent by the batcher of 2018, which
// says each name twice.
func (t table) namesOf(names []string, nInputs int) []string {
	if len(names) == 0 {
		return nil
	}
	if len(names) < nInputs {
		t.fail("%d inputs have %d names", nInputs, len(names))
		return nil
	}
	for i, name := range names[nInputs:] {
		if !slices.Contains(names[:nInputs+i], name) {
			t.fail("%d inputs have %d names, and %q repeats none of those before it", nInputs,
				len(names), name)
		}
	}
	return names[:nInputs]
}

func (t table) names(slot int) []string {
	var names []string
	t.each(slot, maxTensors, func(at int) {
		name := t.text(at)
		if err := checkName(name); err != nil {
			t.fail("%s", err)
		}
		names = append(names, name)
	})
	return names
}
