package graphpipe

import (
	"encoding/binary"
	"unicode/utf8"
)

// Messages are FlatBuffers, as far as the protocol uses them; docs/protocol.md has the tables, and
// an example byte by byte. They are read by hand, as in the other clients: FlatBuffers' runtime for
// Go verifies nothing, and its accessors panic on damaged bytes.
//
// Nothing of a message is believed: every place is checked before it is read. What a message says
// several times, by offsets that lead to the same place, counts each time against the budget, so
// that it cannot become more than a few times its size. The first fault is kept, and what is read
// from then on is zero.

const stringBytes = 16 // of a string, besides its characters

type reader struct {
	data   []byte
	budget int
	what   string // "answer", for errors
	kind   error
	err    error
}

func (r *reader) fail(format string, arguments ...any) {
	if r.err == nil {
		r.err = Errorf(r.kind, r.what+": "+format, arguments...)
	}
}

// has is false, and a fault, unless there are so many bytes at this place.
func (r *reader) has(at, size int) bool {
	if r.err == nil && (at < 0 || size > len(r.data) || at > len(r.data)-size) {
		r.fail("byte %d is outside of its %d bytes", at, len(r.data))
	}
	return r.err == nil
}

func (r *reader) u16(at int) int {
	if !r.has(at, 2) {
		return 0
	}
	return int(binary.LittleEndian.Uint16(r.data[at:]))
}

func (r *reader) u32(at int) int {
	if !r.has(at, 4) {
		return 0
	}
	return int(binary.LittleEndian.Uint32(r.data[at:]))
}

func (r *reader) i64(at int) int64 {
	if !r.has(at, 8) {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(r.data[at:]))
}

// follow is where the offset at this place leads.
func (r *reader) follow(at int) int {
	offset := r.u32(at)
	if offset == 0 {
		r.fail("the offset at byte %d is 0", at)
	}
	return at + offset
}

func (r *reader) spend(size int) {
	if r.budget -= size; r.budget < 0 {
		r.fail("says the same so often that it is far over its size")
	}
}

// vector is the place of a vector's first element, and how many there are.
func (r *reader) vector(at, width, limit int) (int, int) {
	n := r.u32(at)
	if n > limit || n > (len(r.data)-at-4)/width {
		r.fail("%d elements at byte %d of %d bytes", n, at, len(r.data))
	}
	if r.err != nil {
		return 0, 0
	}
	return at + 4, n
}

func (r *reader) text(at int) string {
	begin, n := r.vector(at, 1, maxMessageBytes)
	if r.spend(n + stringBytes); r.err != nil {
		return ""
	}
	return string(r.data[begin : begin+n])
}

// table is a checked table; every field of it is inside of the message.
type table struct {
	*reader
	at, vtable, vtableSize, size int
}

func (r *reader) table(at int) table {
	t := table{reader: r, at: at, vtable: at}
	t.vtable -= int(int32(r.u32(at)))
	t.vtableSize, t.size = r.u16(t.vtable), r.u16(t.vtable+2)
	if t.vtableSize < 4 || t.vtableSize%2 != 0 || t.size < 4 ||
		t.vtable+t.vtableSize > len(r.data) || at+t.size > len(r.data) {
		r.fail("the table at byte %d is none, or cut off", at)
	}
	return t
}

// place is where a field is; 0 if it is absent.
func (t table) place(slot, size int) int {
	entry := 4 + 2*slot
	if entry+2 > t.vtableSize {
		return 0
	}
	offset := t.u16(t.vtable + entry)
	if offset == 0 || t.err != nil {
		return 0
	}
	if offset < 4 || offset > t.size-size {
		t.fail("field %d is outside of the table at byte %d", slot, t.at)
		return 0
	}
	return t.at + offset
}

func (t table) field(slot, width, limit int) (int, int) {
	if at := t.place(slot, 4); at != 0 {
		return t.vector(t.follow(at), width, limit)
	}
	return 0, 0
}

func (t table) string(slot int) string {
	if at := t.place(slot, 4); at != 0 {
		return t.text(t.follow(at))
	}
	return ""
}

// name is a string that has to be UTF-8.
func (t table) name(slot int) string {
	name := t.string(slot)
	if !utf8.ValidString(name) {
		t.fail("a name is not UTF-8")
	}
	return name
}

// each calls do with what the offsets of a field's vector lead to, at most `most` of them.
func (t table) each(slot, most int, do func(at int)) {
	first, n := t.field(slot, 4, maxTensors)
	for i := 0; i < n && i < most && t.err == nil; i++ {
		do(t.follow(first + 4*i))
	}
}

func (t table) shape(slot int, smallest int64) []int64 {
	first, n := t.field(slot, 8, maxRank)
	shape := make([]int64, n)
	for i := range shape {
		if shape[i] = t.i64(first + 8*i); shape[i] < smallest {
			t.fail("a dimension is %d", shape[i])
		}
	}
	return shape
}

func (t table) elementType(slot int, smallest Type) Type {
	number := Null
	if at := t.place(slot, 1); at != 0 {
		number = Type(t.data[at])
	}
	if number < smallest || int(number) >= len(types) {
		t.fail("a type is %d; %d to %d are known", number, smallest, len(types)-1)
	}
	return number
}

func (t table) tensor(what string, i int) Tensor {
	tensor := Tensor{Type: t.elementType(0, Uint8), Shape: t.shape(1, 0)}
	t.spend(8*len(tensor.Shape) + stringBytes)
	if tensor.Type == String {
		first, n := t.field(3, 4, maxMessageBytes)
		if t.spend(stringBytes * n); t.err != nil {
			return Tensor{}
		}
		tensor.Strings = make([]string, n)
		for j := range tensor.Strings {
			tensor.Strings[j] = t.text(t.follow(first + 4*j))
		}
	} else if first, n := t.field(2, 1, maxMessageBytes); t.err == nil {
		tensor.Data = t.data[first : first+n : first+n]
	}
	if t.err == nil {
		if err := tensor.check("it"); err != nil {
			t.fail("%s[%d]: %s", what, i, err)
		}
	}
	return tensor
}
