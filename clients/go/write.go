package graphpipe

import (
	"encoding/binary"
	"slices"
)

// A message is written as parts that are sent one after the other: its structure, with small
// tensors in it, and behind that each large tensor, from the memory that it has. The C library
// writes the same bytes. Every vector is written, even if it is empty: readers of 2018 fail on an
// absent one.

const (
	dataAlign  = 64
	largeBytes = 4096
)

// layout is a vtable as it is written, in bytes: vtable, table, then the place of each field.
type layout []uint16

type writer struct {
	out []byte
	// where the vtable of tensors, or of inputs and outputs, is; 0: not written yet
	repeated int
	large    []largeTensor
}

type largeTensor struct {
	field int // of the offset to its data
	data  []byte
}

func (w *writer) zeros(n int) {
	w.out = append(w.out, make([]byte, n)...)
}

func (w *writer) align(to, ahead int) {
	w.zeros(-(len(w.out) + ahead) & (to - 1))
}

func (w *writer) u32(at, value int) {
	binary.LittleEndian.PutUint32(w.out[at:], uint32(value))
}

// link stores at a place the offset of the target.
func (w *writer) link(at, target int) {
	w.u32(at, target-at)
}

// table writes a table, and its vtable unless that is at *vtable already.
func (w *writer) table(of layout, align int, vtable *int) int {
	if *vtable == 0 {
		w.align(align, 2*len(of))
		*vtable = len(w.out)
		for _, n := range of {
			w.out = binary.LittleEndian.AppendUint16(w.out, n)
		}
	} else {
		w.align(align, 0)
	}
	at := len(w.out)
	w.zeros(int(of[1]))
	w.u32(at, at-*vtable)
	return at
}

// root writes the offset of the root table, and that table.
func (w *writer) root(of layout) int {
	vtable := 0
	w.out = make([]byte, 4, 512)
	at := w.table(of, 4, &vtable)
	w.link(0, at)
	return at
}

// vector writes the head of a vector that the offset at `from` leads to; its elements follow.
func (w *writer) vector(from, n, align int) {
	w.align(align, 4)
	w.link(from, len(w.out))
	w.out = binary.LittleEndian.AppendUint32(w.out, uint32(n))
}

// offsets writes a vector of offsets, which are linked later, and gives the place of the first.
func (w *writer) offsets(from, n int) int {
	w.vector(from, n, 4)
	first := len(w.out)
	w.zeros(4 * n)
	return first
}

func (w *writer) string(from int, text string) {
	w.vector(from, len(text), 4)
	w.out = append(append(w.out, text...), 0)
}

func (w *writer) strings(from int, texts []string) {
	first := w.offsets(from, len(texts))
	for i, text := range texts {
		w.string(first+4*i, text)
	}
}

func (w *writer) shape(from int, shape []int64) {
	w.vector(from, len(shape), 8)
	for _, n := range shape {
		w.out = binary.LittleEndian.AppendUint64(w.out, uint64(n))
	}
}

func (w *writer) tensors(from int, tensors []Tensor) {
	first := w.offsets(from, len(tensors))
	for i, tensor := range tensors {
		table := w.table(tensorLayout, 4, &w.repeated)
		w.link(first+4*i, table)
		w.out[table+16] = byte(tensor.Type)
		w.shape(table+4, tensor.Shape)
		switch n := len(tensor.Data); {
		case tensor.Type == String || n == 0:
			w.vector(table+8, 0, 4)
		case n >= largeBytes:
			w.large = append(w.large, largeTensor{table + 8, tensor.Data})
		default:
			w.vector(table+8, n, dataAlign)
			w.out = append(w.out, tensor.Data...)
		}
		texts := tensor.Strings
		if tensor.Type != String {
			texts = nil
		}
		w.strings(table+12, texts)
	}
}

// finish puts the large tensors behind all else, and gives the parts.
func (w *writer) finish() ([][]byte, error) {
	w.out = slices.Grow(w.out, (dataAlign+4)*len(w.large)) // what is cut off it stays where it is
	var parts [][]byte
	size, cut := len(w.out), 0
	for _, tensor := range w.large {
		gap := -(size+4)&(dataAlign-1) + 4
		if size += gap + len(tensor.data); size > maxMessageBytes {
			break
		}
		w.zeros(gap)
		w.u32(len(w.out)-4, len(tensor.data))
		w.link(tensor.field, size-len(tensor.data)-4)
		parts = append(parts, w.out[cut:], tensor.data)
		cut = len(w.out)
	}
	if parts == nil {
		parts = [][]byte{w.out}
	}
	if size > maxMessageBytes {
		return nil, Errorf(ErrInvalidInput, "the message would have %d bytes or more; messages end "+
			"at %d: send fewer rows at a time", size, maxMessageBytes)
	}
	return parts, nil
}
